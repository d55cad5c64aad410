"""Stories are the same for a seed, cover every kind of fault, and hold against a real fleet."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.chaos.__main__ import explain
from tests.chaos.run import play
from tests.chaos.story import ASKED, HOSTS, Ask, Cut, Halt, Kill, Repeat, Shift, Starve, story

SEEDS = (14, 104, 107)
"""Played in each run of the tests; `make chaos` plays as many as one likes."""


def test_a_seed_has_one_story() -> None:
    assert story(7) == story(7)
    assert story(7) != story(8)


def test_stories_come_to_every_fault_and_leave_a_host_alone() -> None:
    steps = [step for seed in range(100) for step in story(seed).steps]
    assert {type(step) for step in steps} == {Ask, Kill, Halt, Cut, Starve, Shift, Repeat}
    killed = {step.part for step in steps if isinstance(step, Kill)}
    assert killed >= {"nats", "planner-0", "learner-0", "gate-0", "hosts-0", "hosts-1"}
    asked = {host for step in steps if isinstance(step, Ask) for host in step.hosts}
    assert asked == set(ASKED) < set(range(HOSTS))


def test_what_is_played_in_each_run_of_the_tests_steps_clocks_both_ways() -> None:
    steps = [step for seed in SEEDS for step in story(seed).steps if isinstance(step, Shift)]
    assert {step.by_s > 0 for step in steps} == {True, False}
    assert "planner-1" in {step.part for step in steps}


async def test_what_must_hold_holds_through_faults(tmp_path: Path) -> None:
    """They play beside each other: most of a story is waiting."""
    homes = {seed: tmp_path / str(seed) for seed in SEEDS}
    results = await asyncio.gather(*(play(seed, home) for seed, home in homes.items()))
    broken = [explain(each, homes[each.seed]) for each in results if each.violations]
    assert not broken, "\n".join(broken)
    # Something has happened on which all that could be seen.
    assert all(each.events for each in results)
    assert sum(each.loads for each in results)
