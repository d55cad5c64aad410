"""`cox` as somebody would run it: a process of its own, its state in a directory of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.subjects import Subjects

CHECKOUT = Path(__file__).resolve().parents[2]


class Ran(msgspec.Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its stdout as one JSON document: fails if there is anything else on it."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Cox = Callable[..., Ran]
CoxOnBus = Callable[..., Awaitable[Ran]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        # Parallel workers tell a width of their own.
        if not name.startswith("COX_") and name != "COLUMNS"
    }
    # Nobody listens there: a command that needs no bus must not look for one.
    return {**clean, "COX_HOME": str(tmp_path / "home"), "COX_NATS_URL": "nats://127.0.0.1:1"}


@pytest.fixture
def cox(environment: dict[str, str]) -> Cox:
    """A command without a bus."""

    def run(*arguments: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            env=environment,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def bus_environment(
    environment: dict[str, str], nats_url: str, subjects: Subjects
) -> dict[str, str]:
    return {**environment, "COX_NATS_URL": nats_url, "COX_NAMESPACE": subjects.namespace}


@pytest.fixture
def cox_on_bus(bus_environment: dict[str, str]) -> CoxOnBus:
    """A command on the test's own bus; the test's own tasks go on meanwhile."""

    async def run(*arguments: str) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", *arguments),
            env=bus_environment,
            cwd=CHECKOUT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), 120)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return Ran(process.returncode or 0, out.decode(), err.decode())

    return run
