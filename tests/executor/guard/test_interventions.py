"""The guard's own notes survive what they must."""

from __future__ import annotations

from pathlib import Path

from services.executor.guard.interventions import KEPT, Intervention, Interventions


def note(notes: Interventions, reason: str = "because") -> Intervention:
    return notes.note(
        boot_id="b", unix_ns=1, cause="hang", reason=reason, ops="coxswain_x",
        running={"artifact": "a"}, steps=["SIGKILL"], back_s=0.1, restored=True,
    )  # fmt: skip


def test_what_was_noted_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state/interventions"
    first = note(Interventions(path))
    again = Interventions(path)
    assert again.all == [first]
    assert note(again).id == 2
    assert [each.id for each in again.after(1)] == [2]
    assert again.after(2) == []


def test_a_torn_line_is_dropped_and_a_damaged_one_too(tmp_path: Path) -> None:
    path = tmp_path / "interventions"
    notes = Interventions(path)
    whole = note(notes)
    note(notes, "damaged")
    note(notes, "torn")
    content = path.read_bytes().replace(b"damaged", b"dAmaged")
    path.write_bytes(content[:-9])
    assert Interventions(path).all == [whole]


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "interventions"
    notes = Interventions(path)
    for _ in range(KEPT + 5):
        note(notes)
    assert [each.id for each in Interventions(path).all] == list(range(6, KEPT + 6))


def test_a_reader_whose_number_is_of_a_lost_file_hears_everything(tmp_path: Path) -> None:
    notes = Interventions(tmp_path / "interventions")
    only = note(notes)
    assert notes.after(17) == [only]


def test_two_writers_know_of_each_other(tmp_path: Path) -> None:
    guard = Interventions(tmp_path / "interventions")
    operator = Interventions(tmp_path / "interventions")
    note(operator)
    assert [each.id for each in guard.after(0)] == [1]
    assert note(guard).id == 2
    assert [each.id for each in operator.after(0)] == [1, 2]


def test_a_full_disk_is_said_and_stops_nobody(tmp_path: Path) -> None:
    notes = Interventions(tmp_path / "interventions")
    (tmp_path / "interventions").unlink()
    (tmp_path / "interventions").mkdir()
    done = note(notes)
    assert notes.unwritten
    assert notes.all == [done]
