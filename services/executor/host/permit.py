"""The right to load, in the hand of whoever may: without one nothing takes a policy.

It is made in `redeem` alone, once the token's nonce is durably written down as consumed. A crash
after that costs a token, never a second load.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.executor.host.books import Redeemed
from shared.errors import TokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.executor.token import Token


def since_boot_s() -> float:
    """A clock that never steps; what a machine is suspended for counts, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Permit:
    """Loads of one object with one set of parameters: so many, and so long."""

    def __init__(self, token: Token, clock_s: Callable[[], float]) -> None:
        self.token = token
        self._clock_s = clock_s
        self._until_s = clock_s() + token.max_duration_s
        self._left = token.loads

    def use(self, sha256: str, parameters: Mapping[str, int]) -> None:
        """Take one load, of these bytes with these parameters. Raises TokenError."""
        token = self.token
        if sha256 != token.object_sha256 or dict(parameters) != token.parameters:
            raise TokenError(
                "this is not what the deployment token is for",
                expected=f"object {token.object_sha256[:12]} with {token.parameters}",
                got=f"object {sha256[:12]} with {dict(parameters)}",
            )
        if self._left <= 0 or self._clock_s() >= self._until_s:
            raise TokenError(
                "the deployment token is used up",
                expected=f"{token.loads} loads within {token.max_duration_s:.0f} s",
                got="one more" if self._left <= 0 else "one that comes later",
            )
        self._left -= 1


def redeem(
    token: Token, write: Callable[[Redeemed], None], clock_s: Callable[[], float] = since_boot_s
) -> Permit:
    """Write down that the nonce is consumed, then give the right away. Raises JournalError."""
    write(Redeemed(token.nonce, token.epoch))
    return Permit(token, clock_s)
