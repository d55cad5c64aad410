"""What the guard has done, in a file of its own: a line each, durable once it is written.

`<crc32> <json>`: a torn last line is dropped at the next start. Written after the way back, never
before: a disk that waits for starved kernel threads must not delay it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 100
"""Remembered at a start, the newest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervention:
    """One way back to the default, and why."""

    id: int
    boot_id: str
    unix_ns: int
    cause: str
    """hang, orphan, starvation or operator: services/executor/guard/watch.py."""
    reason: str
    ops: str
    """The scheduler that was ended."""
    running: dict[str, Any]
    """What the executor had said of it: artifact, policy, optimization; empty if nothing."""
    steps: list[str]
    """What was done, in order."""
    back_s: float
    """From the decision to the default."""
    restored: bool
    """Whether the scheduler was gone in the end."""
    boot_ns: int = 0
    """The same moment as `unix_ns`, since that boot; 0 if that was not noted."""


class Interventions:
    """The file at `path`, read at once. Raises OSError if it cannot be read or made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.all = _read(path)[-KEPT:]
        self.unwritten = ""
        """Why the last one is not on the disk, if so."""
        self._rewrite()

    def note(self, **facts: Any) -> Intervention:
        """Write one down. A disk that does not take it is noted in `unwritten`, and no error."""
        self._catch_up()
        number = self.all[-1].id + 1 if self.all else 1
        done = Intervention(id=number, **facts)
        self.all.append(done)
        try:
            with self._path.open("ab") as file:
                file.write(_line(done))
                file.flush()
                os.fsync(file.fileno())
            self.unwritten = ""
        except OSError as error:
            self.unwritten = str(error)
        return done

    def after(self, number: int) -> list[Intervention]:
        """Those that are newer than `number`.

        A number that this file has not reached is of a file that was lost: then all are new.
        """
        self._catch_up()
        newest = self.all[-1].id if self.all else 0
        return [each for each in self.all if each.id > number or number > newest]

    def _catch_up(self) -> None:
        """Take in what `cox-host revert` wrote while the guard did not answer."""
        known = {each.id for each in self.all}
        with contextlib.suppress(OSError):  # what is in memory still holds
            self.all += [each for each in _read(self._path) if each.id not in known]
        self.all.sort(key=lambda each: each.id)

    def _rewrite(self) -> None:
        fresh = self._path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.write(b"".join(_line(each) for each in self.all))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            self.unwritten = str(error)


def _line(done: Intervention) -> bytes:
    text = json.dumps(dataclasses.asdict(done)).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _read(path: Path) -> list[Intervention]:
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        crc, _, text = line.partition(b" ")
        if b"%08x" % zlib.crc32(text) == crc:
            found.append(Intervention(**json.loads(text)))
    return found
