"""What happened to a made-up kernel, in a file that outlives every process.

A real scheduler hangs on a link that dies with its process, whoever kills it. Here that link is a
lock on a file, which the real kernel drops when its holder dies: so a load that has no detach in
the history is over once its process is, and who loads beside another's finds the lock taken.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Literal

import msgspec

from services.executor.token import Token
from shared.errors import ForeignSchedulerError


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened: `at_ns` is CLOCK_MONOTONIC, the same in all processes."""

    at_ns: int
    pid: int
    what: Literal["began", "loaded", "detached", "refused"]
    """`began`: a process has opened this kernel. `refused`: another one's policy was there."""
    name: str = ""
    sha256: str = ""
    why: str = ""
    token: Token | None = None
    """What it was loaded with."""


class Ledger:
    """A kernel's history, and the one place in which a policy can hang."""

    def __init__(self, folder: Path, host: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Both stay open: a process without file descriptors must still be seen to load.
        self._file = _open(history_path(folder, host))
        self._slot = _open(_slot_path(folder, host))
        self._write("began")

    def load(self, name: str, sha256: str, token: Token) -> None:
        """A policy hangs on this kernel. Raises ForeignSchedulerError if another process's does."""
        try:
            fcntl.flock(self._slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._write("refused", name=name, sha256=sha256, token=token)
            raise ForeignSchedulerError(
                "another process's scheduler is on this kernel",
                expected="one executor on a host",
                advice="Stop the other executor.",
            ) from error
        self._write("loaded", name=name, sha256=sha256, token=token)

    def detach(self, name: str, why: str) -> None:
        """It hangs there no more."""
        self._write("detached", name=name, why=why)
        fcntl.flock(self._slot, fcntl.LOCK_UN)

    def _write(
        self,
        what: Literal["began", "loaded", "detached", "refused"],
        *,
        name: str = "",
        sha256: str = "",
        why: str = "",
        token: Token | None = None,
    ) -> None:
        line = Line(
            at_ns=time.monotonic_ns(),
            pid=os.getpid(),
            what=what,
            name=name,
            sha256=sha256,
            why=why,
            token=token,
        )
        os.write(self._file, msgspec.json.encode(line) + b"\n")


class NoLedger:
    """For a kernel whose history nobody reads."""

    def load(self, name: str, sha256: str, token: Token) -> None:
        """Forget it."""

    def detach(self, name: str, why: str) -> None:
        """Forget it."""


def history_path(folder: Path, host: str) -> Path:
    """Where a host's kernel keeps its history."""
    return folder / f"{host}.jsonl"


def read(folder: Path, host: str) -> list[Line]:
    """A kernel's whole history, the oldest first."""
    path = history_path(folder, host)
    return msgspec.json.Decoder(Line).decode_lines(path.read_bytes()) if path.exists() else []


def held(folder: Path, host: str) -> bool:
    """Whether a policy hangs there now."""
    slot = _open(_slot_path(folder, host))
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(slot)
    return False


def _slot_path(folder: Path, host: str) -> Path:
    return folder / f"{host}.slot"


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
