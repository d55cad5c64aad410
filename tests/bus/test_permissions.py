"""The whole matrix of who may say and hear what, tried on a real server; and that all can work.

The expectation is written the other way round than `shared/bus/roles.py`: for each subject, who.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import nats
import pytest
from nats.aio.client import Client

from shared.bus import Bus, connect
from shared.bus.credentials import Credentials
from shared.bus.keyring import FLEET, Keyring
from shared.bus.provision import provision, provision_host
from shared.bus.roles import Identity
from shared.bus.server import NatsServer
from shared.errors import BusError, BusUnavailableError
from shared.messages import (
    BuildCommand,
    CancelRequest,
    Inventory,
    PlanCommand,
    Reply,
)
from shared.subjects import Subjects
from tests.planner.world import inventory

MEMBERS = [
    "client",
    "planner",
    "learner",
    "gate",
    "relay",
    "observer@h1",
    "executor@h1",
    "observer@h2",
    "executor@h2",
]
"""All but the operator, who may do everything in Coxswain's account."""

SERVICES = set(MEMBERS) - {"client", "relay"}

MAY_PUBLISH: dict[str, set[str]] = {
    "cox.req.optimize": {"client"},
    "cox.req.allow": set(),
    "cox.req.anything": set(),
    "cox.cmd.planner.plan": {"planner"},
    "cox.cmd.learner.remember": {"planner"},
    "cox.cmd.executor.build": {"planner"},
    "cox.cmd.executor.trial.6a.h1": {"planner"},
    "cox.cmd.executor.stop.6a.h1": {"planner"},
    "cox.cmd.executor.deploy.6a.h1": {"planner"},
    "cox.cmd.executor.revert.6a.h1": {"planner"},
    "cox.cmd.executor.confirm.6a.h1": {"planner"},
    "cox.cmd.executor.seal.6a.h1": {"learner"},
    "cox.cmd.executor.load.6a.h1": set(),
    "cox.cmd.learner.weigh": {"planner"},
    "cox.cmd.observer.probe.6a.h1": {"planner"},
    "cox.cmd.observer.profile.6a.h1": {"planner"},
    "cox.cmd.observer.run.6a.h1": set(),
    "cox.svc.planner.cancel": {"client"},
    "cox.svc.planner.pause": set(),
    "cox.svc.planner.freeze": set(),
    "cox.svc.planner.drain": set(),
    "cox.svc.planner.policy": set(),
    "cox.svc.learner.recall": {"planner"},
    "cox.svc.learner.calibration": {"planner"},
    "cox.svc.learner.policies": {"planner"},
    "cox.svc.learner.policy": {"planner"},
    "cox.svc.learner.history": {"planner"},
    "cox.svc.learner.search": {"planner"},
    "cox.svc.observer.measure.h1": {"executor@h1"},
    "cox.svc.observer.measure.h2": {"executor@h2"},
    "cox.svc.observer.deepen.h1": {"planner"},
    "cox.svc.executor.prepare.h1": {"observer@h1"},
    "cox.svc.executor.probe.h1": {"observer@h1"},
    "cox.svc.executor.probe.h2": {"observer@h2"},
    "cox.svc.executor.state.h1": set(),
    "cox.svc.executor.revert.h1": set(),
    "cox.svc.executor.token.h1": {"executor@h1"},
    "cox.svc.executor.token.h2": {"executor@h2"},
    "cox.evt.planner.finished.o1._": {"planner"},
    "cox.evt.planner.finished.o1.h1": set(),
    "cox.evt.planner.ordered._._": {"planner"},
    "cox.evt.learner.judged.o1._": {"learner"},
    "cox.evt.learner.judged.o1.h1": set(),
    "cox.evt.learner.drifted.o1._": {"learner"},
    "cox.evt.learner.drifted.o1.h1": set(),
    "cox.evt.learner.remembered.o1._": {"learner"},
    "cox.evt.learner.remembered.o1.h1": set(),
    "cox.evt.observer.profiled.o1.h1": {"observer@h1"},
    "cox.evt.observer.profiled.o1.h2": {"observer@h2"},
    "cox.evt.observer.profiled.o1._": set(),
    "cox.evt.observer.probed.o1.h1": {"observer@h1"},
    "cox.evt.observer.probed.o1.h2": {"observer@h2"},
    "cox.evt.observer.probed.o1._": set(),
    "cox.evt.observer.anything.o1.h1": set(),
    "cox.evt.executor.built.o1._": {"gate"},
    "cox.evt.executor.built.o1.h1": set(),
    "cox.evt.executor.round.o1.h1": {"executor@h1"},
    "cox.evt.executor.round.o1.h2": {"executor@h2"},
    "cox.evt.executor.round.o1._": set(),
    "cox.evt.executor.trial_ended.o1.h1": {"executor@h1"},
    "cox.evt.executor.trial_ended.o1.h2": {"executor@h2"},
    "cox.evt.executor.trial_ended.o1._": set(),
    "cox.evt.executor.deployed.o1.h1": {"executor@h1"},
    "cox.evt.executor.deployed.o1.h2": {"executor@h2"},
    "cox.evt.executor.deployed.o1._": set(),
    "cox.evt.executor.confirmed.o1.h1": {"executor@h1"},
    "cox.evt.executor.confirmed.o1.h2": {"executor@h2"},
    "cox.evt.executor.confirmed.o1._": set(),
    "cox.evt.executor.reverted.o1.h1": {"executor@h1"},
    "cox.evt.executor.reverted.o1.h2": {"executor@h2"},
    "cox.evt.executor.reverted.o1._": set(),
    "cox.span.planner.t1": {"planner"},
    "cox.span.learner.t1": {"learner"},
    "cox.span.observer.t1": {"observer@h1", "observer@h2"},
    "cox.span.executor.t1": {"gate", "executor@h1", "executor@h2"},
    "cox.span.relay.t1": {"relay"},
    "cox.dead.cox-COMMANDS": {"planner", "learner", "gate"},
    "cox.dead.cox-COMMANDS-6a": {"observer@h1", "executor@h1"},
    "cox.dead.cox-COMMANDS-d0": {"observer@h2", "executor@h2"},
    "cox.dead.cox-EVENTS": {"planner", "learner"},
    "cox.dead.cox-SPANS": set(),
    "cox.hb.planner.p1": {"planner"},
    "cox.hb.learner.l1": {"learner"},
    "cox.hb.observer.h1": {"observer@h1"},
    "cox.hb.observer.h2": {"observer@h2"},
    "cox.hb.executor.h1": {"gate", "executor@h1"},
    "cox.hb.executor.executor-1-a": {"gate"},
    "cox.call": {"planner"},
    "other.req.optimize": set(),
    # Buckets and the store: the gate alone makes artifacts, the planner alone writes records.
    "$KV.cox-optimizations.o1": {"planner"},
    "$KV.cox-fleet.claims": {"planner"},
    "$KV.cox-fleet.orders": {"planner"},
    "$KV.cox-hosts.h1.inventory": {"observer@h1"},
    "$KV.cox-hosts.h1.scheduler": {"executor@h1"},
    "$KV.cox-hosts.h2.inventory": {"observer@h2"},
    "$KV.cox-policies.fair": set(),
    "$O.cox-artifacts.C.x": {"gate"},
    "$O.cox-artifacts.M.x": {"gate"},
    # JetStream's interface.
    "$JS.API.INFO": set(),
    "$JS.API.STREAM.NAMES": {"gate", "executor@h1", "executor@h2"},
    "$JS.API.STREAM.LIST": set(),
    **{
        f"$JS.API.STREAM.{verb}.{stream}": set()
        for verb in ("CREATE", "UPDATE", "DELETE", "MSG.DELETE", "SNAPSHOT", "RESTORE")
        for stream in (
            "cox-COMMANDS",
            "cox-COMMANDS-6a",
            "cox-REQUESTS",
            "cox-EVENTS",
            "cox-SPANS",
            "cox-DEAD",
            "KV_cox-optimizations",
            "KV_cox-hosts",
            "OBJ_cox-artifacts",
        )
    },
    "$JS.API.STREAM.PURGE.cox-COMMANDS": set(),
    "$JS.API.STREAM.PURGE.cox-COMMANDS-6a": set(),
    "$JS.API.STREAM.PURGE.cox-EVENTS": set(),
    "$JS.API.STREAM.PURGE.OBJ_cox-artifacts": {"gate"},
    "$JS.API.STREAM.INFO.cox-COMMANDS": {"planner"},
    "$JS.API.STREAM.INFO.cox-COMMANDS-6a": set(),
    "$JS.API.STREAM.INFO.cox-EVENTS": {"learner", "planner"},
    "$JS.API.STREAM.INFO.cox-REQUESTS": {"gate"},
    "$JS.API.STREAM.MSG.GET.cox-REQUESTS": {"gate"},
    "$JS.API.DIRECT.GET.cox-REQUESTS": {"gate"},
    "$JS.API.STREAM.PURGE.cox-REQUESTS": set(),
    "$JS.API.CONSUMER.CREATE.cox-REQUESTS": {"gate"},
    "$JS.API.CONSUMER.CREATE.cox-REQUESTS.mine": set(),
    "$JS.API.STREAM.INFO.KV_cox-hosts": SERVICES - {"learner"},
    "$JS.API.STREAM.INFO.KV_cox-optimizations": {"planner"},
    "$JS.API.STREAM.INFO.OBJ_cox-artifacts": {"gate", "executor@h1", "executor@h2"},
    "$JS.API.STREAM.MSG.GET.cox-COMMANDS": set(),
    "$JS.API.STREAM.MSG.GET.cox-COMMANDS-6a": set(),
    "$JS.API.STREAM.MSG.GET.cox-EVENTS": {"learner"},
    "$JS.API.DIRECT.GET.cox-SPANS": set(),
    "$JS.API.DIRECT.GET.KV_cox-hosts.$KV.cox-hosts.h1.inventory": {"planner", "gate"},
    "$JS.API.CONSUMER.CREATE.cox-COMMANDS.mine": set(),
    "$JS.API.CONSUMER.CREATE.cox-COMMANDS-6a.mine": set(),
    "$JS.API.CONSUMER.DURABLE.CREATE.cox-COMMANDS.mine": set(),
    "$JS.API.CONSUMER.CREATE.cox-EVENTS": {"learner"},
    "$JS.API.CONSUMER.CREATE.cox-EVENTS.planner-events": set(),
    "$JS.API.CONSUMER.CREATE.cox-EVENTS.mine.cox.evt.>": set(),
    "$JS.API.CONSUMER.CREATE.KV_cox-optimizations": {"planner"},
    "$JS.API.CONSUMER.CREATE.OBJ_cox-artifacts": {"gate", "executor@h1", "executor@h2"},
    "$JS.API.CONSUMER.DELETE.cox-COMMANDS.planner-commands": set(),
    "$JS.API.CONSUMER.DELETE.cox-EVENTS.planner-events": set(),
    "$JS.API.CONSUMER.MSG.NEXT.cox-EVENTS.planner-events": {"planner"},
    "$JS.API.CONSUMER.MSG.NEXT.cox-EVENTS.learner-rounds": {"learner"},
    "$JS.API.CONSUMER.MSG.NEXT.cox-COMMANDS.planner-commands": {"planner"},
    "$JS.API.CONSUMER.MSG.NEXT.cox-COMMANDS.learner-commands": {"learner"},
    "$JS.API.CONSUMER.MSG.NEXT.cox-COMMANDS.executor-gate": {"gate"},
    "$JS.API.CONSUMER.MSG.NEXT.cox-COMMANDS-6a.executor-host-h1": {"executor@h1"},
    "$JS.API.CONSUMER.MSG.NEXT.cox-COMMANDS-d0.observer-host-h2": {"observer@h2"},
    "$JS.API.CONSUMER.MSG.NEXT.cox-SPANS.relay-spans": {"relay"},
    "$JS.ACK.cox-COMMANDS-6a.executor-host-h1.1.2.3.4.5": {"executor@h1"},
    "$JS.ACK.cox-COMMANDS.planner-commands.1.2.3.4.5": {"planner"},
    "$SYS.REQ.SERVER.PING": set(),
    "_INBOX.somebody.1": set(),
}

MAY_SUBSCRIBE: dict[str, set[str]] = {
    ">": set(),
    "cox.>": set(),
    "cox.req.optimize": {"planner"},
    "cox.cmd.>": set(),
    "cox.cmd.executor.trial.6a.h1": set(),
    "cox.svc.planner.cancel": {"planner"},
    "cox.svc.planner.freeze": {"planner"},
    "cox.svc.planner.policy": {"planner"},
    "cox.svc.learner.recall": {"learner"},
    "cox.svc.learner.calibration": {"learner"},
    "cox.svc.learner.policies": {"learner"},
    "cox.svc.learner.policy": {"learner"},
    "cox.svc.learner.history": {"learner"},
    "cox.svc.learner.search": {"learner"},
    "cox.svc.observer.measure.h1": {"observer@h1"},
    "cox.svc.executor.state.h1": {"executor@h1"},
    "cox.svc.executor.revert.h2": {"executor@h2"},
    "cox.svc.executor.token.*": {"gate"},
    "cox.svc.executor.token.h1": {"gate"},
    "cox.evt.*.*.*.*": {"client"},
    "cox.evt.learner.remembered.*.*": {"client", "learner"},
    "cox.evt.executor.built.*.*": {"client", "learner"},
    "cox.evt.observer.probed.*.*": {"client", "learner"},
    "cox.evt.executor.round.*.*": {"client"},
    "cox.span.>": set(),
    "cox.dead.>": set(),
    "cox.hb.>": set(),
    "cox.hb.*.*": {"planner"},
    "cox.call": SERVICES | {"relay"},
    "$KV.>": set(),
    "$KV.cox-optimizations.>": set(),
    "$O.>": set(),
    "$JS.EVENT.>": set(),
    "$SYS.>": set(),
    "_INBOX.>": set(),
}

_VIOLATION = re.compile(r"permissions violation for \w+ to \"(.+?)\"", re.IGNORECASE)


class Server:
    """A server with keys for everybody."""

    def __init__(self, directory: Path) -> None:
        self.keyring = Keyring(directory / "keys")
        self.keyring.enroll_all([*FLEET, *map(Identity.parse, MEMBERS)])
        self.nats = NatsServer(directory / "nats", keyring=self.keyring)

    def credentials(self, member: str) -> Credentials:
        return Credentials(key=self.keyring.seed_file(Identity.parse(member)))

    @asynccontextmanager
    async def bus(self, member: str) -> AsyncIterator[Bus]:
        bus = await connect(
            self.nats.url,
            Subjects(),
            member,
            credentials=self.credentials(member),
            patience_s=10,
        )
        try:
            yield bus
        finally:
            await bus.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("keyed"))
    with server.nats:
        yield server


LAST = "zz.last"
"""Forbidden to everybody: once the server has said so, it has said all."""


class Forbidden:
    """What the server has forbidden a connection."""

    def __init__(self) -> None:
        self._subjects: set[str] = set()
        self._last = asyncio.Event()

    async def note(self, error: Exception) -> None:
        match = _VIOLATION.search(str(error))
        assert match, error
        if match[1] == LAST:
            self._last.set()
        else:
            self._subjects.add(match[1])  # in lower case, as the client library gives it

    async def all(self) -> set[str]:
        await asyncio.wait_for(self._last.wait(), 30)
        return self._subjects


@asynccontextmanager
async def plain(server: Server, member: str) -> AsyncIterator[tuple[Client, Forbidden]]:
    """A connection without our own layer."""
    forbidden = Forbidden()
    options = server.credentials(member).options()
    client = await nats.connect(server.nats.url, error_cb=forbidden.note, **options)
    try:
        yield client, forbidden
    finally:
        await client.close()


def surprises(member: str, table: dict[str, set[str]], forbidden: Iterable[str]) -> list[str]:
    expected = {subject.lower() for subject, who in table.items() if member not in who}
    return sorted(expected ^ set(forbidden))


@pytest.mark.parametrize("member", MEMBERS)
async def test_nobody_publishes_what_is_not_theirs(server: Server, member: str) -> None:
    async with plain(server, member) as (client, forbidden):
        for subject in (*MAY_PUBLISH, LAST):
            await client.publish(subject, b"")
        assert surprises(member, MAY_PUBLISH, await forbidden.all()) == []


@pytest.mark.parametrize("member", MEMBERS)
async def test_nobody_hears_what_is_not_theirs(server: Server, member: str) -> None:
    async with plain(server, member) as (client, forbidden):
        for subject in (*MAY_SUBSCRIBE, LAST):
            await client.subscribe(subject)
        assert surprises(member, MAY_SUBSCRIBE, await forbidden.all()) == []


async def test_without_a_key_nobody_is_let_in(server: Server) -> None:
    with pytest.raises(BusUnavailableError, match="does not let us in"):
        await connect(server.nats.url, Subjects(), "stranger", patience_s=2)


async def test_a_revoked_key_is_out_at_once_and_an_enrolled_one_in(server: Server) -> None:
    member = Identity.parse("observer@h3")
    server.keyring.enroll(member)
    assert server.nats.follow_keys()
    async with server.bus("observer@h3") as bus:
        gone = asyncio.Event()

        async def lost() -> None:
            gone.set()

        bus.nc._disconnected_cb = lost
        server.keyring.revoke(member)
        assert server.nats.follow_keys()
        await asyncio.wait_for(gone.wait(), 30)
    assert not server.nats.follow_keys()


async def test_everybody_can_do_their_work(server: Server) -> None:
    subjects = Subjects()
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(server.bus("operator"))
        await provision(operator.js, subjects)
        await provision_host(operator.js, subjects, "h1")
        planner, learner, gate, executor, observer, client = [
            await stack.enter_async_context(server.bus(name))
            for name in ("planner", "learner", "gate", "executor@h1", "observer@h1", "client")
        ]

        # A question and its answer.
        async def cancel(request: CancelRequest) -> Reply:
            assert request.optimization == "o1"
            return Reply()

        endpoint = subjects.endpoint("planner", "cancel")
        await planner.serve(endpoint, CancelRequest, cancel, queue="planner")
        await client.ask(endpoint, CancelRequest(optimization="o1"), Reply, timeout_s=10)

        # Records: the host's own, seen by the planner; the planner's own, compared and set.
        hosts = await observer.records("hosts", Inventory)
        await hosts.put("h1.inventory", inventory("h1"))
        seen = await (await planner.records("hosts", Inventory)).all("*.inventory")
        assert [record.value.host for record in seen] == ["h1"]
        records = await planner.records("optimizations", PlanCommand)
        await records.create("o1", PlanCommand(optimization="o1"))
        record = await records.get("o1")
        assert record is not None
        await records.replace(record, PlanCommand(optimization="o1"))

        # Work: from a consumer that was made for it, acknowledged.
        done = asyncio.Queue[str]()

        async def build(command: BuildCommand, _: object) -> None:
            done.put_nowait(command.optimization)

        gate.consume(
            "COMMANDS", subjects.consumer("executor", "gate"), {"build": (BuildCommand, build)}
        )
        command = BuildCommand(optimization="o1", policy="fair")
        await planner.publish(subjects.command("executor", "build"), command, message_id="m1")
        assert await asyncio.wait_for(done.get(), 10) == "o1"

        # Artifacts: the gate's, for every host.
        data = bytes(range(256)) * 1200
        digest = await gate.put_artifact(data)
        assert await executor.get_artifact(digest) == data
        with pytest.raises((BusError, TimeoutError)):
            await asyncio.wait_for(planner.put_artifact(b"my own scheduler"), 3)

        # Whose name a consumer has keeps it, whatever another asks for without a name.
        before = await operator.js.consumer_info("cox-EVENTS", "planner-events")
        for config in ({"name": "planner-events"}, {"durable_name": "planner-events"}):
            mine = {"stream_name": "cox-EVENTS", "config": {**config, "ack_policy": "none"}}
            body = msgspec.json.encode(mine)
            await learner.nc.request("$JS.API.CONSUMER.CREATE.cox-EVENTS", body, timeout=5)
        after = await operator.js.consumer_info("cox-EVENTS", "planner-events")
        assert after.config == before.config

        # What happened, read again from the beginning.
        event = subjects.event("learner", "judged", "o1")
        await learner.publish_bytes(event, b"{}")
        assert [s async for s, _ in learner.history("EVENTS", subjects.events("learner"))] == [
            event
        ]
