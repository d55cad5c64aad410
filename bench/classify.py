"""How often a profile's class is right: over the catalogue, each workload judged without itself.

    cox bench classify [--profiles DIR] [--save]

Profiles are those that `cox bench compare --profiles-only` has measured on a lab host
(bench/results/profiles/). What a workload is stands in its manifest. Two ways are told:

rules     the observer's classifier (services/observer/profile/classifier.py). Nothing in it is
          fitted; but its thresholds were chosen while some workloads were there to look at, so
          those that came later are counted by themselves: nobody had seen them
nearest   held out: the class of the most alike among the *other* workloads' profiles, by the
          cosine of standardized logs of the features; what a classifier would say that only
          knows examples. Where no other workload has the class it cannot be right, and that counts

Prints Markdown; --save writes bench/results/classify.json.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from bench.comparing.lab import Kept
from services.observer.profile.classifier import classify
from shared.errors import InputError
from shared.workloads import Catalogue

RESULTS = Path(__file__).parent / "results" / "classify.json"
PROFILES = Path(__file__).parent / "results" / "profiles"
LOOKED_AT = frozenset(
    {
        "build",
        "hackbench",
        "longtail-checksum",
        "longtail-compress",
        "longtail-etl",
        "longtail-spin",
        "pulse",
        "wakeup",
    }
)
"""Workloads that were there when the rules' thresholds were chosen."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One workload: what it is, and what was said of it."""

    workload: str
    truth: str
    rules: str
    confidence: float
    nearest: str
    like: str
    """The other workload whose class that is."""
    looked_at: bool


def rows(profiles: Mapping[str, Mapping[str, float]], truths: Mapping[str, str]) -> list[Row]:
    """Each profile's row, by workload."""
    found = []
    for name, features in sorted(profiles.items()):
        others = {other: each for other, each in profiles.items() if other != name}
        like = nearest(features, others)
        said = classify(features)
        found.append(
            Row(
                workload=name,
                truth=truths[name],
                rules=said.workload_class,
                confidence=round(said.confidence, 2),
                nearest=truths[like],
                like=like,
                looked_at=name in LOOKED_AT,
            )
        )
    return found


def nearest(features: Mapping[str, float], others: Mapping[str, Mapping[str, float]]) -> str:
    """The most alike of the others, by what is known of the others alone."""
    names = sorted(set(features).intersection(*others.values()))
    scales = {name: _scale([each[name] for each in others.values()]) for name in names}
    asked = _standardized(features, scales)
    return max(
        sorted(others), key=lambda other: _cosine(asked, _standardized(others[other], scales))
    )


def _scale(values: Iterable[float]) -> tuple[float, float]:
    logs = [math.log1p(abs(value)) for value in values]
    return statistics.fmean(logs), statistics.pstdev(logs) or 1.0


def _standardized(
    features: Mapping[str, float], scales: Mapping[str, tuple[float, float]]
) -> list[float]:
    return [
        (math.log1p(abs(features[name])) - mean) / spread for name, (mean, spread) in scales.items()
    ]


def _cosine(here: Sequence[float], there: Sequence[float]) -> float:
    sizes = math.hypot(*here) * math.hypot(*there)
    return math.fsum(a * b for a, b in zip(here, there, strict=True)) / sizes if sizes else 0.0


def table(found: Sequence[Row]) -> str:
    """Rows and their sums as Markdown."""
    lines = [
        "| workload | is | rules say | sure | right | nearest other | says | right |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.workload}{'' if row.looked_at else ' (new)'} | {row.truth} | {row.rules}"
        f" | {row.confidence:.2f} | {_yes(row.rules == row.truth)} | {row.like} | {row.nearest}"
        f" | {_yes(row.nearest == row.truth)} |"
        for row in found
    ]
    new = [row for row in found if not row.looked_at]
    by_rules, unseen = _share(found, "rules"), _share(new, "rules")
    by_example = _share(found, "nearest")
    lines += [
        "",
        f"Rules: {by_rules}; of new ones {unseen}. Nearest other workload: {by_example}.",
    ]
    return "\n".join(lines)


def _yes(right: bool) -> str:  # noqa: FBT001
    return "yes" if right else "**no**"


def _share(found: Sequence[Row], way: str) -> str:
    if not found:
        return "none"
    right = sum(getattr(row, way) == row.truth for row in found)
    return f"{right} of {len(found)} right"


def load(directory: Path) -> dict[str, dict[str, float]]:
    """Kept profiles' features by workload. Raises InputError where there are too few."""
    found = {}
    for path in sorted(directory.glob("*.json")):
        kept = msgspec.json.decode(path.read_bytes(), type=Kept)
        if kept.profiled.profile is not None:
            found[path.stem] = kept.profiled.profile.features
    if len(found) < 3:
        raise InputError(
            "there are too few profiles to hold one out",
            expected="three or more",
            got=f"{len(found)} in {directory}",
            advice="Measure them: cox bench compare --profiles-only.",
        )
    return found


def main() -> int:
    """Print, and save if asked to."""
    parser = argparse.ArgumentParser(
        prog="cox bench classify", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--profiles", type=Path, default=PROFILES, help="where they are kept")
    parser.add_argument("--save", action="store_true", help="write classify.json")
    arguments = parser.parse_args()
    truths = {name: each.manifest.workload_class for name, each in Catalogue.load().items()}
    try:
        found = rows(load(arguments.profiles), truths)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(found))
    if arguments.save:
        RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
