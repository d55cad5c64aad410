from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.planner.cohorts import assign
from shared.messages import Rollout

FLEET = [f"h{number}" for number in range(1, 101)]


def sizes(hosts: list[str], rollout: Rollout) -> tuple[list[int], int]:
    drawn = assign("o1", hosts, hosts[0], rollout)
    return [len(cohort) for cohort in drawn.cohorts], len(drawn.control)


def test_one_host_is_its_own_canary_and_nothing_follows() -> None:
    assert sizes(["h1"], Rollout()) == ([], 0)


def test_a_small_fleet_has_no_control_and_no_empty_steps() -> None:
    assert sizes(["h1", "h2"], Rollout()) == ([1], 0)
    assert sizes(["h1", "h2", "h3"], Rollout()) == ([1, 1], 0)


def test_a_large_fleet_goes_in_steps_beside_its_control() -> None:
    assert sizes(FLEET, Rollout()) == ([9, 36, 44], 10)
    assert sizes(FLEET, Rollout(cohorts=(100,), control_percent=0)) == ([99], 0)


def test_the_lot_is_the_same_for_every_planner_and_another_for_every_optimization() -> None:
    first = assign("o1", FLEET, "h1", Rollout())
    assert assign("o1", list(reversed(FLEET)), "h1", Rollout()) == first
    assert assign("o2", FLEET, "h1", Rollout()) != first


@given(
    count=st.integers(1, 200),
    percents=st.lists(st.integers(1, 99), unique=True, max_size=6),
    control=st.integers(0, 50),
    identity=st.text("abc0", min_size=1, max_size=4),
)
def test_every_host_has_one_place(
    count: int, percents: list[int], control: int, identity: str
) -> None:
    hosts = FLEET[:count] + [f"x{n}" for n in range(count - len(FLEET))]
    rollout = Rollout(cohorts=(*sorted(percents), 100), control_percent=control)
    drawn = assign(identity, hosts, hosts[0], rollout)
    placed = [hosts[0], *drawn.control, *(host for cohort in drawn.cohorts for host in cohort)]
    assert sorted(placed) == sorted(hosts)
    assert all(drawn.cohorts)
    assert len(drawn.control) == min(count * control // 100, count - 1)
