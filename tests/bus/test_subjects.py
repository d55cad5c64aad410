from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from shared.subjects import NO_HOST, SHARDS, Subjects, shard


@given(st.text())
def test_a_token_can_never_widen_a_subject(text: str) -> None:
    subjects = Subjects()
    try:
        subject = subjects.command("executor", "trial", text)
    except InputError:
        return
    assert subject.split(".")[4:] == [shard(text), text]
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
    assert one.event("planner", "ended", "o1") == "one.evt.planner.ended.o1._"


def covers(pattern: str, subject: str) -> bool:
    """As NATS matches tokens; only `*` is used where this is called."""
    ours, theirs = pattern.split("."), subject.split(".")
    return len(ours) == len(theirs) and all(
        ours_one in ("*", one) for ours_one, one in zip(ours, theirs, strict=True)
    )


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).filter(lambda name: name != NO_HOST))
def test_a_hosts_command_is_in_its_shard_and_in_no_other_stream(host: str) -> None:
    subjects = Subjects()
    command = subjects.command("executor", "trial", host)
    assert covers(subjects.commands("executor", host=host), command)
    assert covers(subjects.commands("executor", "trial"), command)
    assert covers(subjects.stream_subjects("COMMANDS", host), command)
    assert not covers(subjects.stream_subjects("COMMANDS"), command)
    assert subjects.stream_kind(subjects.stream("COMMANDS", host)) == "COMMANDS"


def test_shards_are_the_same_for_ever_and_even() -> None:
    # What these hosts' streams are called on buses that are in use.
    assert [shard(f"h{number}") for number in (1, 2, 3)] == ["6a", "d0", "46"]
    sizes = Counter(shard(f"rack-{n // 40}-node-{n % 40}") for n in range(10_000))
    assert len(sizes) == SHARDS
    assert max(sizes.values()) < 2 * 10_000 / SHARDS


def test_no_host_is_called_what_stands_for_none() -> None:
    with pytest.raises(InputError, match="cannot be called"):
        Subjects().event("observer", "profiled", "o1", NO_HOST)
    assert Subjects().event("planner", "ended", "o1").endswith(f".{NO_HOST}")
