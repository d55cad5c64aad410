"""Names after https://prometheus.io/docs/practices/naming/, and label values that exist."""

from __future__ import annotations

import re
import typing

import pytest

from services.executor.host.exits import ExitClass
from shared.messages import Judged, Outcome
from shared.metrics.declared import (
    DECISIONS,
    EVERY,
    EXITS,
    OUTCOMES,
    VERDICTS,
    Counter,
    Gauge,
    Histogram,
    Metric,
)


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_a_name_says_what_it_is_in_base_units(metric: Metric) -> None:
    assert re.fullmatch(r"coxswain_[a-z]+(_[a-z]+)*", metric.name)
    assert not re.search(r"_(ms|us|ns|milli|micro|minutes|percent|kb|mb)(_|$)", metric.name)
    assert metric.help.endswith((".", ")."))
    match metric:
        case Counter():
            assert metric.name.endswith("_total")
        case Histogram():
            assert metric.name.endswith("_seconds")
            assert list(metric.buckets) == sorted(set(metric.buckets))
        case Gauge():
            assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))


def test_every_metric_is_declared_once() -> None:
    assert len({metric.name for metric in EVERY}) == len(EVERY)


def values(struct: type, name: str) -> set[str]:
    return set(typing.get_args(typing.get_type_hints(struct)[name]))


def test_known_label_values_are_those_of_the_messages() -> None:
    assert set(VERDICTS.labels["verdict"]) == values(Judged, "verdict")
    assert set(OUTCOMES.labels["verdict"]) == values(Outcome, "verdict")
    assert set(DECISIONS.labels["verdict"]) == values(Judged, "verdict") - {"continue"}
    assert set(EXITS.labels["exit_class"]) == {each.value for each in ExitClass} - {"requested"}
