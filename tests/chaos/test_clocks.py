"""A process's wall clock steps while it runs; nothing else does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.chaos.clocks import Clocks

HOUR_S = 3600
TELLS = """
import datetime, json, subprocess, sys, threading, time
lock = threading.Lock()
lock.acquire()
for _ in sys.stdin:
    lock.acquire(timeout=0.001)
    child = subprocess.run(["date", "+%s%N"], stdout=subprocess.PIPE)
    print(json.dumps({
        "wall": [
            time.time_ns(),
            int(time.time() * 1e9),
            int(datetime.datetime.now().timestamp() * 1e9),
        ],
        "boot": [time.monotonic_ns()],
        "child": [int(child.stdout)],
    }), flush=True)
"""
COARSE_NS = 1_000_000
"""What a float and a date leave of nanoseconds."""


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks:
    return Clocks(tmp_path / "clocks")


@pytest.fixture
def teller(clocks: Clocks) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", TELLS],
        env=clocks.environment("a"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield process
        process.kill()


def ask(process: subprocess.Popen[bytes]) -> dict[str, list[int]]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    told: dict[str, Any] = msgspec.json.decode(process.stdout.readline())
    return told


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S, 40, 0])
def test_wall_time_steps_and_nothing_else(
    clocks: Clocks, teller: subprocess.Popen[bytes], step_s: int
) -> None:
    ask(teller)  # it runs
    clocks.set("a", step_s)
    wall_ns, boot_ns = time.time_ns(), time.monotonic_ns()
    told = ask(teller)
    later_ns, booted_ns = time.time_ns(), time.monotonic_ns()
    for name, least, most in (
        ("wall", wall_ns + step_s * 10**9, later_ns + step_s * 10**9),
        ("boot", boot_ns, booted_ns),
        ("child", wall_ns, later_ns),
    ):
        for each in told[name]:
            assert least - COARSE_NS <= each <= most + COARSE_NS, name


def test_a_process_begins_with_the_clock_that_is_set(clocks: Clocks) -> None:
    """As one does that was killed while its machine's clock was off."""
    environment = clocks.environment("a")
    clocks.set("a", -HOUR_S)
    said = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time_ns())"],
        env={**environment, **clocks.environment("a")},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert int(said.stdout) < time.time_ns() - (HOUR_S - 600) * 10**9
    assert [each.ahead_ns - clocks.shown("a")[0].ahead_ns for each in clocks.shown("a")] == [
        *(0, -HOUR_S * 10**9)
    ]
