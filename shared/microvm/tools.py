"""Runs the machine's own tools, and says what is wrong when one is missing or fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections import deque
from typing import TYPE_CHECKING

from shared.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# mke2fs and debugfs stand where an ordinary user's PATH does not look.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_TAIL_LINES = 12


def require_root(what: str, why: str) -> None:
    """Raises MachineError, with `what` needs it and `why`, where this process is not root's."""
    if os.geteuid() != 0:
        raise MachineError(
            f"{what} can only be built as root",
            expected=f"user id 0 ({why})",
            got=f"user id {os.geteuid()}",
            advice="Run this with sudo.",
        )


def require(tool: str, package: str) -> str:
    """The tool's path. Raises MachineError with the Debian package that has it."""
    path = shutil.which(tool, path=_PATH)
    if path is None:
        raise MachineError(
            f"{tool} is not installed",
            expected=f"{tool} from the Debian package {package}",
            got="no such program",
            advice=f"apt-get install {package}",
        )
    return path


async def run_tool(
    command: Sequence[str],
    *,
    what: str,
    advice: str = "",
    stdin: str = "",
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run a command to its end; output goes line by line to `on_line`.

    Raises MachineError with `what` and the last lines it printed if it fails. Cancelling
    kills it and everything it started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PATH": _PATH, "LC_ALL": "C.UTF-8"},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        process.stdin.write(stdin.encode())
        process.stdin.close()
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            if line:
                tail.append(line)
                if on_line is not None:
                    on_line(line)
        code = await process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if code != 0:
        raise MachineError(
            what,
            expected=f"{command[0]} to succeed",
            got=f"exit code {code}: " + "\n".join(tail),
            advice=advice,
        )
