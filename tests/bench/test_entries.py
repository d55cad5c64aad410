from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from bench.comparing.entries import Entry, against, duel, summarized
from bench.comparing.tables import told

PAIRS = (0.48, 0.5, 0.52, 0.49, 0.51, 0.5, 0.53, 0.47)


def entry(mind: str, ratio: float | None, *, workload: str = "w", policy: str = "p") -> Entry:
    """Promoted at about that ratio; None for a default that was kept."""
    if ratio is None:
        return Entry(
            workload=workload,
            mind=mind,
            metric="m",
            direction="lower",
            end="kept-default",
            rounds=9,
        )
    pairs = [ratio * each / 0.5 for each in PAIRS]
    return Entry(
        workload=workload,
        mind=mind,
        metric="m",
        direction="lower",
        end="promoted",
        policy=policy,
        version="1.0.0",
        ratio=ratio,
        low=ratio * 0.96,
        high=ratio * 1.04,
        pairs=[math.log(each) for each in pairs],
        rounds=14,
        tokens=100,
    )


@pytest.mark.parametrize(
    ("mine", "other", "standing"),
    [
        (0.5, 0.8, "better"),
        (0.8, 0.5, "worse"),
        (0.5, 0.505, "level"),
        (0.5, None, "better"),
        (None, 0.5, "worse"),
        (None, None, "level"),
    ],
)
def test_minds_are_told_apart_by_their_pairs(
    mine: float | None, other: float | None, standing: str
) -> None:
    first, second = entry("embedded", mine, policy="a"), entry("sweep", other, policy="b")
    assert against(first, second) == standing


def test_more_is_better_where_it_is() -> None:
    first = replace(entry("embedded", 1.4, policy="a"), direction="higher")
    second = replace(entry("sweep", 1.1, policy="b"), direction="higher")
    assert against(first, second) == "better"
    assert first.gain > second.gain > 0


def test_the_same_candidate_is_level_with_itself() -> None:
    assert against(entry("embedded", 0.5), entry("sweep", 0.5)) == "level"


def test_a_promotion_that_is_worse_than_the_default_is_a_regression() -> None:
    assert entry("sweep", 1.2).is_regression
    assert not entry("sweep", 0.9).is_regression
    assert not entry("sweep", 1.01).is_regression  # its interval has 1 in it
    assert not entry("sweep", None).is_regression
    assert replace(entry("sweep", 0.8), direction="higher").is_regression
    assert summarized([entry("sweep", 1.2)])[0].regressions == ["w"]


def test_what_was_not_run_counts_for_nobody() -> None:
    lost = Entry(
        workload="v", mind="embedded", metric="m", direction="lower", end="not-run", why="no gcc"
    )
    all_of_them = [lost, entry("embedded", 0.5), entry("sweep", 0.8, policy="b")]
    assert summarized(all_of_them)[-1].workloads == 1
    assert duel(all_of_them).workloads == 1
    assert "| embedded mind | not-run | no gcc |" in told(all_of_them)


def test_the_mean_is_geometric_and_has_the_default_in_it() -> None:
    found = summarized(
        [
            entry("embedded", 0.25, workload="a"),
            entry("embedded", None, workload="b"),
            replace(entry("embedded", 4.0, workload="c"), direction="higher"),
        ]
    )[0]
    assert math.isclose(found.mean_ratio, (0.25 * 1.0 * 0.25) ** (1 / 3))
    assert (found.promoted, found.workloads) == (2, 3)


def test_the_table_says_what_it_came_to() -> None:
    text = told(
        [
            entry("embedded", 0.5, workload="a", policy="x"),
            entry("sweep", 0.8, workload="a", policy="y"),
            entry("embedded", 0.9, workload="b", policy="y"),
            entry("sweep", 0.6, workload="b", policy="x"),
            entry("embedded", None, workload="c"),
            entry("sweep", None, workload="c"),
        ]
    )
    lines = text.splitlines()
    widths = {line.count("|") for line in lines[:11]}
    assert widths == {13}
    assert lines[2].startswith("| a | m | lower | kernel's default |  |  | 1.000 |")
    assert (
        "The embedded mind is at least as good as the default sweep on 2 of 3 workloads "
        "(worse on b) and better on 1, beyond the intervals; by the medians alone on 2 and 1."
    ) in text
    assert "Promoted, and worse than the kernel's default beyond the interval: none." in text
