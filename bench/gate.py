"""What the gate costs, in seconds a stage, and how fast a host is back on its default.

    python bench/gate.py [--repeats 5] [--out FILE] [--no-guest]

Each of the repository's policies goes through the gate `repeats` times with nothing cached (the
frame is compiled, too), and as often with the frame's object at hand, as a gate that runs has it.
Then, in a lab guest, executors are stopped and killed and policies run nobody: the time until the
kernel is on its default again (EEVDF), once for each time that it happened. Prints two tables
(Markdown) and writes them. A guest on an emulated CPU is slower than a host.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from services.executor.gate import Accepted, BuildRequest, Workshop, build
from shared.errors import CoxswainError, MachineError
from shared.microvm import Microvm, ensure_image
from shared.microvm.accel import choose_accel
from shared.policies import Catalogue
from tests.executor.guard.guest import PLACE, files_for_guest

RESULTS = Path(__file__).parent / "results" / "gate.json"
SCENARIOS = {
    "stopped": "executor stopped (SIGSTOP)",
    "killed": "executor killed (SIGKILL)",
    "all_starve": "policy that runs nobody",
    "probe_starves": "policy that starves one task",
}
"""What befalls a host, by the guard's test scenario that does it."""


class StageCost(msgspec.Struct, frozen=True, kw_only=True):
    """Of one stage over all policies and repeats, in seconds."""

    stage: str
    cold_median_s: float
    cold_worst_s: float
    warm_median_s: float
    warm_worst_s: float


class WayBack(msgspec.Struct, frozen=True, kw_only=True):
    """From what befell the host to its default scheduler, in seconds."""

    what: str
    times: int
    median_s: float
    worst_s: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """One run of this bench."""

    policies: list[str]
    repeats: int
    stages: list[StageCost]
    ways_back: list[WayBack]
    accelerator: str
    machine: str
    unix: int


def stage_costs(repeats: int) -> list[StageCost]:
    """Every policy through the gate, with and without its cache. Raises MachineError."""
    took: dict[str, dict[bool, list[float]]] = defaultdict(lambda: {False: [], True: []})
    for policy in Catalogue.load().values():
        request = BuildRequest.of(policy)
        for _ in range(repeats):
            with tempfile.TemporaryDirectory(prefix="cox-bench-") as cache:
                for warm in (False, True):
                    workshop = Workshop(cache=Path(cache))
                    begun_s = time.monotonic()
                    built = build(request, workshop)
                    whole_s = time.monotonic() - begun_s
                    if not isinstance(built, Accepted):
                        raise MachineError(
                            "the gate refuses a policy of the repository",
                            got=f"{request.manifest.name}: {built.reasons}",
                            advice=f"`cox gate check` says more of {request.manifest.name}.",
                        )
                    for verdict in built.verdicts:
                        took[verdict.stage][warm].append(verdict.seconds)
                    took["all"][warm].append(whole_s)
    return [
        StageCost(
            stage=stage,
            cold_median_s=statistics.median(seconds[False]),
            cold_worst_s=max(seconds[False]),
            warm_median_s=statistics.median(seconds[True]),
            warm_worst_s=max(seconds[True]),
        )
        for stage, seconds in took.items()
    ]


async def ways_back() -> tuple[list[WayBack], str]:
    """What the guard's scenarios take in a lab guest, and what the guest's CPU is."""
    with tempfile.TemporaryDirectory(prefix="cox-bench-") as folder:
        image = await ensure_image()
        files = files_for_guest(Path(folder))
        async with Microvm(image, name="gate-bench", cpus=2, files=files, network=False) as guest:
            await guest.run("systemctl stop cox-executor cox-observer", timeout_s=60)
            found = []
            for scenario, what in SCENARIOS.items():
                command = ["python3", f"{PLACE}/in_guest.py", scenario, PLACE]
                code, output = await guest.run(command, timeout_s=300)
                if code:
                    raise MachineError(
                        f"the scenario {scenario} failed", expected="exit code 0", got=output[-600:]
                    )
                found.append(_way_back(what, json.loads(output.splitlines()[-1])["back_s"]))
            return found, await choose_accel(image)


def _way_back(what: str, back_s: Any) -> WayBack:
    times = back_s if isinstance(back_s, list) else [back_s]
    if None in times:
        raise MachineError(f"{what}: the default did not come back", got=str(times))
    return WayBack(
        what=what, times=len(times), median_s=statistics.median(times), worst_s=max(times)
    )


def stage_table(rows: list[StageCost]) -> str:
    """As Markdown, in milliseconds."""
    lines = [
        "| stage | cold, median | cold, worst | warm, median | warm, worst |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.stage} | {1e3 * row.cold_median_s:.0f} ms | {1e3 * row.cold_worst_s:.0f} ms "
        f"| {1e3 * row.warm_median_s:.0f} ms | {1e3 * row.warm_worst_s:.0f} ms |"
        for row in rows
    ]
    return "\n".join(lines)


def way_back_table(rows: list[WayBack]) -> str:
    """As Markdown."""
    lines = ["| what happens | times | back after, median | worst |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row.what} | {row.times} | {row.median_s:.1f} s | {row.worst_s:.1f} s |" for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="builds of each policy, each way")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--no-guest", action="store_true", help="only what the gate costs")
    arguments = parser.parse_args()
    try:
        stages = stage_costs(arguments.repeats)
        print(stage_table(stages), end="\n\n", flush=True)
        back, accelerator = ([], "") if arguments.no_guest else asyncio.run(ways_back())
    except CoxswainError as error:
        print(error)
        return error.exit_code
    if back:
        print(way_back_table(back))
    results = Results(
        policies=sorted(Catalogue.load()),
        repeats=arguments.repeats,
        stages=stages,
        ways_back=back,
        accelerator=accelerator,
        machine=platform.machine(),
        unix=int(time.time()),
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
