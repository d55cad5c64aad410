"""The gate's desk for deployment tokens: a host asks on a subject of its own, the gate answers.

It holds the only signing key. What it signs it has checked itself: where the artifact has come from
(a record under its own signature), who asked for it, and what the host is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from services.executor.gate.leave import (
    SECOND_NS,
    fingerprints,
    why_not_asked,
    why_not_built,
    why_not_there,
)
from services.executor.token import Provenance, Token, decode_signed
from shared.classes import WORKLOAD_CLASSES
from shared.errors import BusUnavailableError, CoxswainError, DeadlineError, TokenError
from shared.messages import Inventory, Signed, TokenReply, TokenRequest
from shared.metrics import declared
from shared.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from services.executor.gate.requests import Requests
    from services.executor.gate.workshop import Workshop
    from shared.bus import Bus, Records
    from shared.bus.serve import Inquiry
    from shared.messages import Artifact, Made
    from shared.policies import Catalogue, Policy
    from shared.telemetry import Telemetry

LIFE_S = 120
"""How long a token may be redeemed: a host does it at once."""

log = structlog.get_logger(__name__)


class TokenDesk:
    """Signs tokens, and the record of where each artifact has come from."""

    def __init__(
        self,
        bus: Bus,
        seeds: Path,
        workshop: Workshop,
        policies: Catalogue,
        objectives: Collection[str],
        requests: Requests,
        inventories: Records[Inventory],
        telemetry: Telemetry,
        *,
        sandbox: bool = False,
    ) -> None:
        self._bus = bus
        self._seeds = seeds
        self._workshop = workshop
        self._policies = policies
        self._objectives = objectives
        self._requests = requests
        self._inventories = inventories
        self._telemetry = telemetry
        self._sandbox = sandbox

    async def start(self) -> None:
        """Answer hosts."""
        subject = self._bus.subjects.endpoints("executor", "token")
        await self._bus.serve_asked(subject, TokenRequest, self._answer, queue="gate")

    async def vouch(self, artifact: Artifact, made: Made | None = None) -> None:
        """Keep a signed record of where an artifact has come from, for every gate of this fleet."""
        signer = Signer.read(self._seeds)
        record = Provenance(
            object_sha256=artifact.sha256,
            source_sha256=artifact.source_sha256,
            policy=artifact.policy,
            version=artifact.version,
            toolchain=artifact.toolchain,
            headers_sha256=artifact.headers_sha256,
            sandboxed=bool(artifact.evidence.get("sandboxed")),
            made=made,
        )
        signed = signer.sign(msgspec.json.encode(record), signer.newest())
        await self._bus.put_provenance(
            artifact.sha256, artifact.source_sha256, msgspec.json.encode(signed)
        )

    async def _answer(self, wanted: TokenRequest, inquiry: Inquiry) -> TokenReply:
        try:
            reply = TokenReply(token=await self._token(wanted, inquiry.subject))
        except (BusUnavailableError, DeadlineError) as error:
            reply = TokenReply(problem=error.problem, pending=True)
        except _LaterError as error:
            reply = TokenReply(problem=error.problem, pending=True)
        except CoxswainError as error:
            reply = TokenReply(problem=error.problem)
        outcome = "signed" if reply.problem is None else "pending" if reply.pending else "refused"
        self._telemetry.metrics.count(
            declared.DEPLOYMENT_TOKENS, purpose=wanted.purpose, outcome=outcome
        )
        log.info(
            "token.answered",
            outcome=outcome,
            host=wanted.host,
            purpose=wanted.purpose,
            optimization=wanted.optimization,
            artifact=wanted.artifact.sha256[:12],
            problem=str(reply.problem or ""),
        )
        return reply

    async def _token(self, wanted: TokenRequest, subject: str) -> Signed:
        if subject.rpartition(".")[2] != wanted.host:
            raise _no("it was asked for in another host's name", subject)
        policy = await self._check_object(wanted)
        inventory = await self._inventory(wanted)
        known = fingerprints(inventory, WORKLOAD_CLASSES, self._objectives)
        asked = await self._requests.find(wanted.request_sha256)
        now = time.time_ns()
        if why := why_not_asked(wanted, policy, asked, inventory, known, now):
            raise _no(why, wanted.request_sha256[:12] or "no request at all")
        signer = Signer.read(self._seeds)
        seed = signer.newest(wanted.keys)
        token = Token(
            plan_id=wanted.optimization,
            request_sha256=wanted.request_sha256,
            purpose=wanted.purpose,
            policy=wanted.policy,
            parameters=wanted.parameters,
            object_sha256=wanted.artifact.sha256,
            source_sha256=wanted.artifact.source_sha256,
            toolchain=wanted.artifact.toolchain,
            headers_sha256=wanted.artifact.headers_sha256,
            host=wanted.host,
            machine_id=wanted.machine_id,
            boot_id=wanted.boot_id,
            kernel=wanted.kernel,
            btf_sha256=wanted.btf_sha256,
            loads=wanted.loads,
            max_duration_s=wanted.max_duration_s,
            nbf_unix_ns=now,
            exp_unix_ns=now + LIFE_S * SECOND_NS,
            nonce=wanted.nonce,
            epoch=seed.epoch,
        )
        return signer.sign(msgspec.json.encode(token), seed)

    async def _check_object(self, wanted: TokenRequest) -> Policy:
        artifact = wanted.artifact
        if not await self._bus.has_artifact(artifact.sha256):
            raise _no("the artifact is not in the store any more", artifact.sha256[:12])
        record = await self._bus.get_provenance(artifact.sha256, artifact.source_sha256)
        try:
            signed = msgspec.json.decode(record, type=Signed)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise _no("its record in the store was altered", str(error)) from error
        Signer.read(self._seeds).trusted.check(signed)
        provenance = decode_signed(signed, Provenance)
        tools = (self._workshop.toolchain.version, self._workshop.headers_sha256)
        policy = self._policies.policy(wanted.policy, provenance.made)
        if why := why_not_built(wanted, provenance, policy, tools, sandbox=self._sandbox):
            raise _no(why, artifact.sha256[:12])
        return policy

    async def _inventory(self, wanted: TokenRequest) -> Inventory:
        """What the host's observer says of it; after a boot that takes a moment."""
        record = await self._inventories.get_genuine(f"{wanted.host}.inventory")
        if record is None:
            raise _LaterError(
                f"host {wanted.host} has no inventory", expected="one that its observer has written"
            )
        if why := why_not_there(wanted, record.value):
            raise _LaterError(why, expected="the same, once its observer has looked again")
        return record.value


class _LaterError(CoxswainError):
    """What is missing may come."""


def _no(why: str, got: str) -> TokenError:
    return TokenError(why, expected="what an operator has asked for, built by this gate", got=got)
