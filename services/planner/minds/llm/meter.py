"""What a model's answers cost, and the budget that they may not pass. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from shared.errors import InputError, PlanError
from shared.messages import Cost

PER: Final = 1e6
"""Prices are in dollars for so many tokens."""
WRITE_FACTOR: Final = 1.25
READ_FACTOR: Final = 0.1
"""What writing to and reading from the prompt cache costs, of the price of fresh input."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one answer."""

    fresh: int = 0
    """Input that was neither read from a cache nor written to one."""
    cache_written: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def input(self) -> int:
        """All that went in, as `gen_ai.usage.input_tokens` counts."""
        return self.fresh + self.cache_written + self.cache_read


class Price(msgspec.Struct, frozen=True):
    """Dollars for a million tokens of fresh input, and of output."""

    input: float
    output: float

    def of(self, usage: Usage) -> float:
        """Dollars."""
        weighted = usage.fresh + WRITE_FACTOR * usage.cache_written + READ_FACTOR * usage.cache_read
        return (weighted * self.input + usage.output * self.output) / PER


PRICES: Final = {
    # List prices of spring 2026; COX_MODEL_PRICE is for others, and for other times.
    "claude-haiku-4-5": Price(1.0, 5.0),
    "claude-sonnet-4-5": Price(3.0, 15.0),
    "claude-sonnet-4-6": Price(3.0, 15.0),
    "claude-opus-4-5": Price(5.0, 25.0),
    "claude-opus-4-6": Price(5.0, 25.0),
}


def price_of(model: str, given: str) -> Price:
    """What was given as `input,output`, or what we know. Raises InputError."""
    if not given:
        if model in PRICES:
            return PRICES[model]
        raise InputError(
            f"nobody knows what the model {model[:80]} costs",
            expected=f"one of {', '.join(PRICES)}, or its price",
            advice="Set COX_MODEL_PRICE to dollars for a million tokens of input,output: 3,15.",
        )
    try:
        price = Price(*(float(part) for part in given.split(",")))
    except (TypeError, ValueError):
        price = Price(-1.0, -1.0)
    if not (0 <= price.input < PER and 0 <= price.output < PER):
        raise InputError(
            "COX_MODEL_PRICE is not valid",
            expected="dollars for a million tokens of input,output, such as 3,15",
            got=repr(given)[:80],
        )
    return price


class Meter:
    """What one optimization's answers have cost so far. The budget is a hard stop."""

    def __init__(self, price: Price, most_tokens: int, most_dollars: float) -> None:
        self._price = price
        self._most_tokens = most_tokens
        self._most_dollars = most_dollars
        self._tokens = 0
        self._dollars = 0.0
        self._wall_s = 0.0

    @property
    def cost(self) -> Cost:
        """Wall seconds are those that the model was waited for."""
        return Cost(wall_s=self._wall_s, tokens=self._tokens, dollars=self._dollars)

    def since(self, before: Cost) -> Cost:
        """What has been added to an earlier `cost`."""
        now = self.cost
        return Cost(
            wall_s=now.wall_s - before.wall_s,
            tokens=now.tokens - before.tokens,
            dollars=now.dollars - before.dollars,
        )

    def check(self, request_bytes: int, most_output: int) -> None:
        """Whether one more answer can be paid for, however it turns out. Raises PlanError.

        No token is shorter than a byte, and all may have to be written to the cache.
        """
        most = Usage(cache_written=request_bytes, output=most_output)
        tokens = self._tokens + most.input + most.output
        dollars = self._dollars + self._price.of(most)
        if tokens > self._most_tokens or dollars > self._most_dollars:
            raise PlanError(
                "the model's budget for this optimization is used up",
                expected=f"at most {self._most_tokens} tokens and ${self._most_dollars:.2f}",
                got=f"{self._tokens} tokens and ${self._dollars:.4f} so far, and the next answer"
                f" may take it to {tokens} and ${dollars:.4f}",
            )

    def add(self, usage: Usage, seconds: float) -> None:
        """One answer came."""
        self._tokens += usage.input + usage.output
        self._dollars += self._price.of(usage)
        self._wall_s += seconds
