"""How this host comes by a permit: it asks the gate, checks the answer, and writes it down."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from services.executor.host.permit import Permit, redeem
from services.executor.host.verify import verify
from shared.errors import BusError, InputError, Problem, TokenError, TokenPendingError
from shared.messages import Artifact, Purpose, TokenReply, TokenRequest
from shared.signing import Trusted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from services.executor.host.books import Books, Redeemed
    from services.executor.host.machine import Here

AGAIN_S = 2.0
"""Between two questions for the same token."""
GATE_S = 45.0
"""How long a trial or a deployment waits for a gate that is away; the planner waits longer."""

log = structlog.get_logger(__name__)


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What a token is wanted for."""

    purpose: Purpose
    optimization: str
    request_sha256: str
    policy: str
    parameters: dict[str, int]
    artifact: Artifact
    loads: int = 1
    max_duration_s: float


class Tokens:
    """Asks for tokens, and makes permits of them."""

    def __init__(
        self, here: Here, trusted: Path, ask: Callable[[TokenRequest], Awaitable[TokenReply]]
    ) -> None:
        self.here = here
        self._trusted = trusted
        self._ask = ask

    async def permit(
        self,
        errand: Errand,
        books: Books,
        write: Callable[[Redeemed], None],
        *,
        patience_s: float,
    ) -> Permit:
        """The right to do it, asking for `patience_s` while the gate is away or must wait.

        Raises TokenPendingError when patience is over, TokenError for a no or a bad token.
        """
        give_up_s = time.monotonic() + patience_s
        while True:
            try:
                return await self._once(errand, books, write)
            except TokenPendingError as error:
                if time.monotonic() + AGAIN_S >= give_up_s:
                    raise
                log.warning("token.pending", purpose=errand.purpose, problem=str(error))
            await asyncio.sleep(AGAIN_S)

    async def _once(
        self, errand: Errand, books: Books, write: Callable[[Redeemed], None]
    ) -> Permit:
        # Read anew each time: a rotation needs no restart where the file itself is in reach.
        try:
            trusted = Trusted.read(self._trusted)
        except InputError as error:
            raise _pending(error.problem) from error
        request = self._request(errand, trusted)
        try:
            reply = await self._ask(request)
        except BusError as error:
            raise _pending(error.problem) from error
        if reply.token is None:
            problem = reply.problem or Problem(kind="TokenError", what="the gate gave no reason")
            raise _pending(problem) if reply.pending else _refused(problem)
        token = verify(
            reply.token,
            asked=request,
            trusted=trusted,
            seen_epoch=books.epoch,
            consumed=books.consumed,
            now_unix_ns=time.time_ns(),
        )
        return redeem(token, write)

    def _request(self, errand: Errand, trusted: Trusted) -> TokenRequest:
        here = self.here
        try:
            return TokenRequest(
                host=here.host,
                nonce=secrets.token_hex(32),
                machine_id=here.machine_id,
                boot_id=here.boot_id,
                kernel=here.kernel,
                btf_sha256=here.btf_sha256,
                optimization=errand.optimization,
                request_sha256=errand.request_sha256,
                purpose=errand.purpose,
                policy=errand.policy,
                parameters=errand.parameters,
                artifact=errand.artifact,
                loads=errand.loads,
                max_duration_s=errand.max_duration_s,
                keys=trusted.ids,
            )
        except InputError as error:
            raise TokenError(error.what, expected=error.expected, got=error.got) from error


def _pending(problem: Problem) -> TokenPendingError:
    return TokenPendingError(
        f"no deployment token yet: {problem.what}",
        expected=problem.expected or "an answer of the gate",
        got=problem.got,
        advice=problem.advice,
    )


def _refused(problem: Problem) -> TokenError:
    return TokenError(
        f"the gate gives no deployment token: {problem.what}",
        expected=problem.expected,
        got=problem.got,
        advice=problem.advice,
    )
