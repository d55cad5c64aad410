"""A gate's desk for tokens, for tests: real keys, real checks, on whatever bus a test has."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

from msgspec.structs import replace

from services.executor.gate.leave import objectives
from services.executor.gate.requests import Requests
from services.executor.gate.tokens import TokenDesk
from services.executor.gate.workshop import Workshop
from services.executor.host.machine import Here
from services.executor.host.permit import Permit, redeem
from services.executor.host.tokens import Tokens
from services.executor.token import Token
from shared.bus import Bus
from shared.bus.serve import Endpoint
from shared.messages import (
    Artifact,
    Inventory,
    OptimizeRequest,
    TokenReply,
    TokenRequest,
    encode,
)
from shared.metrics import Metrics
from shared.policies import Catalogue
from shared.signing import KEYS, SEEDS, Signer, SigningKeys
from shared.workloads import Catalogue as Workloads

WORKSHOP = Workshop()
POLICY = "fifo"


def here_of(inventory: Inventory) -> Here:
    """A host that is what its inventory says."""
    return Here(
        host=inventory.host,
        machine_id=inventory.machine_id,
        boot_id=inventory.boot_id,
        kernel=inventory.kernel,
        btf_sha256="b" * 64,
    )


def artifact_of(data: bytes, policy: str = POLICY) -> Artifact:
    """As the gate would describe these bytes if it had built them."""
    return Artifact(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        policy=policy,
        version="1.0.0",
        source_sha256="5" * 64,
        toolchain=WORKSHOP.toolchain.version,
        headers_sha256=WORKSHOP.headers_sha256,
    )


def free_permit(data: bytes, parameters: dict[str, int] | None = None, loads: int = 99) -> Permit:
    """A permit for a test that is about something else."""
    token = Token(
        plan_id="o1", request_sha256="", purpose="trial", policy=POLICY,
        parameters=parameters or {}, object_sha256=hashlib.sha256(data).hexdigest(),
        source_sha256="", toolchain="", headers_sha256="", host="h1", machine_id="", boot_id="",
        kernel="", btf_sha256="", loads=loads, max_duration_s=3600.0, nbf_unix_ns=0, exp_unix_ns=0,
        nonce="", epoch=1,
    )  # fmt: skip
    return redeem(token, lambda _: None)


class Signing:
    """A fleet's signing keys, in files."""

    def __init__(self, folder: Path) -> None:
        self.keys = SigningKeys(folder / SEEDS, folder / KEYS)
        self.keys.ensure()

    @property
    def signer(self) -> Signer:
        return Signer.read(self.keys.seeds)


class Desk:
    """The gate's desk on a bus."""

    def __init__(self, bus: Bus, signing: Signing) -> None:
        self.bus = bus
        self._signing = signing
        self._desk: TokenDesk | None = None
        self._endpoint: Endpoint | None = None

    @property
    def desk(self) -> TokenDesk:
        assert self._desk is not None
        return self._desk

    async def start(self) -> None:
        await self.open()
        await self.serve()

    async def serve(self) -> None:
        """Answer hosts."""
        await self.desk.start()
        (self._endpoint,) = self.bus._endpoints[-1:]

    async def leave(self) -> None:
        """Answer nobody any more."""
        assert self._endpoint is not None
        self.bus._endpoints.remove(self._endpoint)
        await self._endpoint.stop()

    async def open(self) -> None:
        """Be able to sign; nobody is answered yet."""
        self._desk = TokenDesk(
            self.bus,
            self._signing.keys.seeds,
            WORKSHOP,
            Catalogue.load(),
            objectives(Workloads.load()),
            Requests(self.bus),
            await self.bus.records("hosts", Inventory),
            # No tracer: its thread would outlive the test, and servers are forked beside it.
            SimpleNamespace(metrics=Metrics()),  # type: ignore[arg-type]
        )

    async def store(self, data: bytes, policy: str = POLICY) -> Artifact:
        """As if the gate had built these bytes."""
        await self.bus.put_artifact(data)
        artifact = artifact_of(data, policy)
        await self.desk.vouch(artifact)
        return artifact


async def say(bus: Bus, request: OptimizeRequest) -> str:
    """A client's request, without a planner; the hash of its bytes."""
    words = encode(request)
    await bus.nc.publish(bus.subjects.optimize, words)
    await bus.nc.flush()
    return hashlib.sha256(words).hexdigest()


async def introduce(bus: Bus, inventory: Inventory) -> None:
    """As the host's observer does it."""
    records = await bus.records("hosts", Inventory)
    await records.put(f"{inventory.host}.inventory", inventory)


def tokens_of(bus: Bus, here: Here, signing: Signing) -> Tokens:
    """A host's way to permits."""

    async def ask(request: TokenRequest) -> TokenReply:
        subject = bus.subjects.endpoint("executor", "token", here.host)
        return await bus.ask(subject, request, TokenReply, timeout_s=10)

    return Tokens(here, signing.keys.keys, ask)


def rebooted(inventory: Inventory, boot_id: str = "another-boot") -> Inventory:
    return replace(inventory, boot_id=boot_id)
