"""How a fleet of N light hosts does on one machine: command latency, throughput, cost per host.

    python bench/fleet.py [--hosts N …] [--kind-size 10] [--seconds 20] [--out FILE]

Everything on the bus is real: nats-server, planners, learners, the gate, and the observer's and
executor's own code on every host. Only what is beneath the host role is made up (bench/hosts):
no kernel loads anything and no workload runs. For each N: the hosts join; nobody asks for
anything for a while; one command to each host, as fast as they go; then an optimization for each
kind of hosts, from request to rollout, with commands to random hosts at a steady rate beside it.
A command's latency is the time from its publication until its answer's event is back here.
Prints a table (Markdown) and writes a row for each N; a run replaces its own rows, no others.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import msgspec
from msgspec import field
from nats.aio.msg import Msg

from bench.hosts.agents import host_name
from bench.hosts.fleet import MIB, Fleet, Used
from shared.bus import Bus
from shared.errors import BusError, CoxswainError
from shared.messages import (
    Budget,
    Ended,
    Inventory,
    OptimizeReply,
    OptimizeRequest,
    RevertCommand,
    Reverted,
    decode,
)
from shared.optimization import Optimization

RESULTS = Path(__file__).parent / "results" / "fleet.json"
WORKLOAD = "pulse"
POLICY = "latency"
PATIENCE_S = 900.0
SPANS_S = 3.0


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of `count` commands, in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One size of fleet. CPU is in percent of one core; `host` figures are for one host."""

    hosts: int
    connections: str
    kind_size: int
    planners: int
    learners: int
    join_s: float
    """From nothing to all consumers made and all hosts' inventories in the bucket."""
    idle_cpu_percent: dict[str, float]
    """By part, while nobody asks for anything."""
    host_idle_cpu_percent: float
    host_memory_mib: float
    """What one more host adds to a process of light hosts: both its services, no interpreter."""
    host_base_mib: float
    """A process of light hosts before its first: a real host has two such processes."""
    nats_memory_mib: float
    commands_per_s: float
    """One command to each host, as fast as they go."""
    burst: Latency
    """Under that flood."""
    command_cpu_ms: dict[str, float] = field(default_factory=dict)
    """By part: CPU time for one command of that flood, beyond what it takes to be there."""
    steady: Latency
    """At a steady rate, beside the optimizations."""
    steady_per_s: float
    optimizations: int
    promoted: int
    deployed: int
    """Hosts that confirmed the rollout."""
    optimizations_s: float
    busy_cpu_percent: dict[str, float]
    command_bytes: float
    """What one command leaves in the streams: its event and its span."""
    rollout_bytes: float
    """What a rollout leaves in the streams for each of its hosts."""
    record_bytes: float
    """What it leaves in the record's bucket for each of its hosts."""
    host_bytes_per_day: float
    """At one rollout and 24 commands a day."""
    others_cpu_percent: float
    """What else ran on this machine meanwhile."""
    stolen_cpu_percent: float = 0.0
    """What its hypervisor gave to other machines meanwhile, although this one wanted it."""
    cores: int
    machine: str
    unix: int

    @property
    def fleet(self) -> tuple[int, int, str]:
        """What it is a row of: fleets of different kinds are not to be compared."""
        return self.hosts, self.kind_size, self.connections


class Commands:
    """Sends commands to hosts, and knows when each was answered."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._run = uuid.uuid4().hex[:8]
        self._sent: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Future[float]] = {}

    async def start(self) -> None:
        """Listen for answers."""
        subject = self._bus.subjects.events("executor", "reverted")
        await self._bus.nc.subscribe(subject, cb=self._answered)

    async def send(self, host: str) -> float:
        """One command and its answer; how many ms it took."""
        identity = f"bench-{self._run}-{uuid.uuid4().hex[:12]}"
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[identity] = answer
        began = time.monotonic()
        await self._bus.publish(
            self._bus.subjects.command("executor", "revert", host),
            RevertCommand(optimization=identity, reason="measured by bench/fleet.py"),
            message_id=identity,
        )
        async with asyncio.timeout(PATIENCE_S):
            ended = await answer
        return (ended - began) * 1e3

    async def _answered(self, message: Msg) -> None:
        now = time.monotonic()
        answer = self._waiting.pop(decode(message.data, Reverted).optimization, None)
        if answer is not None and not answer.done():
            answer.set_result(now)


class Ends:
    """Knows which optimizations are over."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._over: dict[str, asyncio.Event] = {}

    async def start(self) -> None:
        """Listen."""
        subject = self._bus.subjects.events("planner", "ended")
        await self._bus.nc.subscribe(subject, cb=self._ended)

    async def of(self, optimization: str) -> None:
        """Until this one is over."""
        await self._event(optimization).wait()

    async def _ended(self, message: Msg) -> None:
        self._event(decode(message.data, Ended).optimization).set()

    def _event(self, optimization: str) -> asyncio.Event:
        return self._over.setdefault(optimization, asyncio.Event())


class Measuring:
    """One size of fleet, from its first host to its row."""

    def __init__(self, fleet: Fleet, arguments: argparse.Namespace, hosts: int) -> None:
        self._fleet = fleet
        self._arguments = arguments
        self._hosts = hosts
        self._bus = fleet.bus
        self._commands = Commands(fleet.bus)
        self._ends = Ends(fleet.bus)

    async def row(self) -> Row:
        """Everything that is measured."""
        fleet, hosts, arguments = self._fleet, self._hosts, self._arguments
        began = fleet.used()
        await self._commands.start()
        await self._ends.start()
        await fleet.provision_hosts(range(hosts))
        say(f"  consumers of {hosts} hosts made in {time.monotonic() - began.at_s:.1f} s")
        ready = await fleet.start_hosts(
            hosts,
            processes=arguments.processes,
            kind_size=arguments.kind_size,
            connections=arguments.connections,
        )
        await self._joined()
        join_s = time.monotonic() - began.at_s
        say(f"  all joined after {join_s:.1f} s")
        before = fleet.used()
        await asyncio.sleep(arguments.seconds)
        idle = percent(before, fleet.used())
        say(f"  idle: {shown(idle)}")
        kept = [await self._kept(*STREAMS)]
        before = fleet.used()
        burst, commands_per_s = await self._burst()
        command_cpu_ms = each(before, fleet.used(), idle, hosts)
        say(
            f"  burst: {commands_per_s:.0f} commands/s, p99 {burst.p99_ms:.0f} ms, "
            + ", ".join(f"{part} {ms:.1f} ms" for part, ms in command_cpu_ms.items())
        )
        kept.append(await self._kept(*STREAMS))
        records = await self._kept("KV_cox-optimizations")
        before = fleet.used()
        began_s = time.monotonic()
        ended, steady = await self._optimizations()
        optimizations_s = time.monotonic() - began_s
        after = fleet.used()
        kept.append(await self._kept(*STREAMS))
        records = await self._kept("KV_cox-optimizations") - records
        ends = Counter(state.terminal for state in ended)
        busy = percent(before, after)
        say(f"  optimizations: {dict(ends)} in {optimizations_s:.0f} s, {shown(busy)}")
        for state in ended:
            if state.terminal != "promoted":
                say(f"    {state.id} {state.terminal}: {'; '.join(state.reasons)}")
        command_bytes = (kept[1] - kept[0]) / burst.count
        rollout_bytes = (kept[2] - kept[1] - command_bytes * steady.count) / hosts
        record_bytes = records / hosts
        whole = percent(began, after)
        base = sum(r.base_bytes for r in ready)
        return Row(
            hosts=hosts,
            connections=arguments.connections,
            kind_size=arguments.kind_size,
            planners=arguments.planners,
            learners=arguments.learners,
            join_s=round(join_s, 1),
            idle_cpu_percent=idle,
            host_idle_cpu_percent=round(idle["hosts"] / hosts, 4),
            host_memory_mib=round((fleet.memory_bytes("hosts") - base) / hosts / MIB, 3),
            host_base_mib=round(base / len(ready) / MIB, 1),
            nats_memory_mib=round(fleet.memory_bytes("nats") / MIB, 1),
            commands_per_s=round(commands_per_s, 1),
            burst=burst,
            command_cpu_ms=command_cpu_ms,
            steady=steady,
            steady_per_s=arguments.rate,
            optimizations=len(ended),
            promoted=ends["promoted"],
            deployed=sum(
                deployed.problem is None for s in ended for deployed in s.deployments.values()
            ),
            optimizations_s=round(optimizations_s, 1),
            busy_cpu_percent=busy,
            command_bytes=round(command_bytes),
            rollout_bytes=round(rollout_bytes),
            record_bytes=round(record_bytes),
            host_bytes_per_day=round(rollout_bytes + record_bytes + 24 * command_bytes),
            others_cpu_percent=whole["others"],
            stolen_cpu_percent=whole["stolen"],
            cores=os.cpu_count() or 1,
            machine=platform.machine(),
            unix=int(time.time()),
        )

    async def _joined(self) -> None:
        """Until every host has said what it is."""
        async with asyncio.timeout(PATIENCE_S):
            records = await self._bus.records("hosts", Inventory)
            while True:
                if len(await records.all("*.inventory")) == self._hosts:
                    return
                await asyncio.sleep(0.5)

    async def _kept(self, *streams: str) -> int:
        """Bytes that these streams keep, once the last spans have come."""
        await asyncio.sleep(SPANS_S)
        infos = [await self._bus.js.stream_info(name) for name in streams]
        return sum(info.state.bytes for info in infos)

    async def _burst(self) -> tuple[Latency, float]:
        """One command to each host; how long they took, and how many a second."""
        slots = asyncio.Semaphore(self._arguments.at_once)

        async def one(number: int) -> float:
            async with slots:
                return await self._commands.send(host_name(number))

        began_s = time.monotonic()
        taken = await asyncio.gather(*(one(number) for number in range(self._hosts)))
        return latency(taken), self._hosts / (time.monotonic() - began_s)

    async def _optimizations(self) -> tuple[list[Optimization], Latency]:
        """One for each kind of hosts, all at once, and commands beside them until all are over."""
        over = asyncio.Event()
        steady = asyncio.create_task(self._steady(over))
        kinds = [
            list(range(first, min(first + self._arguments.kind_size, self._hosts)))
            for first in range(0, self._hosts, self._arguments.kind_size)
        ]
        ended = await asyncio.gather(*(self._optimize(kind) for kind in kinds))
        over.set()
        return list(ended), latency(await steady)

    async def _optimize(self, kind: list[int]) -> Optimization:
        request = OptimizeRequest(
            workload=WORKLOAD,
            hosts=[host_name(number) for number in kind],
            policies=[POLICY],
            budget=Budget(rounds=8, seconds=int(PATIENCE_S)),
        )
        reply = await self._bus.ask(
            self._bus.subjects.optimize, request, OptimizeReply, timeout_s=120
        )
        if reply.problem is not None:
            raise BusError(f"a request was refused: {reply.problem}")
        async with asyncio.timeout(PATIENCE_S):
            # Not by looking at the record: a hundred large ones, again and again, would be a load.
            await self._ends.of(reply.optimization)
        records = await self._bus.records("optimizations", Optimization)
        record = await records.get(reply.optimization)
        assert record is not None
        return record.value

    async def _steady(self, over: asyncio.Event) -> list[float]:
        """Commands to random hosts at a steady rate, however late the answers are."""
        chance = random.Random(self._hosts)  # noqa: S311 - which host is asked is no secret
        sending = []
        while not over.is_set():
            host = host_name(chance.randrange(self._hosts))
            sending.append(asyncio.create_task(self._commands.send(host)))
            await asyncio.sleep(1 / self._arguments.rate)
        return list(await asyncio.gather(*sending))


STREAMS = ("cox-EVENTS", "cox-SPANS")


def latency(taken_ms: list[float]) -> Latency:
    """Nearest-rank percentiles."""
    ordered = sorted(taken_ms)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return Latency(count=len(ordered), p50_ms=at(0.5), p99_ms=at(0.99), max_ms=at(1.0))


def percent(before: Used, after: Used) -> dict[str, float]:
    """CPU by part between two moments, in percent of one core."""
    seconds = after.at_s - before.at_s
    used = {
        part: round(100 * (after.by_part[part] - before.by_part.get(part, 0.0)) / seconds, 2)
        for part in after.by_part
    }
    others = round(100 * (after.others_s - before.others_s) / seconds, 1)
    stolen = round(100 * (after.stolen_s - before.stolen_s) / seconds, 1)
    return {**used, "others": others, "stolen": stolen}


def each(before: Used, after: Used, idle: dict[str, float], count: int) -> dict[str, float]:
    """CPU by part for each of `count` things done between two moments, in ms, without the idle."""
    seconds = after.at_s - before.at_s
    return {
        part: round(1e3 * (used - before.by_part[part] - idle[part] / 100 * seconds) / count, 2)
        for part, used in after.by_part.items()
    }


def shown(parts: dict[str, float]) -> str:
    """CPU by part on one line."""
    return ", ".join(f"{part} {value:.0f} %" for part, value in parts.items())


def table(rows: list[Row]) -> str:
    """Rows as Markdown."""
    titles = (
        "hosts",
        "of a kind",
        "connections",
        "commands/s",
        "p50, p99 beside rollouts",
        "p99 in the flood",
        "host CPU idle",
        "host memory",
        "NATS memory",
        "kept per host and day",
        "promoted",
        "in",
    )
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    lines += [
        f"| {row.hosts:,} | {row.kind_size} | {row.connections} | {row.commands_per_s:.0f} "
        f"| {row.steady.p50_ms:.0f}, {row.steady.p99_ms:.0f} ms | {row.burst.p99_ms:.0f} ms "
        f"| {row.host_idle_cpu_percent:.3f} % | {row.host_memory_mib:.2f} MiB "
        f"| {row.nats_memory_mib:.0f} MiB | {row.host_bytes_per_day / 1024:.0f} KiB "
        f"| {row.promoted} of {row.optimizations} | {row.optimizations_s:.0f} s |"
        for row in rows
    ]
    return "\n".join(lines)


def save(fresh: list[Row], path: Path) -> list[Row]:
    """Write the file, keeping rows of fleets that did not run this time; all rows."""
    ran = {row.fleet for row in fresh}
    kept: list[Row] = []
    if path.exists():
        old = msgspec.json.decode(path.read_bytes(), type=list[Row])
        kept = [row for row in old if row.fleet not in ran]
    rows = sorted([*kept, *fresh], key=lambda row: row.fleet)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
    return rows


def say(text: str) -> None:
    """A line at once."""
    print(text, flush=True)


async def run(arguments: argparse.Namespace) -> int:
    """Measure each size in a fleet of its own."""
    rows: list[Row] = []
    for hosts in arguments.hosts:
        say(f"{hosts} hosts …")
        with tempfile.TemporaryDirectory(prefix="cox-fleet-") as home:
            fleet = Fleet(Path(home), planners=arguments.planners, learners=arguments.learners)
            async with fleet:
                row = await Measuring(fleet, arguments, hosts).row()
        rows.append(row)
        save([row], arguments.out)
    print(table(rows))
    return 0 if all(row.promoted == row.optimizations for row in rows) else 1


def main() -> int:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--hosts", type=int, nargs="+", default=[10, 100, 1000], metavar="N", help="sizes of fleets"
    )
    parser.add_argument("--kind-size", type=int, default=10, help="hosts of one fingerprint")
    parser.add_argument("--connections", choices=("own", "shared"), default="own")
    parser.add_argument("--processes", type=int, default=2, help="processes that hold the hosts")
    parser.add_argument("--planners", type=int, default=2)
    parser.add_argument("--learners", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long idleness is watched")
    parser.add_argument("--rate", type=float, default=20.0, help="steady commands a second")
    parser.add_argument("--at-once", type=int, default=64, help="commands in flight in the flood")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for name in ("COX_NATS_URL", "COX_NATS_KEY", "COX_NAMESPACE", "COX_HOST"):
        os.environ.pop(name, None)
    try:
        return asyncio.run(run(arguments))
    except CoxswainError as error:
        print(error)
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
