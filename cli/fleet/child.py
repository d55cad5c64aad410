"""A service process that is started again when it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from shared.process import tied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 15.0
STEADY_S = 30.0
"""Who has run this long is started again without a growing pause."""
STOP_S = 15.0
CHECKOUT = Path(__file__).resolve().parents[2]


class Child:
    """`python -m …`, in a session of its own, ended when this process ends, whatever ends it.

    Its output goes to `log`; the log of the run before is kept beside it as `.1`.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: Mapping[str, str],
        log: Path,
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.log = log
        self.restarts = 0
        self._arguments = arguments
        self._environment = environment
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self.born_unix_ns = 0
        """When the process that runs now was started."""

    @property
    def pid(self) -> int:
        """Of the process that runs now, else 0."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    async def run(self) -> None:
        """Keep it running until cancelled; then it is asked to stop, and waited for."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.rename(self.log.with_name(f"{self.log.name}.1"))
        failures = 0
        while True:
            begun_s = time.monotonic()
            await self._once()
            failures = 0 if time.monotonic() - begun_s > STEADY_S else failures + 1
            self.restarts += 1
            self._changed()
            await asyncio.sleep(min(FIRST_PAUSE_S * 2 ** max(0, failures - 1), LAST_PAUSE_S))

    async def _once(self) -> None:
        with self.log.open("ab") as log:
            self.born_unix_ns = time.time_ns()
            self._process = process = await asyncio.create_subprocess_exec(
                *tied(sys.executable, *self._arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                cwd=CHECKOUT,
                start_new_session=True,
            )
        self._changed()
        try:
            await process.wait()
        except asyncio.CancelledError:
            await _stop(process)
            raise

    def last_words(self) -> str:
        """The end of its log, for an error."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][-400:] if lines else ""


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
