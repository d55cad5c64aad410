"""Somebody has the planner's key and all that it may do: nothing is loaded that nobody asked for.

Server, permissions, gate's desk and host role are real; only the kernel beneath keeps books. The
thief also knows what JetStream can be made to send in his name (shared/bus/stored.py).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from bench.hosts.kernel import SimulatedKernel
from services.executor.host import service as host_service
from services.executor.host.service import host_role
from services.executor.token import Provenance, Token
from shared.bus import Bus, connect
from shared.bus.credentials import Credentials
from shared.bus.keyring import FLEET, Keyring
from shared.bus.provision import provision, provision_host
from shared.bus.roles import Identity
from shared.bus.serve import Inquiry
from shared.bus.server import NatsServer
from shared.errors import BusError
from shared.messages import (
    Artifact,
    DeployCommand,
    Deployed,
    Inventory,
    Loadable,
    Message,
    Objective,
    OptimizeRequest,
    RevertCommand,
    Reverted,
    RevertRequest,
    SchedulerState,
    SealCommand,
    Selector,
    TokenReply,
    TokenRequest,
    TrialCommand,
    TrialEnded,
    TrialSpec,
    decode,
    encode,
)
from shared.policies import Catalogue
from shared.settings import Settings
from shared.signing import Key, Signer
from shared.subjects import Subjects
from shared.telemetry import start_telemetry
from tests.executor.tokens import Desk, Signing, artifact_of, here_of, introduce, say
from tests.planner.world import inventory

S = Subjects()
HOST = "h1"
OBJECT = b"what the gate has built"
EVIL = b"what the thief has made"
PARAMETERS = Catalogue.load()["latency"].manifest.defaults
_ids = itertools.count()


class Server:
    """A bus with keys for everybody."""

    def __init__(self, folder: Path) -> None:
        self.keyring = Keyring(folder / "keys")
        hosts = [Identity("observer", HOST), Identity("executor", HOST)]
        self.keyring.enroll_all([*FLEET, *hosts])
        self.nats = NatsServer(folder / "nats", keyring=self.keyring)


@pytest.fixture(scope="module")
def server(nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Started after the session's own: a live tracer must not meet a fork (its handler hangs)."""
    server = Server(tmp_path_factory.mktemp("keyed"))
    with server.nats:
        yield server
    gc.collect()


class Fleet:
    """One host, a gate, an operator who looks on, and the thief."""

    def __init__(self, server: Server, stack: AsyncExitStack, folder: Path) -> None:
        self._server = server
        self._stack = stack
        self._folder = folder
        self.signing = Signing(folder)
        self.kernel = SimulatedKernel()
        self.artifact: Artifact

    async def start(self) -> None:
        telemetry = await self._stack.enter_async_context(
            start_telemetry("executor", HOST, publish=None)
        )
        self.operator = await self.bus("operator")
        await provision(self.operator.js, S)
        await provision_host(self.operator.js, S, HOST)
        self.client = await self.bus("client")
        self.thief = await self.bus("planner")
        self.accomplice = await self.bus("learner")
        await introduce(await self.bus(f"observer@{HOST}"), inventory(HOST))
        self.desk = Desk(await self.bus("gate"), self.signing)
        await self.desk.open()
        self.artifact = await self.desk.store(OBJECT, "latency")
        settings = Settings(
            host=HOST, state_dir=self._folder / HOST, trusted_keys=self.signing.keys.keys
        )
        self.executor = await self.bus(f"executor@{HOST}")
        await self._stack.enter_async_context(
            host_role(settings, self.executor, telemetry, self.kernel, here_of(inventory(HOST)))
        )
        self._stack.push_async_callback(self.executor.rest)

    async def bus(self, member: str) -> Bus:
        key = Credentials(key=self._server.keyring.seed_file(Identity.parse(member)))
        bus = await connect(self._server.nats.url, S, member, credentials=key, patience_s=10)
        self._stack.push_async_callback(bus.close)
        return bus

    # What the thief does ---------------------------------------------------------------------

    def deploy(self, request_sha256: str, **other: Any) -> DeployCommand:
        usual: dict[str, Any] = {
            "optimization": f"o{next(_ids)}",
            "policy": "latency",
            "version": "1.0.0",
            "parameters": PARAMETERS,
            "artifact": self.artifact,
            "soak_s": 0.0,
            "request_sha256": request_sha256,
        }
        return DeployCommand(**{**usual, **other})

    async def deployed(self, command: DeployCommand) -> Deployed:
        """Have something deployed; what the host says to it."""
        await self.command("deploy", command)
        return (await self.said("deployed", command.optimization, Deployed))[0]

    async def tried(self, request_sha256: str) -> TrialEnded:
        like = self.deploy(request_sha256)
        await self.command(
            "trial",
            TrialCommand(
                optimization=like.optimization, trial=f"{like.optimization}-t", policy=like.policy,
                version=like.version, parameters=like.parameters, artifact=like.artifact,
                workload="pulse", seed=1, request_sha256=request_sha256,
                spec=TrialSpec(objective=Objective(metric="p99", direction="lower"), max_pairs=8),
            ),
        )  # fmt: skip
        return (await self.said("trial_ended", like.optimization, TrialEnded))[0]

    async def command(self, verb: str, message: Message) -> None:
        subject = S.command("executor", verb, HOST)
        await self.thief.publish(subject, message, message_id=f"m{next(_ids)}")

    async def redirect(self, data: bytes, to: str) -> None:
        """Have the thief's own bytes sent where he may publish nothing, by the server itself."""
        await self.got_directly(data, to)
        subject = f"$KV.{S.bucket('optimizations')}.x{next(_ids)}"
        await self.thief.js.publish(subject, data)
        stream = f"KV_{S.bucket('optimizations')}"
        pushed = {"deliver_subject": to, "ack_policy": "none", "filter_subject": subject}
        body = json.dumps({"stream_name": stream, "config": pushed}).encode()
        await self.thief.nc.request(f"$JS.API.CONSUMER.CREATE.{stream}", body, timeout=5)
        await self.thief.nc.flush()

    async def got_directly(self, data: bytes, to: str) -> None:
        """One copy, which has the subject that it is sent to: no bucket of the planner's gives
        such a one, so he has the learner's key, too."""
        subject = S.event("learner", "judged", f"x{next(_ids)}")
        await self.accomplice.js.publish(subject, data)
        wanted = json.dumps({"last_by_subj": subject}).encode()
        stream = S.stream("EVENTS")
        await self.accomplice.nc.publish(f"$JS.API.DIRECT.GET.{stream}", wanted, reply=to)
        await self.accomplice.nc.flush()

    async def said(self, fact: str, optimization: str, kind: type[Any]) -> list[Any]:
        subject = S.events("executor", fact, optimization)
        async with asyncio.timeout(60):
            while True:
                stored = self.operator.history("EVENTS", subject)
                found = [decode(data, kind) async for _, data in stored]
                if found:
                    return found
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running(server: Server, folder: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        fleet = Fleet(server, stack, folder)
        await fleet.start()
        yield fleet


@pytest.fixture
async def fleet(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Fleet]:
    monkeypatch.setattr(host_service, "GATE_S", 0.0)
    async with running(server, tmp_path) as fleet:
        await fleet.desk.serve()
        yield fleet


@pytest.fixture
async def gateless(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Fleet]:
    """The same while the gate is away: whoever answers in its place is an impostor."""
    monkeypatch.setattr(host_service, "GATE_S", 0.0)
    async with running(server, tmp_path) as fleet:
        yield fleet


async def test_what_a_client_has_asked_for_is_loaded(fleet: Fleet) -> None:
    """The other tests' counterpart: the same commands, with a request behind them."""
    asked = await say(fleet.client, OptimizeRequest(workload="pulse", hosts=[HOST]))
    deployed = await fleet.deployed(fleet.deploy(asked))
    assert deployed.problem is None
    assert fleet.kernel.loads == ["coxswain_latency"]


@pytest.mark.parametrize("request_sha256", ["", "0" * 64])
async def test_commands_without_a_request_load_nothing(fleet: Fleet, request_sha256: str) -> None:
    deployed = await fleet.deployed(fleet.deploy(request_sha256))
    assert deployed.problem is not None
    assert "nobody has asked" in deployed.problem.what
    ended = await fleet.tried(request_sha256)
    assert (ended.end, ended.pairs) == ("interrupted", 0)
    assert fleet.kernel.loads == []


@pytest.mark.parametrize(
    ("request_", "other", "said"),
    [
        ({"hosts": ["h2"]}, {}, "does not name"),
        ({"select": Selector(labels={"role": "db"})}, {}, "does not select"),
        ({"policies": ["fair"]}, {}, "does not allow"),
        ({}, {"policy": "fair"}, "another policy"),
        ({}, {"parameters": {}}, "not all of its parameters"),
        ({}, {"parameters": {**PARAMETERS, "no_such": 1}}, "no parameter"),
        ({}, {"artifact": artifact_of(b"never built", "latency")}, "not in the store"),
    ],
)
async def test_somebody_elses_request_allows_no_more_than_it_says(
    fleet: Fleet, request_: dict[str, Any], other: dict[str, Any], said: str
) -> None:
    asked = await say(fleet.client, OptimizeRequest(workload="pulse", **request_))
    command = fleet.deploy(asked, **other)
    if command.artifact.sha256 != fleet.artifact.sha256:
        # The host would not even get so far: it cannot read the object.
        wanted = token_request(command)
        reply = await fleet.desk.desk._answer(
            wanted, Inquiry(S.endpoint("executor", "token", HOST), b"")
        )
        assert reply.problem is not None
        assert said in reply.problem.what
    deployed = await fleet.deployed(command)
    assert deployed.problem is not None
    assert fleet.kernel.loads == []
    if command.artifact.sha256 == fleet.artifact.sha256:
        assert said in deployed.problem.what


def token_request(command: DeployCommand, nonce: str = "0" * 64) -> TokenRequest:
    here = here_of(inventory(HOST))
    return TokenRequest(
        host=HOST, nonce=nonce, machine_id=here.machine_id, boot_id=here.boot_id,
        kernel=here.kernel, btf_sha256=here.btf_sha256, optimization=command.optimization,
        request_sha256=command.request_sha256, purpose="deploy", policy=command.policy,
        parameters=command.parameters, artifact=command.artifact, loads=1, max_duration_s=60.0,
    )  # fmt: skip


async def promoted(fleet: Fleet) -> DeployCommand:
    """Something that a client asked for, deployed and sealed by the learner."""
    asked = await say(fleet.client, OptimizeRequest(workload="pulse", hosts=[HOST]))
    command = fleet.deploy(asked)
    assert (await fleet.deployed(command)).problem is None
    await seal(fleet, fleet.accomplice, command)
    await until_sealed(fleet, sealed=True)
    return command


async def seal(fleet: Fleet, bus: Bus, of: DeployCommand) -> None:
    order = SealCommand(optimization=of.optimization, tried=Loadable.of(of))
    subject = S.command("executor", "seal", HOST)
    await bus.publish(subject, order, message_id=f"m{next(_ids)}")


async def until_sealed(fleet: Fleet, *, sealed: bool) -> SchedulerState:
    states = await fleet.operator.records("hosts", SchedulerState)
    async with asyncio.timeout(30):
        while True:
            found = await states.get(f"{HOST}.scheduler")
            if found is not None and found.value.sealed == sealed:
                return found.value
            await asyncio.sleep(0.02)


async def test_what_was_promoted_is_not_reverted(fleet: Fleet) -> None:
    """By the planner's order, nor by an operator's that a stream was made to send for him."""
    command = await promoted(fleet)
    back = RevertCommand(optimization=command.optimization, reason="so be it")
    await fleet.command("revert", back)
    order = RevertRequest(reason="so be it")
    subject = S.endpoint("executor", "revert", HOST)
    with pytest.raises(BusError):
        await fleet.thief.ask(subject, order, SchedulerState, timeout_s=1.0)
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    await fleet.operator.nc.subscribe(subject, cb=hear)
    await fleet.operator.nc.flush()
    await fleet.redirect(encode(order), subject)
    async with asyncio.timeout(30):
        while len(heard) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    # What comes after all of it is obeyed, so all of it has come.
    later = replace(back, optimization="o-later")
    await fleet.command("revert", later)
    await fleet.said("reverted", "o-later", Reverted)
    assert (await fleet.kernel.state()).ours is not None
    state = await until_sealed(fleet, sealed=True)
    assert state.kept == command.optimization
    # An operator's own order is.
    now = await fleet.operator.ask(subject, order, SchedulerState, timeout_s=10)
    assert (now.state, now.kept) == ("disabled", "")


async def test_he_seals_nothing(fleet: Fleet) -> None:
    """A policy that the planner deploys stays within reach of the honest planner."""
    asked = await say(fleet.client, OptimizeRequest(workload="pulse", hosts=[HOST]))
    command = fleet.deploy(asked)
    assert (await fleet.deployed(command)).problem is None
    with pytest.raises((BusError, TimeoutError)):
        async with asyncio.timeout(2):
            await seal(fleet, fleet.thief, command)
    subject = S.command("executor", "seal", HOST)
    order = SealCommand(optimization=command.optimization, tried=Loadable.of(command))
    await sent_on(fleet, encode(order), subject, S.stream("COMMANDS", HOST))
    back = RevertCommand(optimization=command.optimization, reason="it did harm")
    await fleet.command("revert", back)
    await fleet.said("reverted", command.optimization, Reverted)
    assert (await fleet.kernel.state()).ours is None


async def test_the_planner_gets_no_token(fleet: Fleet) -> None:
    asked = await say(fleet.client, OptimizeRequest(workload="pulse"))
    command = fleet.deploy(asked)
    subject = S.endpoint("executor", "token", HOST)
    answered: list[Msg] = []

    async def hear(message: Msg) -> None:
        answered.append(message)

    await fleet.operator.nc.subscribe(subject, cb=hear)
    with pytest.raises(BusError):
        await fleet.thief.ask(subject, token_request(command), TokenReply, timeout_s=1.0)
    assert answered == []
    # Redirected, his question is heard, and its answer goes to nobody: not to him.
    mine: list[Msg] = []

    async def listen(message: Msg) -> None:
        mine.append(message)

    inbox = fleet.thief.nc.new_inbox()
    await fleet.thief.nc.subscribe(inbox.rpartition(".")[0] + ".>", cb=listen)
    await fleet.redirect(encode(token_request(command)), subject)
    async with asyncio.timeout(30):
        while len(answered) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    assert not any(b"token_reply" in message.data for message in mine)
    assert fleet.kernel.loads == []


async def test_a_request_of_the_thiefs_own_making_is_none(fleet: Fleet) -> None:
    forged = encode(OptimizeRequest(workload="pulse", seed=666))
    stream = S.stream("REQUESTS")
    # Consumers push only where somebody listens, and a stream alone does not count.
    await fleet.thief.nc.subscribe(S.optimize)
    before = (await fleet.operator.js.stream_info(stream)).state.messages
    await fleet.redirect(forged, S.optimize)
    # Both ways lead there, so the gate must see through them.
    async with asyncio.timeout(30):
        while (  # noqa: ASYNC110
            await fleet.operator.js.stream_info(stream)
        ).state.messages < before + 2:
            await asyncio.sleep(0.02)
    request_sha256 = hashlib.sha256(forged).hexdigest()
    deployed = await fleet.deployed(fleet.deploy(request_sha256))
    assert deployed.problem is not None
    assert "nobody has asked" in deployed.problem.what
    assert fleet.kernel.loads == []


async def test_a_host_is_not_made_to_match_by_a_forged_inventory(fleet: Fleet) -> None:
    request = OptimizeRequest(workload="pulse", select=Selector(labels={"role": "db"}))
    asked = await say(fleet.client, request)
    forged = replace(inventory(HOST), labels={"role": "db"})
    subject = f"$KV.{S.bucket('hosts')}.{HOST}.inventory"
    await sent_on(fleet, msgspec.json.encode(forged), subject, f"KV_{S.bucket('hosts')}")
    records = await fleet.operator.records("hosts", Inventory)
    found = await records.get(f"{HOST}.inventory")
    assert found is not None
    assert found.value.labels == {"role": "db"}, "the forgery stands there"
    deployed = await fleet.deployed(fleet.deploy(asked))
    assert deployed.problem is not None
    assert "no inventory" in deployed.problem.what
    assert fleet.kernel.loads == []


async def test_an_artifact_of_the_thiefs_own_making_is_not_signed_for(fleet: Fleet) -> None:
    """He can put it into the store by redirection, its record too; he cannot sign that."""
    asked = await say(fleet.client, OptimizeRequest(workload="pulse"))
    with pytest.raises((BusError, TimeoutError)):
        async with asyncio.timeout(2):
            await fleet.thief.put_artifact(EVIL)
    evil = artifact_of(EVIL, "latency")
    thief = Key(1, b"\7" * 32)
    record = Provenance(
        object_sha256=evil.sha256, source_sha256=evil.source_sha256, policy="latency",
        version="1.0.0", toolchain=evil.toolchain, headers_sha256=evil.headers_sha256,
    )  # fmt: skip
    signed = Signer([thief]).sign(msgspec.json.encode(record), thief)
    real = fleet.signing.signer.newest().public.id
    for key in (signed.key, real):
        await put_by_redirection(fleet, evil.sha256, EVIL)
        forged = msgspec.json.encode(replace(signed, key=key))
        name = f"{evil.sha256}.from.{evil.source_sha256}"
        await put_by_redirection(fleet, name, forged)
        assert await fleet.operator.get_artifact(evil.sha256) == EVIL, "it stands there"
        deployed = await fleet.deployed(fleet.deploy(asked, artifact=evil))
        assert deployed.problem is not None
        assert deployed.problem.kind == "TokenError"
        assert "key" in deployed.problem.what or "signature" in deployed.problem.what
    # And the record of what the gate has built does not stand for another object.
    good = await fleet.operator.get_provenance(fleet.artifact.sha256, evil.source_sha256)
    await put_by_redirection(fleet, name, good)
    deployed = await fleet.deployed(fleet.deploy(asked, artifact=evil))
    assert deployed.problem is not None
    assert "another object" in deployed.problem.what
    assert fleet.kernel.loads == []


async def put_by_redirection(fleet: Fleet, name: str, data: bytes) -> None:
    """What `ObjectStore.put` writes (NATS ADR-20), where the thief may not write."""
    bucket, nuid = S.bucket("artifacts"), f"nuid{next(_ids)}"
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
    meta = {
        "name": name, "bucket": bucket, "nuid": nuid, "size": len(data), "chunks": 1,
        "digest": f"SHA-256={digest}", "mtime": "2026-01-01T00:00:00Z",
        "options": {"max_chunk_size": 131072},
    }  # fmt: skip
    encoded = base64.urlsafe_b64encode(name.encode()).decode()
    store = f"OBJ_{bucket}"
    await sent_on(fleet, data, f"$O.{bucket}.C.{nuid}", store)
    await sent_on(fleet, json.dumps(meta).encode(), f"$O.{bucket}.M.{encoded}", store)


async def sent_on(fleet: Fleet, data: bytes, to: str, into: str) -> None:
    """One copy into a stream, by direct get; once it is there."""
    await fleet.got_directly(data, to)
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(NotFoundError):
                if (await fleet.operator.js.get_last_msg(into, to)).data == data:
                    return
            await asyncio.sleep(0.02)


async def test_what_is_sent_to_a_hosts_inbox_is_no_token(gateless: Fleet) -> None:
    """He knows the inbox, the very question and an old token, and answers in the gate's place."""
    fleet = gateless
    asked = await say(fleet.client, OptimizeRequest(workload="pulse"))
    command = fleet.deploy(asked)
    old = await fleet.desk.desk._token(
        replace(token_request(command), keys=fleet.signing.signer.trusted.ids),
        S.endpoint("executor", "token", HOST),
    )
    thief = Key(1, b"\7" * 32)
    real = fleet.signing.signer.newest().public.id

    def forged(question: TokenRequest) -> list[TokenReply]:
        wanted = replace(
            msgspec.json.decode(old.payload, type=Token),
            nonce=question.nonce,
            plan_id=question.optimization,
        )
        payload = msgspec.json.encode(wanted)
        mine = Signer([thief]).sign(payload, thief)
        return [
            TokenReply(token=old),
            TokenReply(token=mine),
            TokenReply(token=replace(mine, key=real)),
            TokenReply(token=replace(old, payload=payload)),
            TokenReply(token=replace(old, payload=payload, signature=b"")),
        ]

    for number in range(5):
        questions: asyncio.Queue[Msg] = asyncio.Queue()
        heard = await fleet.operator.nc.subscribe(
            S.endpoint("executor", "token", HOST), cb=questions.put
        )
        command = fleet.deploy(asked)
        await fleet.command("deploy", command)
        async with asyncio.timeout(30):
            question = await questions.get()
        answer = forged(decode(question.data, TokenRequest))[number]
        await fleet.redirect(encode(answer), question.reply)
        deployed = (await fleet.said("deployed", command.optimization, Deployed))[0]
        assert deployed.problem is not None
        assert deployed.problem.kind == "TokenError", deployed.problem
        await heard.unsubscribe()
    assert fleet.kernel.loads == []
