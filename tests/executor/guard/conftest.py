"""A guard and executors as real processes, over a kernel of files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.executor.guard import local
from tests.executor.guard.paper_kernel import PaperKernel

HERE = Path(__file__).parent


class Stage:
    """Starts processes; all of them are gone in the end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel = PaperKernel(root)
        self._started: list[subprocess.Popen[str]] = []

    def guard(self) -> subprocess.Popen[str]:
        """One that listens."""
        (self.root / "guard.sock").unlink(missing_ok=True)
        started = self._start("run_guard.py")
        until((self.root / "guard.sock").exists)
        return started

    def executor(self, seen: int = 0) -> subprocess.Popen[str]:
        """One that the guard has welcomed."""
        started = self.start_executor(seen)
        heard(started, {"present": True})
        return started

    def start_executor(self, seen: int = 0) -> subprocess.Popen[str]:
        """One that takes in what the guard did after number `seen`."""
        return self._start("run_executor.py", str(seen))

    def interventions(self) -> list[dict[str, Any]]:
        path = self.root / "state/interventions"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line.partition(" ")[2]) for line in lines]

    def cox_host(self, *arguments: str) -> int:
        return local.main(list(arguments), self.root)

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.kernel.stop()

    def _start(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            [sys.executable, str(HERE / script), str(self.root), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started.append(started)
        return started


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("COX_GUARD_SOCKET", str(tmp_path / "guard.sock"))
    monkeypatch.setenv("COX_GUARD_STATE", str(tmp_path / "state"))
    stage = Stage(tmp_path)
    yield stage
    stage.close()


def until(condition: Callable[[], object]) -> None:
    """Wait as long as it takes; the suite's own timeout ends what never comes."""
    while not condition():
        time.sleep(0.02)


def heard(executor: subprocess.Popen[str], wanted: dict[str, Any]) -> dict[str, Any]:
    """The executor's next word that says at least this."""
    assert executor.stdout is not None
    for line in executor.stdout:
        said: dict[str, Any] = json.loads(line)
        if wanted.items() <= said.items():
            return said
    raise AssertionError(f"the executor ended without {wanted}")


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
