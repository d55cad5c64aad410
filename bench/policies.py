"""Every workload under the policies made for it, against the kernel's default, on a lab host.

    python bench/policies.py [--pairs 10] [--workload W …] [--policy P …] [--out FILE]

The real thing without a planner: the gate builds, the host's executor runs paired rounds in
random order, its observer measures. Nobody stops a trial early, so the figures are not selected.
Prints a table (Markdown) and writes rows
`{workload, policy, metric, direction, ratio, low, high, rounds, kernel, accel}` with
ratio = candidate / default (median over pairs, block-bootstrap 95 % interval), the objective's
row first, then one for each guardrail. A run replaces its own rows in the file, no others.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import math
import os
import statistics as plain
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.comparing.lab import HOST, one_host
from shared.bus import Bus
from shared.errors import CoxswainError, WorkloadError
from shared.messages import (
    Artifact,
    Budget,
    BuildCommand,
    Built,
    Direction,
    Inventory,
    Message,
    OptimizeRequest,
    Round,
    TrialCommand,
    TrialEnded,
    TrialSpec,
    decode,
    encode,
)
from shared.policies import Catalogue as Policies
from shared.policies import Policy
from shared.statistics import median, median_interval
from shared.workloads import Catalogue as Workloads
from shared.workloads import Workload

RESULTS = Path(__file__).parent / "results" / "policies.json"
LEVEL = 0.95
M = TypeVar("M", bound=Message)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one policy under one workload."""

    workload: str
    policy: str
    metric: str
    direction: Direction
    ratio: float
    low: float
    high: float
    rounds: int
    kernel: str
    accel: str


class Bench:
    """A fleet of one lab host, asked for one trial after the other."""

    def __init__(self, bus: Bus, pairs: int, inventory: Inventory) -> None:
        self._bus = bus
        self._pairs = pairs
        self._inventory = inventory
        self._run = uuid.uuid4().hex[:6]

    async def rows(self, workload: Workload, policy: Policy) -> list[Row]:
        """One trial. Raises CoxswainError if it could not be carried through."""
        identity = f"bench-{self._run}-{workload.name}-{policy.name}"
        artifact = await self._built(identity, policy)
        request_sha256 = await self._allow(workload, policy)
        rounds = await self._tried(identity, workload, policy, artifact, request_sha256)
        objective = workload.objective
        wanted = [(objective.metric, objective.direction)]
        wanted += [(rail.metric, rail.direction) for rail in workload.guardrails]
        return [
            self._row(workload, policy, metric, direction, rounds) for metric, direction in wanted
        ]

    async def _built(self, identity: str, policy: Policy) -> Artifact:
        subjects = self._bus.subjects
        await self._bus.publish(
            subjects.command("executor", "build"),
            BuildCommand(optimization=identity, policy=policy.name),
            message_id=f"{identity}-build",
        )
        built = (await self._facts(identity, "built", Built, 1, 180.0))[0]
        if built.artifact is None:
            raise WorkloadError(f"{policy.name} was not built: {built.reasons or built.problem}")
        return built.artifact

    async def _allow(self, workload: Workload, policy: Policy) -> str:
        """Say as an operator that this may be loaded here; the hash of these words."""
        words = encode(
            OptimizeRequest(
                workload=workload.name,
                hosts=[HOST],
                policies=[policy.name],
                budget=Budget(rounds=max(8, self._pairs), seconds=86_400),
            )
        )
        # Its stream acknowledges nothing.
        await self._bus.nc.publish(self._bus.subjects.allow, words)
        await self._bus.nc.flush()
        return hashlib.sha256(words).hexdigest()

    async def _tried(
        self,
        identity: str,
        workload: Workload,
        policy: Policy,
        artifact: Artifact,
        request_sha256: str,
    ) -> list[Round]:
        spec = TrialSpec(
            objective=workload.objective,
            guardrails=workload.guardrails,
            stage="screen",
            max_pairs=self._pairs,
        )
        await self._bus.publish(
            self._bus.subjects.command("executor", "trial", HOST),
            TrialCommand(
                optimization=identity,
                trial=identity,
                policy=policy.name,
                version=policy.manifest.version,
                parameters=policy.manifest.defaults,
                artifact=artifact,
                workload=workload.name,
                spec=spec,
                seed=1,
                request_sha256=request_sha256,
            ),
            message_id=f"{identity}-trial",
        )
        patience_s = 600 + self._pairs * 2 * workload.manifest.timeout_s
        ended = (await self._facts(identity, "trial_ended", TrialEnded, 1, patience_s))[0]
        if ended.end != "completed":
            raise WorkloadError(
                f"the trial of {policy.name} under {workload.name} ended as {ended.end}",
                got=str(ended.problem or ended.exit_record),
            )
        return await self._facts(identity, "round", Round, self._pairs, 30.0)

    async def _facts(
        self, identity: str, fact: str, kind: type[M], count: int, patience_s: float
    ) -> list[M]:
        """`count` events of a kind, once they are all there."""
        subject = self._bus.subjects.events("executor", fact, identity)
        async with asyncio.timeout(patience_s):
            while True:
                found = [
                    decode(data, kind) async for _, data in self._bus.history("EVENTS", subject)
                ]
                if len(found) >= count:
                    return found
                await asyncio.sleep(1.0)

    def _row(
        self,
        workload: Workload,
        policy: Policy,
        metric: str,
        direction: Direction,
        rounds: list[Round],
    ) -> Row:
        logs = [math.log(r.candidate[metric] / r.baseline[metric]) for r in rounds]
        low, high = median_interval(
            logs, level=LEVEL, seed=f"{workload.name}/{policy.name}/{metric}"
        )
        return Row(
            workload=workload.name,
            policy=policy.name,
            metric=metric,
            direction=direction,
            ratio=round(math.exp(median(logs)), 4),
            low=round(math.exp(low), 4),
            high=round(math.exp(high), 4),
            rounds=len(rounds),
            kernel=self._inventory.kernel,
            accel=self._inventory.virtualization,
        )


def chosen(
    workloads: Workloads, policies: Policies, only_w: list[str], only_p: list[str]
) -> list[tuple[Workload, Policy]]:
    """What to run: each workload with the policies made for its class, or those named."""
    return [
        (workload, policy)
        for workload in workloads.values()
        if not only_w or workload.name in only_w
        for policy in policies.values()
        if policy.name in only_p
        or (not only_p and workload.manifest.workload_class in policy.manifest.good_for)
    ]


def table(rows: Iterable[Row]) -> str:
    """Rows as Markdown."""
    lines = [
        "| workload | policy | metric | better | ratio | 95 % interval | pairs |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.workload} | {row.policy} | {row.metric} | {row.direction}"
        f" | {row.ratio:.3f} | {row.low:.3f} to {row.high:.3f} | {row.rounds} |"
        for row in rows
    ]
    return "\n".join(lines)


def summary(rows: Iterable[Row]) -> str:
    """The batches' mean, since it is what a user of all kinds would see."""
    batches = [r.ratio for r in rows if r.policy == "longtail" and r.metric == "makespan_s"]
    if not batches:
        return ""
    mean = plain.mean(batches)
    return f"long-tail batches: mean makespan ratio {mean:.3f} over {len(batches)} kinds"


def save(rows: list[Row], path: Path) -> None:
    """Write the file, keeping rows of trials that did not run this time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = {(row.workload, row.policy) for row in rows}
    kept: list[Row] = []
    if path.exists():
        old = msgspec.json.decode(path.read_bytes(), type=list[Row])
        kept = [row for row in old if (row.workload, row.policy) not in fresh]
    ordered = sorted([*kept, *rows], key=lambda row: (row.workload, row.policy))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n")


async def run(arguments: argparse.Namespace) -> int:
    """Boot, try everything, print and save. 1 if any trial could not be carried through."""
    workloads, policies = Workloads.load(), Policies.load()
    pairs = chosen(workloads, policies, arguments.workload, arguments.policy)
    rows: list[Row] = []
    failed = 0
    async with one_host() as (bus, inventory):
        bench = Bench(bus, arguments.pairs, inventory)
        for workload, policy in pairs:
            print(f"{workload.name} under {policy.name} …", flush=True)
            try:
                fresh = await bench.rows(workload, policy)
            except (CoxswainError, TimeoutError) as error:
                failed += 1
                print(f"  failed: {error!r}", flush=True)
                continue
            rows += fresh
            save(fresh, arguments.out)
            for row in fresh:
                print(f"  {row.metric} {row.ratio:.3f} [{row.low:.3f}, {row.high:.3f}]")
    print(table(rows))
    print(summary(rows))
    return 1 if failed else 0


def main() -> int:
    """Parse arguments and run in a state home of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=10, help="pairs of rounds for each trial")
    parser.add_argument("--workload", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--policy", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cox-bench-") as home:
        os.environ["COX_HOME"] = home
        os.environ.pop("COX_NATS_URL", None)
        return asyncio.run(run(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
