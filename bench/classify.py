"""How often a profile gets the class that its workload's manifest states, hold-one-out.

    cox bench classify [--fixtures DIR] [--profiles DIR] [--save]

Reads recorded profiles of the catalogue's workloads and of pure loads, and prints tables (Markdown,
as in docs/profiling.md); --save writes bench/results/classify.json. Every workload is classified by
a classifier that was made without it. The rules learn nothing: for them, what counts as held out is
what their author had not seen. Takes a second, and needs no guest.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from bench.classifying.held import Answer, Score, held_out, score
from bench.classifying.recorded import COMPARED, FIXTURES, ROOT, recorded
from bench.classifying.ways import WAYS
from shared.errors import InputError

RESULTS = ROOT / "bench" / "results" / "classify.json"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One way to classify: how good it is on all, on what it had not seen, and on each host."""

    every: Score
    unseen: Score
    by_host: dict[str, Score]
    answers: list[Answer]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept."""

    measured_at: str
    workloads: list[str]
    ways: dict[str, Measured]


def measure(fixtures: Path = FIXTURES, compared: Path = COMPARED) -> Results:
    """All ways, on all recorded profiles. Raises InputError where there are too few."""
    entries = recorded(fixtures, compared)
    ways = {}
    for name, way in WAYS.items():
        answers = held_out(entries, way)
        hosts = sorted({each.host for each in answers})
        ways[name] = Measured(
            every=score(answers),
            unseen=score([each for each in answers if not each.in_view]),
            by_host={host: score([a for a in answers if a.host == host]) for host in hosts},
            answers=answers,
        )
    return Results(
        measured_at=time.strftime("%Y-%m-%d", time.gmtime()),
        workloads=sorted({each.workload for each in entries}),
        ways=ways,
    )


def report(results: Results) -> list[str]:
    """The tables' lines."""
    lines = [
        "| way | workloads | profiles | right | right, unseen | Brier | Brier, unseen |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, measured in results.ways.items():
        every, unseen = measured.every, measured.unseen
        lines.append(
            f"| {name} | {every.workloads} | {every.profiles} | {every.right:.0%} "
            f"| {unseen.right:.0%} of {unseen.workloads} | {every.brier:.3f} | {unseen.brier:.3f} |"
        )
    lines += ["", "| the rules' confidence | profiles | mean | right |", "|---|---|---|---|"]
    lines += [
        f"| from {each.least:g} | {each.count} | {each.confidence:.2f} | {each.right:.0%} |"
        for each in results.ways["rules"].unseen.bins
    ]
    lines += [
        "",
        "| workload | host | expected | the rules said | right |",
        "|---|---|---|---|---|",
    ]
    answers = results.ways["rules"].answers
    for workload, host in dict.fromkeys((a.workload, a.host) for a in answers):
        own = [a for a in answers if (a.workload, a.host) == (workload, host)]
        said = ", ".join(
            f"{found} ({sum(a.found == found for a in own)}×)"
            for found in dict.fromkeys(a.found for a in own)
        )
        right = sum(a.right for a in own)
        seen = ", in view" if own[0].in_view else ""
        lines.append(
            f"| {workload} | {host}{seen} | {own[0].expected} | {said} | {right} of {len(own)} |"
        )
    return lines


def main() -> int:
    """Measure, print, and save if asked to."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="cox bench classify",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fixtures", type=Path, default=FIXTURES, help="several seeds of each")
    parser.add_argument("--profiles", type=Path, default=COMPARED, help="one of each, compared")
    parser.add_argument("--save", action="store_true", help="write classify.json")
    given = parser.parse_args()
    try:
        results = measure(given.fixtures, given.profiles)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(report(results)))
    if given.save:
        RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
