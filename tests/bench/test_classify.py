"""Each workload is classified without itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.classify import PROFILES, load, nearest, rows, table
from shared.errors import InputError

A, B = {"x": 1.0, "y": 100.0}, {"x": 100.0, "y": 1.0}


def test_the_nearest_is_the_most_alike_of_the_others() -> None:
    others = {"a": A, "b": B}
    assert nearest({"x": 2.0, "y": 90.0}, others) == "a"
    assert nearest({"x": 90.0, "y": 2.0}, others) == "b"


def test_a_profile_never_votes_for_itself() -> None:
    profiles = {"one": A, "two": B, "three": {"x": 90.0, "y": 3.0}}
    found = rows(profiles, dict.fromkeys(profiles, "mixed"))
    assert all(row.like != row.workload for row in found)
    assert {row.workload: row.like for row in found}["two"] == "three"


def test_who_is_right_and_who_is_not_is_counted() -> None:
    profiles = {"wakeup": A, "new": B, "newer": {"x": 90.0, "y": 3.0}}
    text = table(rows(profiles, {"wakeup": "idle", "new": "mixed", "newer": "mixed"}))
    assert "| new (new) | mixed |" in text
    assert "| wakeup | idle |" in text
    assert "of new ones" in text


def test_what_was_kept_can_be_read() -> None:
    assert "wakeup" in load(PROFILES)


def test_too_few_profiles_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few profiles"):
        load(tmp_path)
