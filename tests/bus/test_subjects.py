from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from shared.subjects import Subjects


@given(st.text())
def test_a_token_can_never_widen_a_subject(text: str) -> None:
    subjects = Subjects()
    try:
        subject = subjects.command("executor", "trial", text)
    except InputError:
        return
    assert subject.split(".")[4:] == [text]
    assert not set(text) & set(" .*>\t\r\n")


@pytest.mark.parametrize("bad", ["", "a.b", "*", ">", "a b", "ä", "x" * 65])
def test_a_bad_host_name_says_what_is_allowed(bad: str) -> None:
    with pytest.raises(InputError) as caught:
        Subjects().command("observer", "profile", bad)
    assert "letters" in caught.value.expected


def test_namespaces_keep_apart() -> None:
    one, two = Subjects("one"), Subjects("two")
    assert one.optimize == "one.req.optimize"
    assert one.stream("EVENTS") != two.stream("EVENTS")
    assert one.event("planner", "ended", "o1") == "one.evt.planner.ended.o1"
