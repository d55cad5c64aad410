"""Runs a workload in a lab guest, with neighbours if named, and prints what was seen as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from services.observer.cgroups import Cgroup
from services.observer.runner import WorkloadRunner
from shared.errors import CoxswainError
from shared.workloads import Catalogue


async def main(name: str, *beside: str) -> None:
    catalogue = Catalogue.load()
    runner = WorkloadRunner(catalogue, Path(os.environ["STATE_DIRECTORY"]) / "workloads")
    seen: dict[str, Any] = {"problem": None, "uid": os.getuid()}
    try:
        neighbours = [catalogue[each] for each in beside]
        async with runner.started(catalogue[name], 1, beside=neighbours) as running:
            cgroup = running.cgroup
            seen |= {"cgroup": str(cgroup), "in_cgroup": 0, "groups": 0}
            ending = asyncio.create_task(running.wait())
            # Looked at all along: when they start and end is the machine's affair.
            while not ending.done():
                seen["in_cgroup"] = max(seen["in_cgroup"], len(running.pids()))
                seen["groups"] = max(seen["groups"], groups(cgroup))
                await asyncio.wait([ending], timeout=0.05)
            measurement = ending.result()
        seen["metrics"] = measurement.metrics
        seen["cpu_s"] = measurement.cpu_s
        seen["cgroup_left"] = groups(cgroup, empty=True) > 0
    except CoxswainError as error:
        seen["problem"] = str(error)
    print(json.dumps(seen))  # noqa: T201


def groups(cgroup: Path | None, *, empty: bool = False) -> int:
    """Control groups of workloads that have processes, or that exist at all."""
    found = [] if cgroup is None else list(cgroup.parent.glob("workload-*"))
    return sum(1 for each in found if empty or Cgroup(each).pids())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
