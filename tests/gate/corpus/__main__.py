"""`make gate-corpus`: every file of the corpus through the gate, a line each, and the sum."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.gate.corpus import Case, benign, hostile
from tests.gate.corpus.bench import Bench, Outcome


def main() -> int:
    """Exit code: 0 if every hostile file was stopped as it says and every benign one passed."""
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(2) as pool:
        bench = Bench(Path(directory))
        bench.workshop.frame()
        bad = _tell("hostile", hostile(), bench.try_hostile, pool)
        good = _tell("benign", benign(), bench.try_benign, pool)
    stopped = sum(not outcome.problem for outcome in bad)
    loaded = sum(outcome.problem.startswith("PASSED") for outcome in bad)
    passed = sum(not outcome.problem for outcome in good)
    print(
        f"{len(bad)} hostile: {stopped} stopped, {loaded} loaded; "
        f"{len(good)} benign: {passed} passed"
    )
    return 0 if (stopped, loaded, passed) == (len(bad), 0, len(good)) else 1


def _tell(
    kind: str, cases: list[Case], attempt: Callable[[Case], Outcome], pool: ThreadPoolExecutor
) -> list[Outcome]:
    outcomes = []
    for outcome in pool.map(attempt, cases):
        outcomes.append(outcome)
        said = "; without it by ".join(outcome.stopped_by)
        said = f"stopped by {said}" if kind == "hostile" else "passed"
        print(f"{kind:8} {outcome.case.name:32} {outcome.problem or said}", flush=True)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
