"""A lab host with the executor's and the guard's own units, whose power can be cut.

The bus, the gate's desk and the observer are this process's: a test holds an answer for as long as
it likes, so it knows where the host is when the power goes.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from services.executor.gate import Accepted, BuildRequest, Workshop, build
from services.executor.host.books import Books, Entry
from services.executor.host.journal import Journal
from shared.bus import Bus
from shared.bus.provision import provision, provision_host
from shared.errors import BusError, BusUnavailableError
from shared.messages import (
    Budget,
    DeployCommand,
    Deployed,
    Measurement,
    MeasureRequest,
    Message,
    Objective,
    OptimizeRequest,
    ResetRequest,
    RevertRequest,
    SchedulerState,
    Signed,
    StateRequest,
    TokenRequest,
    TrialCommand,
    TrialSpec,
)
from shared.microvm import HOST_FROM_GUEST, Image, Microvm
from shared.microvm.guest import EmulationError
from shared.policies import Catalogue
from shared.schedule import order
from shared.signing import Trusted
from tests.executor.host.test_deployments import said
from tests.executor.tokens import Desk, Signing, introduce, say
from tests.planner.world import inventory as inventory_of

HOST = "lab-1"
POLICY = "latency"
JOURNAL = "/var/lib/cox-executor/executor/journal"
BUDGET_S = 3600
PATIENCE_S = 600.0
"""For anything that a busy, emulated machine does sooner or later."""
BOOTS = 3
"""One in many is spoilt by the emulator."""
QUIET = Path(__file__).with_name("quiet.py")

Sign = Callable[[TokenRequest, str], Awaitable[Signed]]
_ids = itertools.count(1)


class Kernel(NamedTuple):
    """What the host's kernel says of itself."""

    state: str
    enable_seq: int
    """Schedulers that were enabled in this boot."""
    boot_id: str


class Lab:
    """One host, through all its boots."""

    def __init__(self, image: Image, folder: Path, bus: Bus, url: str) -> None:
        self.bus = bus
        self.asked: list[tuple[TokenRequest, Signed | None]] = []
        """What the host wanted of the gate, and what it got."""
        self.measuring: list[str] = []
        """Measurements that the host waits for."""
        self._said = ""
        self._answers: dict[str, asyncio.Event] = {}
        self._folder = folder
        self._signing = Signing(folder)
        self._desk = Desk(bus, self._signing)
        self._sign: Sign
        self.guest = Microvm(
            image,
            name=HOST,
            memory_mb=512,
            settings={
                "COX_HOST": HOST,
                "COX_NATS_URL": url.replace("127.0.0.1", HOST_FROM_GUEST),
                "COX_NAMESPACE": bus.subjects.namespace,
            },
            credentials={"cox-trusted.keys": self._signing.keys.keys},
            # It measures nothing: we do.
            files={"services/observer/__main__.py": QUIET},
            directory=folder / "guest",
            state=folder / "state.ext4",
            boot_s=PATIENCE_S,
        )

    # Around the host ----------------------------------------------------------------------

    async def start(self) -> None:
        """The bus and the gate; then the host, for the first time."""
        await provision(self.bus.js, self.bus.subjects)
        await provision_host(self.bus.js, self.bus.subjects, HOST)
        await self._desk.start()
        self._sign = self._desk.desk._token
        self._desk.desk._token = self._answer  # type: ignore[method-assign]
        self.gate_signs()
        subject = self.bus.subjects.endpoint("observer", "measure", HOST)
        await self.bus.serve(subject, MeasureRequest, self._measure, queue=HOST)
        workshop = Workshop(cache=self._folder)
        built = await asyncio.to_thread(build, BuildRequest.of(Catalogue.load()[POLICY]), workshop)
        assert isinstance(built, Accepted), built
        self._artifact = await self._desk.store(built.object, POLICY)
        budget = Budget(seconds=BUDGET_S)
        request = OptimizeRequest(workload="pulse", hosts=[HOST], budget=budget)
        self._request_sha256 = await say(self.bus, request)
        await self.boot()
        await self.introduce()

    async def _answer(self, wanted: TokenRequest, subject: str) -> Signed:
        self.asked.append((wanted, None))
        at = len(self.asked) - 1
        signed = await self._gate(wanted, subject)
        self.asked[at] = wanted, signed
        return signed

    def gate_signs(self) -> None:
        """What it would sign, it signs."""
        self._gate = self._sign

    def gate_is_away(self) -> None:
        """The host is told to ask later."""

        async def away(_wanted: TokenRequest, _subject: str) -> Signed:
            raise BusUnavailableError("the test keeps the gate away")

        self._gate = away

    def gate_repeats(self, signed: Signed) -> None:
        """Somebody in the gate's place has an old token, and no key."""

        async def again(_wanted: TokenRequest, _subject: str) -> Signed:
            return signed

        self._gate = again

    async def _measure(self, request: MeasureRequest) -> Measurement:
        self.measuring.append(request.measurement)
        await self._answers.setdefault(request.measurement, asyncio.Event()).wait()
        return Measurement(measurement=request.measurement, metrics={"p99": 1.0})

    def answer(self, measurement: str) -> None:
        """Let a measurement end."""
        self._answers.setdefault(measurement, asyncio.Event()).set()

    async def close(self) -> None:
        await self.guest.stop()
        for measurement in self.measuring:
            self.answer(measurement)

    # The host -----------------------------------------------------------------------------

    async def boot(self) -> None:
        """With the disk that it had; its inventory is still that of the boot before."""
        for _ in range(BOOTS):
            await self.guest.start()
            try:
                await self.guest.wait_ready(self.guest.boot_s)
                break
            except EmulationError:
                if self.guest.alive:
                    self._said += await self._log()
                await self.cut()
        # What nobody flushes stays in its memory for as long as a test likes.
        await self.run("sysctl -qw vm.dirty_writeback_centisecs=0 vm.dirty_expire_centisecs=360000")

    async def log(self) -> str:
        """What its executor has said in this boot, and in those whose clock was of no use."""
        return self._said + await self._log()

    async def _log(self) -> str:
        return await self.run("journalctl -u cox-executor -o cat")

    async def cut(self) -> None:
        await self.guest.cut_power()

    async def introduce(self) -> None:
        """As its observer would, once it has started."""
        facts = "cat /etc/machine-id /proc/sys/kernel/random/boot_id /proc/sys/kernel/osrelease"
        machine_id, boot_id, kernel = (await self.run(facts)).split()
        inventory = replace(
            inventory_of(HOST), machine_id=machine_id, boot_id=boot_id, kernel=kernel
        )
        await introduce(self.bus, inventory)

    async def run(self, command: str, *, timeout_s: float = PATIENCE_S) -> str:
        """What root sees there."""
        code, output = await self.guest.run(command, timeout_s=timeout_s)
        assert code == 0, f"{command}: {output}"
        return output

    async def kernel(self) -> Kernel:
        folder = "/sys/kernel/sched_ext"
        words = await self.run(
            f"cat {folder}/state {folder}/enable_seq /proc/sys/kernel/random/boot_id"
        )
        state, enable_seq, boot_id = words.split()
        return Kernel(state, int(enable_seq), boot_id)

    async def books(self) -> Books:
        """The host's journal as it is on its disk now."""
        copy = self._folder / f"journal-{next(_ids)}"
        copy.write_bytes(await self.guest.get(JOURNAL))
        books = Books()
        with Journal[Entry](copy, Entry) as journal:  # type: ignore[arg-type]
            for entry in journal.records:
                books.note(entry)
        return books

    def trusted(self) -> Trusted:
        """The gate's public keys, as the host has them."""
        return Trusted.read(self._signing.keys.keys)

    async def pid(self, unit: str) -> int:
        return int(await self.run(f"systemctl show -P MainPID {unit}"))

    # Commands -----------------------------------------------------------------------------

    async def send(self, verb: str, message: Message) -> None:
        subject = self.bus.subjects.command("executor", verb, HOST)
        await self.bus.publish(subject, message, message_id=f"m{next(_ids)}")

    async def state(self) -> SchedulerState:
        """What its executor says now; waits for one that starts."""
        subject = self.bus.subjects.endpoint("executor", "state", HOST)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await self.bus.ask(subject, StateRequest(), SchedulerState, timeout_s=10)
                except BusError:
                    await asyncio.sleep(0.2)

    async def revert(self, optimization: str = "") -> SchedulerState:
        subject = self.bus.subjects.endpoint("executor", "revert", HOST)
        request = RevertRequest(reason="the test", optimization=optimization)
        return await self.bus.ask(subject, request, SchedulerState, timeout_s=PATIENCE_S)

    async def reset(self) -> None:
        """What tests do to a host in minutes opens its breaker."""
        subject = self.bus.subjects.endpoint("executor", "reset", HOST)
        await self.bus.ask(subject, ResetRequest(), SchedulerState, timeout_s=PATIENCE_S)

    def trial(self, first: str, against: str = "") -> TrialCommand:
        """A trial whose first side is the baseline (AB) or the candidate (BA)."""
        name = f"o{next(_ids)}"
        seed = next(seed for seed in itertools.count() if order(seed, f"{name}-t", 0) == first)
        return TrialCommand(
            optimization=name,
            trial=f"{name}-t",
            policy=POLICY,
            version="1.0.0",
            parameters=Catalogue.load()[POLICY].manifest.defaults,
            artifact=self._artifact,
            workload="pulse",
            spec=TrialSpec(objective=Objective(metric="p99", direction="lower"), max_pairs=8),
            seed=seed,
            washout_s=0.0,
            measure_timeout_s=BUDGET_S,
            against=against,
            expires_unix_ns=time.time_ns() + BUDGET_S * 1_000_000_000,
            request_sha256=self._request_sha256,
        )

    def deployment(self) -> DeployCommand:
        return DeployCommand(
            optimization=f"o{next(_ids)}",
            policy=POLICY,
            version="1.0.0",
            parameters=Catalogue.load()[POLICY].manifest.defaults,
            artifact=self._artifact,
            soak_s=0.1,
            request_sha256=self._request_sha256,
        )

    async def deployed(self, command: DeployCommand) -> Deployed:
        """Told to deploy it: what came of it."""
        await self.send("deploy", command)
        return (await said(self, "deployed", Deployed, of=command.optimization))[0]

    async def promoted(self) -> str:
        """Something promoted runs here; the optimization that it is of."""
        now = await self.state()
        await self.reset()
        if now.ours and now.purpose == "deployed":
            return now.optimization
        command = self.deployment()
        deployed = await self.deployed(command)
        assert deployed.problem is None, deployed.problem
        return command.optimization

    async def idle(self) -> None:
        """Until the host has answered every command that there is."""

        async def answered() -> bool:
            info = await self.bus.js.consumer_info(*self._consumer)
            return info.num_pending == info.num_ack_pending == 0

        await self.until(answered)

    async def hold_commands(self) -> None:
        """None is delivered to the host, not for the second time either."""
        await self._pause("2100-01-01T00:00:00Z")

    async def release_commands(self) -> None:
        await self._pause("0001-01-01T00:00:00Z")

    async def _pause(self, until: str) -> None:
        stream, consumer = self._consumer
        subject = f"$JS.API.CONSUMER.PAUSE.{stream}.{consumer}"
        reply = await self.bus.nc.request(subject, json.dumps({"pause_until": until}).encode())
        assert "error" not in json.loads(reply.data), reply.data

    async def until(self, condition: Callable[[], object]) -> None:
        """Until what it gives is true, or what it gives to who awaits that; not without a host."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = condition()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return
                assert self.guest.alive, f"the host's kernel ended:\n{self.guest.console_tail()}"
                await asyncio.sleep(0.2)

    @property
    def _consumer(self) -> tuple[str, str]:
        subjects = self.bus.subjects
        return subjects.stream("COMMANDS", HOST), subjects.consumer("executor", "host", HOST)
