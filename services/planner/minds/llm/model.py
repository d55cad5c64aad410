"""A model behind the Messages API, through Anthropic's SDK: one answer at a time, metered.

Answers are streamed: what one has cost is known from its beginning on, and is charged even if it
breaks off. Nothing that comes is believed: it is read into types of ours (`stream.py`), and
whatever goes wrong on the way becomes a PlanError. The SDK tries twice more by itself where that
may help (429, 5xx, no connection), before an answer has begun; nobody else does. Its own spans
are off: ours say the same.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import anthropic

from services.planner.minds.llm.bounded import bounded_client
from services.planner.minds.llm.stream import Heard
from shared.errors import PlanError
from shared.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.planner.minds.llm.meter import Meter
    from services.planner.minds.llm.stream import Answer, Block

MOST_OUTPUT: Final = 4096
"""Tokens of one answer: a proposal has some 500, hooks with a thought before them some 2,000."""
RETRIES: Final = 2
QUOTED_CHARS: Final = 300
"""Of what a server says of an error."""


class Model:
    """One model, with one key. `close` it in the end."""

    def __init__(self, name: str, key: str, base_url: str = "") -> None:
        self.name = name
        self._key = key
        self._client = anthropic.AsyncAnthropic(
            api_key=key,
            base_url=base_url or None,
            max_retries=RETRIES,
            open_telemetry=False,
            http_client=bounded_client(),
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
        heard = Heard()
        try:
            async with asyncio.timeout(within_s):
                await self._hear(request, within_s, heard)
            return heard.answer()
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
        finally:
            meter.add(heard.usage, time.monotonic() - began)

    async def _hear(self, request: Any, within_s: float, heard: Heard) -> None:
        async with await self._client.messages.create(
            **request, stream=True, timeout=within_s
        ) as events:
            async for event in events:
                heard.take(event.to_dict(mode="json"))

    def _refused(self, error: anthropic.APIStatusError) -> PlanError:
        advice = ""
        if error.status_code in {401, 403}:
            advice = "Look at ANTHROPIC_API_KEY."
        elif error.status_code == 404:
            advice = "Look at COX_MODEL and ANTHROPIC_BASE_URL."
        # An error in the middle of a stream has no status of its own.
        told = f"HTTP {error.status_code}" if error.status_code >= 400 else "in mid-answer"
        return PlanError(
            f"the model {self.name} gave no answer",
            expected="a message of the Messages API",
            got=f"{told}: {self._quoted(error)}",
            advice=advice,
        )

    def _quoted(self, error: BaseException) -> str:
        """What it says. A server may send back what it was sent: never our key."""
        text = f"{type(error).__name__}: {error}"
        return plain(text.replace(self._key, "[the key]"), QUOTED_CHARS)
