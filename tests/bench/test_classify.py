"""Scoring of classifiers: nobody is asked about what he has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench.classify import measure, report
from bench.classifying.held import held_out, score
from bench.classifying.recorded import Recorded, recorded
from bench.classifying.ways import WAYS, Classify, nearest, rules, vector
from shared.classes import WorkloadClass
from shared.errors import InputError


def entry(workload: str, expected: WorkloadClass, seed: int = 1, **features: float) -> Recorded:
    return Recorded(workload=workload, seed=seed, expected=expected, features=features, host="lab")


HOGS = {"hog_cpu_share": 1.0, "runnable_count": 4.0}
TALK = {"sleeper_cpu_share": 1.0, "sleeper_wakeups_per_s": 900.0}
ENTRIES = [
    entry("a", "cpu-bound", **HOGS),
    entry("a", "cpu-bound", 2, **HOGS),
    entry("b", "cpu-bound", **HOGS),
    entry("c", "messaging", **TALK),
    entry("d", "messaging", **TALK),
]


def test_nobody_is_asked_about_a_workload_that_he_has_seen() -> None:
    seen: list[set[str]] = []

    def way(entries: Sequence[Recorded]) -> Classify:
        names = {each.workload for each in entries}
        seen.append(names)

        def ask(_features: Mapping[str, float]) -> tuple[WorkloadClass, float]:
            return "idle", 0.5

        return ask

    answers = held_out(ENTRIES, way)
    assert len(answers) == len(ENTRIES)
    assert seen == [{"a", "b", "c", "d"} - {name} for name in "abcd"]


def test_each_workload_counts_once_however_often_it_was_recorded() -> None:
    def ask(features: Mapping[str, float]) -> tuple[WorkloadClass, float]:
        return ("cpu-bound" if "hog_cpu_share" in features else "idle"), 1.0

    scored = score(held_out(ENTRIES, lambda _: ask))
    assert (scored.workloads, scored.profiles) == (4, 5)
    assert scored.right == 0.5  # a and b; three of five profiles
    assert scored.brier == 0.5
    assert [(each.count, each.right) for each in scored.bins] == [(5, pytest.approx(0.6))]


def test_what_lies_nearest_is_found_by_those_of_its_class_alone() -> None:
    assert all(each.right for each in held_out(ENTRIES, nearest))
    # Who is the only one of a class cannot be known by others.
    alone = [*ENTRIES, entry("e", "idle")]
    (lonely,) = [each for each in held_out(alone, nearest) if each.workload == "e"]
    assert not lonely.right


def test_profiles_are_compared_by_what_does_not_grow_with_the_host() -> None:
    small = {"cpus_count": 2.0, "hog_count": 4.0, "hog_cpu_share": 0.9}
    large = {"cpus_count": 64.0, "hog_count": 128.0, "hog_cpu_share": 0.9}
    assert vector(small) == vector(large)


def test_every_way_answers_for_every_profile_that_was_recorded() -> None:
    results = measure()
    assert set(results.ways) == set(WAYS)
    for measured in results.ways.values():
        assert measured.every.profiles == len(recorded())
        assert 0 <= measured.every.right <= 1
    lines = report(results)
    assert any(line.startswith("| rules | ") for line in lines)
    assert any(
        line.startswith("| wakeup | native, in view | latency-under-load |") for line in lines
    )


def test_the_rules_are_those_of_the_observer() -> None:
    assert rules([])(HOGS)[0] == "cpu-bound"


def test_too_few_profiles_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few profiles"):
        recorded(tmp_path, tmp_path)
