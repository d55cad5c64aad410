from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.executor.host.journal import Journal, JournalCorruptError, JournalError


class Entry(msgspec.Struct):
    key: str
    number: int = 0


entries = st.lists(st.builds(Entry, key=st.text(max_size=20), number=st.integers(-9, 1 << 60)))


def written(path: Path, records: list[Entry]) -> list[int]:
    """A journal of `records` at `path`; the file's length after each append."""
    lengths = [0]
    path.unlink(missing_ok=True)
    with Journal(path, Entry) as journal:
        for record in records:
            journal.append(record)
            lengths.append(path.stat().st_size)
    return lengths


def test_records_come_back_in_order(tmp_path: Path) -> None:
    records = [Entry("a", 1), Entry("line\nbreak  ", 2), Entry("c", 3)]
    written(tmp_path / "j", records)
    with Journal(tmp_path / "j", Entry) as journal:
        assert journal.records == records
        assert journal.torn_bytes == 0


@settings(deadline=None)  # fsync takes what it takes
@given(records=entries, data=st.data())
def test_a_cut_loses_the_torn_line_and_no_durable_record(
    tmp_path_factory: pytest.TempPathFactory, records: list[Entry], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    lengths = written(path, records)
    cut = data.draw(st.integers(0, lengths[-1]), label="cut")
    os.truncate(path, cut)
    whole = sum(1 for length in lengths[1:] if length <= cut)
    with Journal(path, Entry) as journal:
        assert journal.records == records[:whole]
        assert journal.torn_bytes == cut - lengths[whole]
        journal.append(Entry("after"))
    with Journal(path, Entry) as journal:
        assert journal.records == [*records[:whole], Entry("after")]
        assert journal.torn_bytes == 0


@settings(deadline=None)  # fsync takes what it takes
@given(records=entries, rubbish=st.binary(min_size=1, max_size=60))
def test_rubbish_at_the_end_is_a_torn_line(
    tmp_path_factory: pytest.TempPathFactory, records: list[Entry], rubbish: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    written(path, records)
    with path.open("ab") as file:
        file.write(rubbish)
    with Journal(path, Entry) as journal:
        assert journal.records == records
        assert journal.torn_bytes == len(rubbish)


@settings(deadline=None)  # fsync takes what it takes
@given(
    records=st.lists(st.builds(Entry, key=st.text(max_size=9)), min_size=2, max_size=6),
    data=st.data(),
)
def test_damage_before_the_last_line_is_never_overlooked(
    tmp_path_factory: pytest.TempPathFactory, records: list[Entry], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    lengths = written(path, records)
    content = bytearray(path.read_bytes())
    # Not the newline before the last line: that would read like one torn line.
    at = data.draw(st.integers(0, lengths[-2] - 2), label="at")
    content[at] ^= data.draw(st.integers(1, 255), label="flip")
    path.write_bytes(content)
    with pytest.raises(JournalCorruptError):
        Journal(path, Entry)


def test_a_missing_line_is_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, [Entry("a"), Entry("b"), Entry("c")])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(JournalCorruptError, match="record 3 after record 1"):
        Journal(path, Entry)


def test_records_of_another_shape_are_a_loss(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", dict[str, int]) as journal:
        journal.append({"key": 1})
    with pytest.raises(JournalCorruptError, match="another shape"):
        Journal(tmp_path / "j", Entry)


def test_compaction_keeps_what_it_is_told_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path, Entry) as journal:
        for number in range(5):
            journal.append(Entry("a", number))
        journal.compact(journal.records[-1:])
        journal.append(Entry("b"))
        assert journal.records == [Entry("a", 4), Entry("b")]
    with Journal(path, Entry) as journal:
        assert journal.records == [Entry("a", 4), Entry("b")]
        journal.compact([])
    with Journal(path, Entry) as journal:
        assert journal.records == []
        journal.append(Entry("c"))


def test_a_compaction_that_was_cut_short_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, [Entry("a"), Entry("b")])
    path.with_name("j.compact").write_bytes(b'{"crc":1')
    with Journal(path, Entry) as journal:
        assert journal.records == [Entry("a"), Entry("b")]
        journal.compact([Entry("b")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["j"]


def test_only_one_process_has_it_even_after_a_compaction(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path, Entry) as journal:
        with pytest.raises(JournalError, match="in use"):
            Journal(path, Entry)
        journal.append(Entry("a"))
        journal.compact(journal.records)
        with pytest.raises(JournalError, match="in use"):
            Journal(path, Entry)
    Journal(path, Entry).close()


def test_a_full_disk_is_reported_and_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j"
    journal = Journal(path, Entry)
    journal.append(Entry("a"))
    real_write = os.write

    def half_a_write(file: int, content: bytes) -> int:
        if len(content) < 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(file, bytes(content)[: len(content) // 2])

    monkeypatch.setattr(os, "write", half_a_write)
    with pytest.raises(JournalError, match="No space left"):
        journal.append(Entry("b"))
    monkeypatch.undo()
    with pytest.raises(JournalError, match="earlier write failed"):
        journal.append(Entry("c"))
    with Journal(path, Entry) as again:
        assert again.records == [Entry("a")]
        assert again.torn_bytes == 0


def test_an_acknowledged_record_survives_sigkill(tmp_path: Path) -> None:
    writer = f"""
import os, signal, pathlib
from services.executor.host.journal import Journal
journal = Journal(pathlib.Path({str(tmp_path / "j")!r}), int)
for number in range(50):
    journal.append(number)
print("acknowledged", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", writer], capture_output=True, check=False)
    assert done.stdout == b"acknowledged\n"
    with Journal(tmp_path / "j", int) as journal:
        assert journal.records == list(range(50))


def test_the_file_is_synced_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real_fsync = os.fsync

    def record(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        real_fsync(file)

    monkeypatch.setattr(os, "fsync", record)
    path = tmp_path / "new" / "j"
    with Journal(path, Entry) as journal:
        assert len(synced) == 1  # the folder, for the file's own name
        journal.append(Entry("a"))
        assert synced[1:] == [path.stat().st_size]


def test_a_torn_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, [Entry("a")])
    with path.open("ab") as file:
        file.write(b'{"crc":1')
    with capture_logs() as told, Journal(path, Entry):
        pass
    assert [(each["event"], each["dropped_bytes"]) for each in told] == [("journal.torn", 8)]
    with capture_logs() as told, Journal(path, Entry):
        pass
    assert told == []
