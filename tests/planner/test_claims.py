from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.planner.claims import give_back, holds, in_turn, owes, take, tries, why_wait
from shared.fleet import Claims
from shared.optimization import Optimization
from tests.planner.world import START, opened

MOST = 2


def queued(name: str, *hosts: str, priority: int = 5, age: int = 0) -> Optimization:
    state = opened(hosts=hosts or ("h1",))
    return replace(
        state,
        id=name,
        phase="queued",
        created_unix_ns=START - age,
        request=replace(state.request, priority=priority),
    )


def test_priority_decides_then_age() -> None:
    young = queued("young", age=1)
    old = queued("old", age=9)
    urgent = queued("urgent", priority=9)
    paused = replace(queued("paused", priority=9, age=99), holds=["paused"])
    begun = replace(queued("begun", priority=9), phase="trying")
    order = in_turn([young, paused, old, begun, urgent])
    assert [state.id for state in order] == ["urgent", "old", "young"]


def test_a_busy_host_is_waited_for_with_the_reason() -> None:
    claims = take(Claims(), queued("a", "h1", "h2"))
    assert why_wait(claims, queued("b", "h2", "h3"), {}, MOST) == "a works on h2"
    assert why_wait(claims, queued("b", "h3"), {}, MOST) == ""


def test_who_waits_for_many_hosts_is_not_overtaken_by_who_wants_one_of_them() -> None:
    claims = take(Claims(), queued("a", "h1"))
    first = queued("first", "h1", "h2")
    wanted = dict.fromkeys(first.hosts, first.id)
    assert "a works on h1" in why_wait(claims, first, {}, MOST)
    assert why_wait(claims, queued("small", "h2"), wanted, MOST) == "first is before it for h2"
    assert why_wait(claims, queued("other", "h3"), wanted, MOST) == ""


def test_no_more_canaries_than_may_be_live() -> None:
    claims = take(take(Claims(), queued("a", "h1")), queued("b", "h2"))
    assert "2 canaries are live" in why_wait(claims, queued("c", "h3"), {}, MOST)
    rolling = give_back(claims, "a", over=False)
    assert rolling.hosts == claims.hosts
    assert why_wait(rolling, queued("c", "h3"), {}, MOST) == ""


def test_taking_again_changes_nothing() -> None:
    state = queued("a", "h1", "h2")
    claims = take(Claims(), state)
    assert holds(claims, state)
    assert take(claims, state) == claims
    assert why_wait(claims, state, {}, 0) == ""


def test_who_has_more_than_it_needs_owes_it() -> None:
    state = queued("a", "h1")
    claims = take(Claims(), state)
    rolling, over = replace(state, phase="deploying"), replace(state, phase="ended")
    assert [owes(claims, each) for each in (state, rolling, over)] == [False, True, True]
    given = give_back(claims, "a", over=False)
    assert [owes(given, each) for each in (rolling, over)] == [False, True]
    assert not owes(give_back(claims, "a", over=True), over)


def test_a_canary_is_one_until_the_rollout() -> None:
    phases = ("queued", "profiling", "planning", "building", "trying", "deploying", "ended")
    states = [replace(opened(), phase=phase) for phase in phases]  # type: ignore[arg-type]
    assert [tries(state) for state in states] == [True] * 5 + [False] * 2


@st.composite
def requests(draw: st.DrawFn) -> list[Optimization]:
    return [
        queued(
            f"o{number}",
            *sorted(draw(st.sets(st.sampled_from(["h1", "h2", "h3", "h4"]), min_size=1))),
            priority=draw(st.integers(0, 9)),
            age=draw(st.integers(0, 3)),
        )
        for number in range(draw(st.integers(1, 8)))
    ]


@given(requests(), st.integers(1, 3), st.data())
def test_every_request_has_its_turn_and_no_host_has_two_owners(
    waiting: list[Optimization], most: int, data: st.DataObject
) -> None:
    """Begin what may begin, end one of those that run, again and again: all get through."""
    claims = Claims()
    running: list[Optimization] = []
    first = in_turn(waiting)[0]
    begun = 0
    while waiting or running:
        wanted: dict[str, str] = {}
        for state in in_turn(waiting):
            if not why_wait(claims, state, wanted, most):
                claims = take(claims, state)
                running.append(state)
                waiting = [other for other in waiting if other.id != state.id]
                begun += 1
                if begun == 1:
                    assert state.id == first.id
            wanted |= {host: state.id for host in state.hosts if host not in wanted}
        owned = [host for state in running for host in state.hosts]
        assert len(owned) == len(set(owned))
        assert sorted(owned) == sorted(claims.hosts)
        assert len(claims.canaries) <= most
        assert running, "nobody may begin, and nobody works"
        ends = data.draw(st.sampled_from([state.id for state in running]))
        running = [state for state in running if state.id != ends]
        claims = give_back(claims, ends, over=True)
    assert claims == Claims()
