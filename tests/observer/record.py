"""Records what workloads look like, for the classifier's tests. Run where they shall be seen:

    python -m tests.observer.record OUT.json SEEDS [WORKLOAD...]

Each entry holds a profile's features and the class that the workload's manifest expects.
In a lab guest:

    python -m tests.observer.record_in_guest lab.json 1,2,3
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from services.observer.inventory import inventory
from services.observer.profile import profile_workload
from services.observer.runner import WorkloadRunner
from shared.errors import WorkloadError
from shared.workloads import Catalogue

OURS = Path(__file__).parent / "workloads"


async def record(names: list[str], seeds: list[int], work: Path) -> list[dict[str, object]]:
    """One entry for each workload and seed; none named means all there are."""
    catalogue = Catalogue({**Catalogue.load(), **Catalogue.load(OURS)})
    runner = WorkloadRunner(catalogue, work)
    here = inventory("recorded")
    entries: list[dict[str, object]] = []
    for name in names or list(catalogue):
        for seed in seeds:
            workload = catalogue[name]
            try:
                profile = await profile_workload(runner, workload, seed, "recorded", here)
            except WorkloadError as error:  # a host too busy for it; the next may do
                print(name, seed, error, flush=True)  # noqa: T201
                continue
            print(name, seed, profile.summary, profile.baseline, profile.cost, flush=True)  # noqa: T201
            entries.append(
                {
                    "workload": name,
                    "seed": seed,
                    "expected": workload.manifest.workload_class,
                    "kernel": here.kernel,
                    "virtualization": here.virtualization,
                    "cpu_s": round(profile.cost.cpu_s, 4),
                    "class": profile.workload_class,
                    "phases": [
                        [round(each.share, 3), each.visits, each.workload_class]
                        for each in profile.phases
                    ],
                    "features": {
                        feature: float(f"{value:.6g}")
                        for feature, value in profile.features.items()
                    },
                }
            )
    return entries


def main() -> None:
    out, seeds, *names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        entries = asyncio.run(record(names, [int(seed) for seed in seeds.split(",")], Path(work)))
    Path(out).write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
