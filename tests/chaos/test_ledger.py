"""The history of a made-up kernel: what it says holds though its process was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.hosts.fleet import ROOT
from bench.hosts.ledger import Ledger, held, read
from shared.errors import ForeignSchedulerError
from tests.chaos.test_invariants import token

LOADS = """
import pathlib, sys, time
from bench.hosts.ledger import Ledger
from tests.chaos.test_invariants import token
Ledger(pathlib.Path(sys.argv[1]), "h1").load("cox_fifo", "a" * 64, token("n1"))
print("loaded", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[bytes]:
    """Another process whose policy hangs on the kernel."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOADS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == b"loaded\n"
    return process


def test_a_load_is_over_when_its_process_is(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    assert held(tmp_path, "h1")
    holder.kill()
    holder.wait()
    assert not held(tmp_path, "h1")
    assert [line.what for line in read(tmp_path, "h1")] == ["began", "loaded"]


def test_two_processes_never_hold_a_kernel(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    mine = Ledger(tmp_path, "h1")
    with pytest.raises(ForeignSchedulerError):
        mine.load("cox_fair", "b" * 64, token("n2"))
    holder.kill()
    holder.wait()
    mine.load("cox_fair", "b" * 64, token("n3"))
    mine.detach("cox_fair", "the test is over")
    assert not held(tmp_path, "h1")
    assert [line.what for line in read(tmp_path, "h1")] == [
        *("began", "loaded", "began", "refused", "loaded", "detached")
    ]
