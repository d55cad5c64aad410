"""A model behind the Messages API, through Anthropic's SDK: one answer at a time, metered.

Nothing that it sends is believed: an answer is read into types of ours, and whatever goes wrong
on the way becomes a PlanError. The SDK tries twice more by itself where that may help (429, 5xx,
a connection that broke); nobody else does. Its own spans are off: ours say the same.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import anthropic
import msgspec

from services.planner.minds.llm.meter import Usage
from shared.errors import PlanError
from shared.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.planner.minds.llm.meter import Meter

MOST_OUTPUT: Final = 2048
"""Tokens of one answer: a proposal has some 500."""
MOST_TOKENS: Final = 10**8
"""No answer has more; a number beyond is no number of tokens."""
RETRIES: Final = 2
QUOTED_CHARS: Final = 300
"""Of what a server says of an error."""

Block = dict[str, Any]
"""A piece of a message, as the Messages API has it."""


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model calls."""

    id: str
    name: str
    input: dict[str, Any]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model said."""

    model: str
    stop_reason: str
    content: list[Block]
    """To be sent back as it came."""
    calls: list[ToolUse]
    usage: Usage


class Model:
    """One model, with one key. `close` it in the end."""

    def __init__(self, name: str, key: str, base_url: str = "") -> None:
        self.name = name
        self._key = key
        self._client = anthropic.AsyncAnthropic(
            api_key=key, base_url=base_url or None, max_retries=RETRIES, open_telemetry=False
        )

    async def close(self) -> None:
        """End its connections."""
        await self._client.close()

    async def answer(
        self,
        *,
        system: Sequence[Block],
        tools: Sequence[Block],
        messages: Sequence[Block],
        choice: Block,
        meter: Meter,
        within_s: float,
    ) -> Answer:
        """The next message. Raises PlanError: too dear, too late, refused, or not readable."""
        request: Any = {
            "model": self.name,
            "max_tokens": MOST_OUTPUT,
            "system": list(system),
            "tools": list(tools),
            "messages": list(messages),
            "tool_choice": choice,
        }
        meter.check(len(json.dumps(request)), MOST_OUTPUT)
        began = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                message = await self._client.messages.create(**request, timeout=within_s)
            answer = _read(message)
        except (TimeoutError, anthropic.APITimeoutError) as error:
            raise PlanError(
                f"the model {self.name} did not answer in time", expected=f"within {within_s:.0f} s"
            ) from error
        except anthropic.APIStatusError as error:
            raise self._refused(error) from error
        except anthropic.APIConnectionError as error:
            raise PlanError(
                f"the model {self.name} cannot be reached",
                expected=f"the Messages API at {self._client.base_url.host}",
                got=self._quoted(error.__cause__ or error),
            ) from error
        except Exception as error:
            raise PlanError(
                f"the answer of the model {self.name} cannot be read",
                expected="a message of the Messages API",
                got=self._quoted(error),
            ) from error
        meter.add(answer.usage, time.monotonic() - began)
        return answer

    def _refused(self, error: anthropic.APIStatusError) -> PlanError:
        advice = ""
        if error.status_code in {401, 403}:
            advice = "Look at ANTHROPIC_API_KEY."
        elif error.status_code == 404:
            advice = "Look at COX_MODEL and ANTHROPIC_BASE_URL."
        return PlanError(
            f"the model {self.name} gave no answer",
            expected="a message of the Messages API",
            got=f"HTTP {error.status_code}: {self._quoted(error)}",
            advice=advice,
        )

    def _quoted(self, error: BaseException) -> str:
        """What it says. A server may send back what it was sent: never our key."""
        text = f"{type(error).__name__}: {error}"
        return plain(text.replace(self._key, "[the key]"), QUOTED_CHARS)


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Message(msgspec.Struct, frozen=True):
    content: list[Block]
    usage: _Usage
    model: str = ""
    stop_reason: str | None = None


def _read(message: object) -> Answer:
    """The SDK does not check what it was sent; we do. Raises whatever is wrong."""
    if not isinstance(message, anthropic.types.Message):
        raise TypeError(f"no message, but {type(message).__name__}")
    told = msgspec.convert(message.to_dict(mode="json"), _Message)
    tokens = [
        told.usage.input_tokens,
        told.usage.cache_creation_input_tokens or 0,
        told.usage.cache_read_input_tokens or 0,
        told.usage.output_tokens,
    ]
    if not all(0 <= count <= MOST_TOKENS for count in tokens):
        raise ValueError(f"tokens that cannot be: {tokens}")
    return Answer(
        model=plain(told.model, 100),
        stop_reason=plain(told.stop_reason or "", 40),
        content=told.content,
        calls=[
            msgspec.convert(block, ToolUse)
            for block in told.content
            if block.get("type") == "tool_use"
        ],
        usage=Usage(
            fresh=tokens[0], cache_written=tokens[1], cache_read=tokens[2], output=tokens[3]
        ),
    )
