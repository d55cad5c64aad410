"""The dashboard asks only for what is there, and for everything that happens to an optimization."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.metrics.declared import EVERY, Histogram, Metric

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "deploy" / "dashboards" / "coxswain.json"
TARGETS: list[dict[str, Any]] = [
    target for panel in json.loads(PATH.read_text())["panels"] for target in panel["targets"]
]


def series() -> dict[str, Metric]:
    """Every name that a query may use."""
    found: dict[str, Metric] = {}
    for metric in EVERY:
        ends = ("_bucket", "_sum", "_count") if isinstance(metric, Histogram) else ("",)
        found |= {metric.name + end: metric for end in ends}
    return found


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["expr"])
def test_a_query_asks_for_metrics_and_labels_that_exist(target: dict[str, Any]) -> None:
    asked = re.findall(r"\bcoxswain_\w+", target["expr"])
    assert len(asked) == 1
    metric = series()[asked[0]]
    labels = {
        label.strip()
        for group in re.findall(r"\bby \(([^)]*)\)", target["expr"])
        for label in group.split(",")
    }
    known = set(metric.labels) | ({"le"} if isinstance(metric, Histogram) else set())
    assert labels <= known
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_the_operators_page_names_only_metrics_that_exist() -> None:
    named = set(re.findall(r"\bcoxswain_[a-z_]+", (ROOT / "docs" / "operating.md").read_text()))
    known = set(series()) | {metric.name for metric in EVERY}
    assert len(named) > 5
    assert named <= known


def test_a_counter_is_never_shown_as_it_stands() -> None:
    for target in TARGETS:
        if "_total" in target["expr"]:
            assert "increase(" in target["expr"] or "rate(" in target["expr"]


def test_panels_have_names_of_their_own_and_do_not_overlap() -> None:
    panels = json.loads(PATH.read_text())["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
