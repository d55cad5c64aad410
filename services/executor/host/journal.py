"""An append-only journal: what it has accepted survives a crash and a power cut.

One JSON line for each record: `{"crc":…,"seq":…,"record":{…}}`. A record is durable once
`append` returns (the file is fsynced, and its folder when it is created). A crash may leave a
torn last line, which was never acknowledged: it is dropped at the next start, which says so and has
it in `torn_bytes`. Anything else that does not check out is a loss, and raises.
"""

from __future__ import annotations

import fcntl
import os
import threading
import zlib
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import msgspec
import structlog

from shared.errors import MachineError
from shared.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

T = TypeVar("T")

log = structlog.get_logger(__name__)


class JournalError(MachineError):
    """The journal cannot be written, or belongs to another process."""


class JournalCorruptError(JournalError):
    """Records that had been acknowledged are damaged or missing."""


class _Line(msgspec.Struct):
    crc: int
    seq: int
    record: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode


def _checksum(seq: int, record: bytes) -> int:
    return zlib.crc32(record, seq & 0xFFFFFFFF)


def _encode(seq: int, record: object) -> bytes:
    raw = msgspec.json.encode(record)
    return b'{"crc":%d,"seq":%d,"record":%b}\n' % (_checksum(seq, raw), seq, raw)


def _parse(line: bytes) -> _Line | None:
    """The line, or None if it is torn or damaged."""
    try:
        parsed = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return parsed if parsed.crc == _checksum(parsed.seq, bytes(parsed.record)) else None


class Journal(Generic[T]):
    """The journal at `path`, of records of `record_type` (any type msgspec can decode).

    Opening it locks it against other processes and reads it into `records`.
    """

    def __init__(self, path: Path, record_type: type[T]) -> None:
        self.path = path
        self.records: list[T] = []
        self.torn_bytes = 0
        self._record_type = record_type
        self._lock = threading.Lock()
        self._next_seq = 1
        self._length = 0
        self._file = _open_locked(path)
        try:
            self._replay()
        except BaseException:
            self.close()
            raise

    def _replay(self) -> None:
        content = self.path.read_bytes()
        decoder = msgspec.json.Decoder(self._record_type)
        previous: int | None = None
        for line in content.splitlines(keepends=True):
            parsed = _parse(line) if line.endswith(b"\n") else None
            if parsed is None:
                break
            if previous is not None and parsed.seq != previous + 1:
                raise self._corrupt(f"record {parsed.seq} after record {previous}")
            try:
                self.records.append(decoder.decode(parsed.record))
            except msgspec.ValidationError as error:
                raise self._corrupt(f"record {parsed.seq} of another shape: {error}") from error
            previous = parsed.seq
            self._next_seq = parsed.seq + 1
            self._length += len(line)
        rest = content[self._length :]
        if any(_parse(line) is not None for line in rest.splitlines(keepends=True)[1:]):
            raise self._corrupt(f"damage at byte {self._length} with good records behind it")
        if rest:
            self.torn_bytes = len(rest)
            os.ftruncate(self._file, self._length)
            os.fsync(self._file)
            log.warning("journal.torn", path=str(self.path), dropped_bytes=self.torn_bytes)

    def _corrupt(self, got: str) -> JournalCorruptError:
        return JournalCorruptError(
            f"the journal {self.path} has lost records",
            expected="every acknowledged record, in order",
            got=got,
            advice="Detach by hand what the host may still run, then move the file away.",
        )

    def append(self, record: T) -> None:
        """Make `record` durable, or raise `JournalError` and leave the journal as it was."""
        with self._lock:
            if self._file < 0:
                raise self._unwritable("it is closed, or an earlier write failed")
            line = _encode(self._next_seq, record)
            try:
                _write_all(self._file, line)
                os.fsync(self._file)
            except OSError as error:
                self._give_up()
                raise self._unwritable(str(error)) from error
            self._length += len(line)
            self._next_seq += 1
            self.records.append(record)

    def _give_up(self) -> None:
        """Take the half-written line back and write no more.

        After a failed fsync nobody knows what is on the disk; the next start will read it.
        """
        try:
            os.ftruncate(self._file, self._length)
        except OSError:
            pass  # the next start finds and drops the torn line
        finally:
            os.close(self._file)
            self._file = -1

    def _unwritable(self, got: str) -> JournalError:
        return JournalError(
            f"the journal {self.path} cannot be written",
            expected="a writable disk with free space",
            got=got,
            advice="Free space or repair the disk, then restart the executor.",
        )

    def compact(self, keep: Iterable[T]) -> None:
        """Replace the records by `keep`, atomically: a crash leaves the old or the new file."""
        with self._lock:
            if self._file < 0:
                raise self._unwritable("it is closed, or an earlier write failed")
            kept = list(keep)
            fresh = self.path.with_name(self.path.name + ".compact")
            fresh.unlink(missing_ok=True)
            content = b"".join(_encode(self._next_seq + i, r) for i, r in enumerate(kept))
            file = -1
            try:
                file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _write_all(file, content)
                os.fsync(file)
                fresh.replace(self.path)
                sync_folder(self.path.parent)
            except OSError as error:
                if file >= 0:
                    os.close(file)
                raise self._unwritable(str(error)) from error
            os.close(self._file)
            self._file = file
            self._length = len(content)
            self._next_seq += len(kept)
            self.records = kept

    def close(self) -> None:
        """Release the file and its lock; again does nothing."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open_locked(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        created = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if created:
                sync_folder(path.parent)
            # A compaction elsewhere may have put another file in this one's place.
            if os.fstat(file).st_ino == path.stat().st_ino:
                return file
        except BlockingIOError as error:
            os.close(file)
            raise JournalError(
                f"the journal {path} is in use",
                expected="one executor on a host",
                got="another process that holds its lock",
                advice="Stop the other executor.",
            ) from error
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _write_all(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
