"""Runs one workload in a lab guest and prints what was seen, as one line of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from services.observer.runner import WorkloadRunner
from shared.errors import CoxswainError
from shared.workloads import Catalogue


async def main(name: str) -> None:
    catalogue = Catalogue.load()
    runner = WorkloadRunner(catalogue, Path(os.environ["STATE_DIRECTORY"]) / "workloads")
    seen: dict[str, object] = {"problem": None, "uid": os.getuid()}
    try:
        async with runner.started(catalogue[name], 1) as running:
            cgroup = running.cgroup
            seen["cgroup"] = str(cgroup)
            while not running.pids():  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.01)
            seen["in_cgroup"] = len(running.pids())
            measurement = await running.wait()
        seen["metrics"] = measurement.metrics
        seen["cpu_s"] = measurement.cpu_s
        seen["cgroup_left"] = cgroup is not None and cgroup.exists()
    except CoxswainError as error:
        seen["problem"] = str(error)
    print(json.dumps(seen))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
