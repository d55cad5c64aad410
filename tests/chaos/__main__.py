"""Seeds one after another: `make chaos SEEDS=200 FIRST=1`.

A line for each, a table in the end. A seed in which something did not hold prints its story, and
its directory stays.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import structlog

from tests.chaos.invariants import INVARIANTS, Violation
from tests.chaos.run import Result, play
from tests.chaos.story import story, told


def shown(counts: dict[str, int]) -> str:
    """Counts on one line."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def line(result: Result) -> str:
    """A seed on one line."""
    return (
        f"seed {result.seed:4}  {result.seconds:5.0f} s  faults: {shown(result.faults)}"
        f"  asked: {result.asked}  ended: {shown(result.ends)}"
        f"  violations: {len(result.violations)}"
    )


def table(results: list[Result]) -> str:
    """What all of them come to, as Markdown."""
    faults: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for result in results:
        faults.update(result.faults)
        ends.update(result.ends)
        broken.update({each.invariant for each in result.violations})
    rows = [
        ("seeds", f"{len(results)}, {min(r.seed for r in results)} and later"),
        ("time", f"{sum(r.seconds for r in results) / len(results):.0f} s a seed"),
        ("faults", f"{sum(faults.values())}: {shown(dict(faults))}"),
        ("requests", str(sum(result.asked for result in results))),
        ("optimizations", shown(dict(ends))),
        ("facts in the stream", str(sum(result.events for result in results))),
        ("loads", str(sum(result.loads for result in results))),
        ("dead letters", str(sum(result.dead_letters for result in results))),
        *((f"seeds in which {name} did not hold", str(broken[name])) for name in INVARIANTS),
        ("seeds that could not be played", str(broken["story"])),
    ]
    return "\n".join(["| what | how much |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)])


def explain(result: Result, home: Path) -> str:
    """What did not hold, and the story."""
    return "\n".join(
        [
            *(f"    {each.invariant}: {each.text}" for each in result.violations),
            *(f"    {told(step)}" for step in story(result.seed).steps),
            *(
                f"    {record.id} {record.terminal}: {'; '.join(record.reasons)}"
                for record in result.history.records.values()
            ),
            f"    all that was seen is in {home}",
        ]
    )


def broken_off(seed: int, error: Exception) -> Result:
    """A seed that could not be played to its end."""
    why = "".join(traceback.format_exception(error))
    return Result(seed=seed, violations=[Violation("story", f"it broke off: {why}")])


async def run(arguments: argparse.Namespace) -> list[Result]:
    """Play them all, some at the same time: most of a story is waiting."""
    slots = asyncio.Semaphore(arguments.at_once)

    async def one(seed: int) -> Result:
        async with slots:
            home = Path(tempfile.mkdtemp(prefix=f"cox-chaos-{seed}-"))
            try:
                result = await play(seed, home)
            except Exception as error:  # noqa: BLE001 - the others go on
                result = broken_off(seed, error)
        print(line(result), flush=True)
        if result.violations or arguments.keep:
            print(explain(result, home), flush=True)
        else:
            shutil.rmtree(home)
        return result

    seeds = range(arguments.first, arguments.first + arguments.seeds)
    return list(await asyncio.gather(*(one(seed) for seed in seeds)))


def main() -> int:
    """Parse arguments and play."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--at-once", type=int, default=1, help="seeds that play beside each other")
    parser.add_argument("--keep", action="store_true", help="keep every seed's directory")
    arguments = parser.parse_args()
    # Who loses his connection is what this is about: no news.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    results = asyncio.run(run(arguments))
    print(table(results))
    return 1 if any(result.violations for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
