"""What comes after a budget's end is refused, with by how much: an hour of it is a clock's."""

from __future__ import annotations

import time

import pytest

from shared.expiry import expired

END_NS = 10**18


@pytest.mark.parametrize(
    ("ends_ns", "now_ns", "late"),
    [(END_NS, END_NS - 1, False), (END_NS, END_NS, True), (0, END_NS, False)],
)
def test_only_what_has_an_end_can_be_late(
    monkeypatch: pytest.MonkeyPatch, ends_ns: int, now_ns: int, *, late: bool
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: now_ns)
    assert (expired(ends_ns) is not None) is late


def test_it_says_by_how_much_and_whose_clocks_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: END_NS + 3600 * 10**9)
    late = expired(END_NS)
    assert late is not None
    assert late.got == "3600 s after it"
    assert "clocks" in late.advice
