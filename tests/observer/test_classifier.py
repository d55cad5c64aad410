"""Classes of recorded profiles, and what holds for any features at all.

Fixtures are recorded by tests/observer/record.py. Thresholds were set with seeds below 100 in
view; those from 100 on are held out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.observer.profile.classifier import classify
from shared.classes import WORKLOAD_CLASSES

FIXTURES = Path(__file__).parent / "fixtures"
HELD_OUT = 100
NAMES = sorted(json.loads((FIXTURES / "native.json").read_text())[0]["features"])


def recorded() -> list[Any]:
    return [
        pytest.param(entry, id=f"{file.stem}-{entry['workload']}-{entry['seed']}")
        for file in sorted(FIXTURES.glob("*.json"))
        for entry in json.loads(file.read_text())
    ]


@pytest.mark.parametrize("entry", recorded())
def test_a_recorded_workload_is_classified_as_its_manifest_expects(entry: dict[str, Any]) -> None:
    found = classify(entry["features"])
    assert found.workload_class == entry["expected"], found.scores
    assert found.confidence > 0.1


def test_rounds_were_held_out_of_each_file() -> None:
    for file in FIXTURES.glob("*.json"):
        seeds = [entry["seed"] for entry in json.loads(file.read_text())]
        assert min(seeds) < HELD_OUT <= max(seeds), file.name


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1e9)))
def test_any_features_have_a_class_and_a_confidence(features: dict[str, float]) -> None:
    found = classify(features)
    assert found.workload_class in WORKLOAD_CLASSES
    assert set(found.scores) == set(WORKLOAD_CLASSES)
    assert 0.0 <= found.confidence <= 1.0
    assert all(0.0 <= score <= 1.0 for score in found.scores.values())
    assert found.scores[found.workload_class] == max(found.scores.values())


def test_what_was_not_seen_leaves_no_confidence() -> None:
    hogs = {"hog_cpu_share": 1.0, "runnable_count": 8.0}
    assert classify(hogs | {"blind_share": 0.2}).confidence == 1.0
    assert classify(hogs | {"blind_share": 0.6}).confidence == pytest.approx(0.5)
    assert classify(hogs | {"blind_share": 0.9}).confidence == 0.0


def test_two_classes_met_alike_leave_no_confidence() -> None:
    both = {
        "hog_cpu_share": 1.0,
        "runnable_count": 8.0,
        "waiting_per_cpu": 3.0,
        "host_iowait_share": 0.5,
    }
    assert classify(both).confidence == 0.0
