"""A real host for lives: a lab guest with its gate, asked on the bus, through the ledger.

What the ledger knows is told from there; what it does not is measured by the host's executor and
observer, a few pairs at a time, so that a trial which is decided early has cost little more.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from bench.comparing.hosts import BrokenTrialError
from bench.comparing.rounds import Ledger, Tried
from cli.fleet.keys import keyring, operator
from cli.fleet.state import read_state
from cli.fleet.supervisor import Supervisor, choose_port
from services.learner.question import WATCH_FROM
from shared.bus import Bus, connect
from shared.bus.roles import Identity
from shared.errors import CoxswainError
from shared.messages import (
    Budget,
    BuildCommand,
    Built,
    Checked,
    CheckRequest,
    Inventory,
    Message,
    OptimizeRequest,
    ProfileCommand,
    Profiled,
    Round,
    TrialCommand,
    TrialEnded,
    decode,
    encode,
)
from shared.settings import Settings
from shared.workloads import Catalogue as Workloads

HOST: Final = "lab-1"
LOOK_S: Final = 0.5
"""Between looks at what has come: looking takes time from what is measured."""
JOIN_S: Final = 900.0
BUILD_S: Final = 240.0
SLACK_S: Final = 240.0
"""Beyond two runs' own longest time: set-up, attaching, a guest that was frozen."""
MORE_PAIRS: Final = 2
"""So many at a time once a trial may be decided at every look."""
M = TypeVar("M", bound=Message)


class HostLostError(CoxswainError):
    """A host from which nothing comes any more."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A profile as it is kept in a file: questions to minds can be made of it without a host."""

    workload_sha256: str
    profiled: Profiled


class LabHost:
    """One lab host: what is asked of it is measured once."""

    def __init__(
        self,
        bus: Bus,
        inventory: Inventory,
        workloads: Workloads,
        ledger: Ledger,
        profiles: Path,
        *,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._bus = bus
        self.inventory = inventory
        self._workloads = workloads
        self._ledger = ledger
        self._profiles = profiles
        self._say = say
        self._run = uuid.uuid4().hex[:6]
        self._asked = 0
        self._built: dict[bytes, Built] = {}
        self._profiled: dict[str, Profiled] = {}
        self._allowed: dict[str, str] = {}
        self._broken: dict[bytes, BrokenTrialError] = {}
        self.measured = 0
        """Pairs that were run, beside those that were known."""

    async def profile(self, workload: str) -> Profiled:
        """From its file, if it is of this workload as it is now on such a machine; else anew."""
        path = self._profiles / f"{workload}.json"
        wanted = self._workloads[workload].digest
        kept = read_profile(path)
        if kept is not None and kept.workload_sha256 == wanted and _is_here(kept, self.inventory):
            return kept.profiled
        if workload not in self._profiled:
            self._say(f"profile {workload}")
            self._profiled[workload] = await self._profile(workload)
        profiled = self._profiled[workload]
        if profiled.profile is not None:
            write_profile(path, Kept(workload_sha256=wanted, profiled=profiled))
        return profiled

    async def _prepare(self, workload: str) -> None:
        """Have it set up here before its first pair: with a kept profile it may not be yet."""
        if workload not in self._profiled:
            self._say(f"set up {workload}")
            self._profiled[workload] = await self._profile(workload)
        problem = self._profiled[workload].problem
        if problem is not None:
            raise BrokenTrialError("workload", problem)

    async def _profile(self, workload: str) -> Profiled:
        identity = self._next("profile")
        await self._bus.publish(
            self._bus.subjects.command("observer", "profile", HOST),
            ProfileCommand(optimization=identity, workload=workload),
            message_id=identity,
        )
        manifest = self._workloads[workload].manifest
        patience_s = manifest.timeout_s + manifest.setup_timeout_s + SLACK_S
        events = self._bus.subjects.events("observer", "profiled", identity)
        return await self._first(events, Profiled, patience_s)

    async def build(self, command: BuildCommand) -> Built:
        """What the gate says, once for each policy."""
        key = msgspec.json.encode((command.policy, command.made), order="deterministic")
        known = self._built.get(key)
        if known is not None and known.problem is None:
            return known
        identity = self._next("build")
        await self._bus.publish(
            self._bus.subjects.command("executor", "build"),
            replace(command, optimization=identity, expires_unix_ns=0),
            message_id=identity,
        )
        events = self._bus.subjects.events("executor", "built", identity)
        built = await self._first(events, Built, BUILD_S)
        self._built[key] = built
        return built

    async def check(self, request: CheckRequest) -> Checked:
        """What the gate would say to hooks."""
        return await self._bus.ask(
            self._bus.subjects.endpoint("executor", "check"), request, Checked, timeout_s=60
        )

    async def rounds(self, command: TrialCommand, seen: int) -> AsyncGenerator[Round, None]:
        """Those that the ledger knows, then more, until the trial has all or nobody asks."""
        tried = Tried.of(command, self._workloads[command.workload].digest)
        told = 0
        while told < command.spec.max_pairs:
            known = self._ledger.known(tried)
            if seen + told >= len(known):
                await self._measure(tried, command, _next_pairs(command, told))
                continue
            yield known[seen + told].as_round(HOST, command.spec)
            told += 1

    async def _measure(self, tried: Tried, command: TrialCommand, pairs: int) -> None:
        """So many pairs more into the ledger. Raises BrokenTrialError, HostLostError."""
        if tried.key in self._broken:
            raise self._broken[tried.key]
        await self._prepare(command.workload)
        identity = self._next(f"{command.workload}-{command.spec.stage}")
        values = " ".join(f"{name}={value}" for name, value in command.parameters.items())
        self._say(f"{command.workload}: {pairs} pairs of {command.policy} {values}")
        request_sha256 = await self._allow(command.workload)
        await self._bus.publish(
            self._bus.subjects.command("executor", "trial", HOST),
            replace(
                command,
                optimization=identity,
                trial=identity,
                spec=replace(command.spec, max_pairs=pairs, min_pairs=1),
                seed=1,
                fence=0,
                expires_unix_ns=0,
                request_sha256=request_sha256,
            ),
            message_id=identity,
        )
        manifest = self._workloads[command.workload].manifest
        patience_s = SLACK_S + manifest.setup_timeout_s + 2 * manifest.timeout_s
        subjects = self._bus.subjects
        came = 0
        quiet_since = time.monotonic()
        while True:
            ended = await self._facts(subjects.events("executor", "trial_ended", identity))
            measured = [
                decode(data, Round)
                for data in await self._facts(subjects.events("executor", "round", identity))
            ]
            for each in sorted(measured, key=lambda each: each.index)[came:]:
                self._ledger.add(tried, each)
                came += 1
                self.measured += 1
                quiet_since = time.monotonic()
            if ended:
                break
            if time.monotonic() - quiet_since > patience_s:
                raise HostLostError(
                    f"{HOST} does not go on with a trial of {command.policy}",
                    expected=f"a pair within {patience_s:.0f} s",
                    got=f"{came} of {pairs} pairs",
                )
            await asyncio.sleep(LOOK_S)
        end = decode(ended[0], TrialEnded)
        if end.end != "completed":
            broken = BrokenTrialError(end.end, end.problem)
            if end.end in {"verifier", "fault"}:
                self._broken[tried.key] = broken  # once is enough
            raise broken

    async def _allow(self, workload: str) -> str:
        """Say as an operator that policies may be tried here for it; the hash of these words."""
        if workload not in self._allowed:
            words = encode(
                OptimizeRequest(
                    workload=workload, hosts=[HOST], budget=Budget(rounds=1000, seconds=86_400)
                )
            )
            # Its stream acknowledges nothing.
            await self._bus.nc.publish(self._bus.subjects.allow, words)
            await self._bus.nc.flush()
            self._allowed[workload] = hashlib.sha256(words).hexdigest()
        return self._allowed[workload]

    def _next(self, what: str) -> str:
        self._asked += 1
        return f"bench-{self._run}-{self._asked}-{what}"

    async def _first(self, subject: str, kind: type[M], patience_s: float) -> M:
        end_s = time.monotonic() + patience_s
        while True:
            found = await self._facts(subject)
            if found:
                return decode(found[0], kind)
            if time.monotonic() > end_s:
                raise HostLostError(
                    "nothing was answered", expected=f"{kind.__name__} within {patience_s:.0f} s"
                )
            await asyncio.sleep(LOOK_S)

    async def _facts(self, subject: str) -> list[bytes]:
        return [data async for _, data in self._bus.history("EVENTS", subject)]


def _next_pairs(command: TrialCommand, told: int) -> int:
    """A screening is run as a whole, a confirmation until the next look that may decide."""
    spec = command.spec
    left = spec.max_pairs - told
    if spec.stage == "screen":
        return left
    until = [look - told for look in (WATCH_FROM, spec.min_pairs) if look > told]
    return min(left, *until, *([] if until else [MORE_PAIRS]))


def _is_here(kept: Kept, inventory: Inventory) -> bool:
    of = kept.profiled.inventory
    return of is not None and machine(of) == machine(inventory)


def machine(inventory: Inventory) -> str:
    """What of a host rounds depend on, in a line."""
    return (
        f"{inventory.cpus} CPUs, {inventory.cpu_model}, {inventory.virtualization or 'bare'}, "
        f"{inventory.kernel}"
    )


def read_profile(path: Path) -> Kept | None:
    """A profile that was kept, if it can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return None


def write_profile(path: Path, kept: Kept) -> None:
    """Keep a profile; who a host is, is nobody's business."""
    profiled = kept.profiled
    if profiled.inventory is not None:
        inventory = replace(profiled.inventory, machine_id="", boot_id="")
        kept = replace(kept, profiled=replace(profiled, optimization="", inventory=inventory))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")


@asynccontextmanager
async def one_host() -> AsyncIterator[tuple[Bus, Inventory]]:
    """A fleet of one lab host in the state home, from its start to its end."""
    stop = asyncio.Event()
    supervisor = Supervisor(port=choose_port(None), hosts=1)
    fleet = asyncio.create_task(supervisor.run(stop))
    try:
        await _enrolled(fleet)
        subjects = Settings.from_environment().subjects
        bus = await connect(
            supervisor.url, subjects, "bench", credentials=operator(), patience_s=30
        )
        try:
            yield bus, await _joined(bus, fleet)
        finally:
            await bus.close()
    finally:
        stop.set()
        await fleet


async def _enrolled(fleet: asyncio.Task[None]) -> None:
    """Until the bus has an operator's key: its supervisor makes it first of all."""
    while True:
        if fleet.done():
            fleet.result()
        if keyring().seed_file(Identity("operator")).exists():
            return
        await asyncio.sleep(0.01)


async def _joined(bus: Bus, fleet: asyncio.Task[None]) -> Inventory:
    """The host's inventory, once everything is ready."""
    end_s = time.monotonic() + JOIN_S
    while True:
        if fleet.done():
            fleet.result()
        state = read_state()
        if state is not None and state.ready:
            break
        if time.monotonic() > end_s:
            raise HostLostError(f"{HOST} is not there", expected=f"a host within {JOIN_S:.0f} s")
        await asyncio.sleep(0.5)
    record = await (await bus.records("hosts", Inventory)).get(f"{HOST}.inventory")
    assert record is not None
    return record.value
