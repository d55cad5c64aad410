"""The supervisor of one machine: NATS, planner, learner, gate, and lab hosts if asked for."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import socket
import time
from typing import TYPE_CHECKING, TextIO

from cli.fleet.child import Child
from cli.fleet.hosts import LabHosts
from cli.fleet.keys import keyring, operator, signing
from cli.fleet.roster import Roster
from cli.fleet.state import (
    FleetState,
    Member,
    logs_dir,
    read_state,
    remove_state,
    write_state,
)
from services.planner.minds.chosen import Choice
from shared.bus import Bus, connect
from shared.bus.away import AWAY
from shared.bus.keyring import FLEET
from shared.bus.provision import provision
from shared.bus.roles import Identity
from shared.bus.server import NatsServer, free_port
from shared.bus.upkeep import LOOK_S as UPKEEP_S
from shared.bus.upkeep import Upkeep
from shared.errors import InputError, MachineError
from shared.metrics.endpoint import parse_address
from shared.microvm.process import ProcessId
from shared.settings import Settings, state_home
from shared.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_PORT = 4222
LOOK_S = 0.5
"""How often the supervisor looks at its members."""
SERVICES = {
    "planner": ("planner", ["-m", "services.planner"]),
    "learner": ("learner", ["-m", "services.learner"]),
    "gate": ("executor", ["-m", "services.executor", "--role", "gate"]),
}
"""Name → the service whose heartbeat it has, and how it is started."""
RELAY = {"relay": ("relay", ["-m", "shared.telemetry.relay"])}
"""Runs where OTEL_EXPORTER_OTLP_ENDPOINT names a collector."""


class Supervisor:
    """Starts everything, keeps it running, and stops it in order.

    `changed` is called with the state whenever it is another one.
    """

    def __init__(
        self, *, port: int, hosts: int, changed: Callable[[FleetState], None] = lambda _: None
    ) -> None:
        self._port = port
        self._host_count = hosts
        self._changed = changed
        self._roster = Roster()
        self._wake = asyncio.Event()
        self._endpoints = itertools.count()
        self._children: list[Child] = []
        self._lab: LabHosts | None = None
        self._settings = Settings.from_environment()
        Choice.from_environment()  # what the planner could not start with is told at once
        self._server = NatsServer(
            state_home() / "nats", port, keyring=keyring(), subjects=self._settings.subjects
        )
        self._services = SERVICES | (RELAY if self._settings.otlp_endpoint else {})
        self._server_restarts = 0
        self._started_unix_ns = time.time_ns()
        self._state: FleetState | None = None

    @property
    def url(self) -> str:
        """Where its bus is."""
        return self._server.url

    def child(self, name: str) -> Child | None:
        """A supervised service."""
        return next((child for child in self._children if child.name == name), None)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`. Raises MachineError if something cannot be started at all."""
        with _only_one():
            try:
                await self._run(stop)
            finally:
                remove_state()

    async def _run(self, stop: asyncio.Event) -> None:
        # In this thread on purpose: the kernel ends children with the thread that made them.
        keyring().enroll_all(FLEET)
        signing().ensure()
        self._server.start()
        self._look()
        try:
            bus = await connect(
                self.url, self._settings.subjects, "cox-up", credentials=operator(), patience_s=10
            )
            try:
                await provision(bus.js, bus.subjects)
                await self._roster.listen(bus)
                await self._keep(bus, stop)
            finally:
                await bus.close()
        finally:
            self._server.stop()

    async def _keep(self, bus: Bus, stop: asyncio.Event) -> None:
        self._children = [
            self._child(name, arguments) for name, (_, arguments) in self._services.items()
        ]
        tasks = {child.name: asyncio.create_task(child.run()) for child in self._children}
        stopping = asyncio.create_task(stop.wait())
        upkeep = asyncio.create_task(_keep_up(bus))
        watched: set[asyncio.Task[object]] = {stopping, upkeep, *tasks.values()}
        if self._host_count:
            self._lab = LabHosts(self._host_count, bus, self.url, self._roster, self._wake.set)
            tasks["lab"] = asyncio.create_task(self._lab.run())
            watched.add(tasks["lab"])
        try:
            while not stopping.done():
                self._revive_server()
                self._server.follow_keys()
                self._look()
                for task in watched - {stopping}:
                    if task.done():
                        task.result()  # raises what ended it
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._wake.wait()
                self._wake.clear()
                await asyncio.sleep(0)
        finally:
            await end([stopping, upkeep])
            # Who gives work stops first, who carries messages last.
            for name in ("planner", "lab", "gate", "learner", "relay"):
                if name in tasks:
                    tasks[name].cancel()
                    await asyncio.gather(tasks[name], return_exceptions=True)

    def _child(self, name: str, arguments: list[str]) -> Child:
        environment = {
            "COX_NATS_URL": self.url,
            "COX_NATS_KEY": str(keyring().seed_file(Identity.parse(name))),
            "COX_NAMESPACE": self._settings.subjects.namespace,
            "COX_STATE_DIR": str(state_home() / "services" / name),
            "COX_LOG": "json",
            "COX_METRICS": self._next_endpoint(),
        }
        if name == "gate":
            environment["COX_SIGNING_SEEDS"] = str(signing().seeds)
            environment["COX_SANDBOX"] = "on" if self._settings.sandbox else "off"
            environment["COX_MADE"] = "on" if self._settings.made else "off"
        if name != "planner":
            environment["ANTHROPIC_API_KEY"] = ""  # as good as none; it is nobody else's
        return Child(name, arguments, environment, logs_dir() / f"{name}.log", self._wake.set)

    def _next_endpoint(self) -> str:
        """A metrics endpoint for each child: COX_METRICS's port, then those that follow it."""
        if not self._settings.metrics:
            return ""
        host, port = parse_address(self._settings.metrics)
        shown = f"[{host}]" if ":" in host else host
        return f"{shown}:{port + next(self._endpoints)}"

    def _revive_server(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if ProcessId.of(self._server.pid).alive:
                return
        self._server.stop()
        self._server_restarts += 1
        self._server.start()

    # What is known ------------------------------------------------------------------------

    def _look(self) -> None:
        members = [
            Member(
                name="nats",
                state="ready",
                pid=self._server.pid,
                restarts=self._server_restarts,
                log=str(self._server.log),
                note=self.url,
            ),
            *(self._member(child) for child in self._children),
            *(self._lab.members() if self._lab else []),
        ]
        complete = len(members) == 1 + len(self._services) + self._host_count
        state = FleetState(
            supervisor=ProcessId.of(os.getpid()),
            url=self.url,
            namespace=self._settings.subjects.namespace,
            started_unix_ns=self._started_unix_ns,
            ready=complete and all(member.state == "ready" for member in members),
            members=members,
        )
        if state != self._state:
            self._state = state
            write_state(state)
            self._changed(state)

    def _member(self, child: Child) -> Member:
        service, _ = self._services[child.name]
        heard = self._roster.alive(service, since_unix_ns=child.born_unix_ns)
        if child.pid:
            gone = self._roster.gone(service, since_unix_ns=child.born_unix_ns)
            state = ("unwell" if gone else "ready") if heard else "starting"
            note = f"gone: {', '.join(gone)}" if heard and gone else ""
        else:
            state = "restarting" if child.restarts else "starting"
            note = child.last_words()
        return Member(
            name=child.name,
            state=state,  # type: ignore[arg-type]
            pid=child.pid,
            restarts=child.restarts,
            log=str(child.log),
            note=note,
        )


async def _keep_up(bus: Bus) -> None:
    """Make again what somebody deletes from the bus, for ever."""
    upkeep = Upkeep(bus)
    while True:
        hosts = {member.host for member in keyring().members() if member.host is not None}
        with contextlib.suppress(*AWAY):
            await upkeep.look(hosts)
        await asyncio.sleep(UPKEEP_S)


def choose_port(wanted: int | None) -> int:
    """NATS's default port, or another if that is taken. Raises InputError for a taken `wanted`."""
    port = wanted if wanted is not None else DEFAULT_PORT
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            if wanted is None:
                return free_port()
            raise InputError(
                f"port {port} is taken",
                expected="a port of 127.0.0.1 that nobody listens on",
                advice="Name another one, or none.",
            ) from None
    return port


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """One `cox up` for a state home. The lock goes with the process, whatever ends it."""
    path = state_home() / "fleet.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        _take(lock)
        yield


def _take(lock: TextIO) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        state = read_state()
        pid = state.supervisor.pid if state else 0
        raise MachineError(
            "`cox up` runs already",
            expected="one for a state home",
            got=f"process {pid}" if pid else "another one that is just starting",
            advice="Use it, stop it with `cox down`, or set COX_HOME to another directory.",
        ) from None
