"""Where behaviour changes in time, and that it is seen where it does and nowhere else."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.observer.profile.classifier import classify
from services.observer.profile.features import features
from services.observer.profile.phases import SHORTEST, agreement, changes, phases
from services.observer.profile.sampler import Sample
from services.observer.profile.summary import summarize
from shared.messages import Inventory, Phase
from tests.observer.synthetic import NOTHING, host, sample

TICKS = 100
"""In a second."""


def looks(*stretches: tuple[int, float, float, float], noise: float = 0.05, seed: int = 1) -> list:
    """Rows of (busy, runnable, ln switches): so many looks at these levels each."""
    chance = random.Random(seed)
    return [
        tuple(level + chance.gauss(0, noise) for level in levels)
        for count, *levels in stretches
        for _ in range(count)
    ]


def watched(*stretches: tuple[float, float, int, float]) -> list[Sample]:
    """Five looks a second at a host: seconds, busy share, runnable tasks, switches a second."""
    samples = [sample(0.0, stat=host())]
    busy = idle = switches = 0.0
    at = 0.0
    for seconds, share, runnable, rate in stretches:
        for _ in range(round(seconds * 5)):
            at += 0.2
            busy += share * 2 * TICKS * 0.2
            idle += (1 - share) * 2 * TICKS * 0.2
            switches += rate * 0.2
            stat = host(
                user_ticks=int(busy),
                idle_ticks=int(idle),
                switches=int(switches),
                running=1 + runnable,
            )
            samples.append(sample(at, stat=stat))
    return samples


def test_a_steady_workload_has_no_phases() -> None:
    assert phases(watched((8, 0.9, 4, 500))) == []


def test_a_workload_that_alternates_is_cut_where_it_changes() -> None:
    found = phases(watched((3, 1.0, 8, 300), (3, 0.1, 0, 40), (3, 1.0, 8, 300)))
    assert [round(each.begins_s) for each in found] == [0, 3, 6]
    assert [each.busy_share > 0.5 for each in found] == [True, False, True]
    assert math.isclose(sum(each.seconds for each in found), 9.0, abs_tol=0.3)


def test_too_few_looks_tell_of_no_change() -> None:
    assert changes(looks((3, 1.0, 4.0, 6.0), (3, 0.0, 0.0, 2.0))) == []


def test_one_wild_look_is_no_phase() -> None:
    rows = looks((40, 0.9, 4.0, 6.0))
    rows[20] = (0.0, 0.0, 0.0)
    assert changes(rows) == []


@pytest.mark.parametrize("noise", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("count", [8, 20, 60, 120])
def test_noise_alone_is_hardly_ever_a_change(count: int, noise: float) -> None:
    rows = (looks((count, 0.5, 2.0, 5.0), noise=noise, seed=seed) for seed in range(100))
    assert sum(bool(changes(each)) for each in rows) <= 3


@settings(max_examples=60, deadline=None)
@given(st.integers(SHORTEST, 60), st.integers(SHORTEST, 60), st.integers(0, 10_000))
def test_a_jump_is_found_where_it_is(before: int, after: int, seed: int) -> None:
    rows = looks((before, 1.0, 6.0, 6.0), (after, 0.1, 0.2, 3.0), seed=seed)
    (cut,) = changes(rows)
    assert abs(cut - before) <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 50)] * 3), max_size=80))
def test_cuts_are_in_order_and_never_too_close(rows: list[tuple[float, float, float]]) -> None:
    cuts = [0, *changes(rows), len(rows)]
    assert cuts == sorted(set(cuts)) or not rows
    if len(cuts) > 2:
        assert min(b - a for a, b in pairwise(cuts)) >= SHORTEST


def test_the_class_of_a_whole_is_as_sure_as_its_phases_agree() -> None:
    def phase(seconds: float, name: str) -> Phase:
        return Phase(
            begins_s=0.0,
            seconds=seconds,
            workload_class=name,  # type: ignore[arg-type]
            confidence=1.0,
            busy_share=1.0,
            runnable_per_cpu=1.0,
            switches_per_s=1.0,
        )

    assert agreement([], "mixed") == 1.0
    assert agreement([phase(3, "cpu-bound"), phase(1, "idle")], "cpu-bound") == 0.75


def test_phases_are_told_in_the_summary() -> None:
    found = phases(watched((3, 1.0, 8, 300), (3, 0.0, 0, 40)))
    inventory = Inventory(
        host="h",
        machine_id="",
        boot_id="",
        kernel="7.3.4",
        arch="x86_64",
        cpus=2,
        cpu_model="c",
        sched_ext=True,
    )
    known = features(watched((6, 0.5, 4, 300)), NOTHING, NOTHING)
    assert "phases" not in summarize(known, classify(known), inventory, "w")
    assert "It went through 2 phases" in summarize(known, classify(known), inventory, "w", found)
