"""An answer as it is streamed, event by event: pure, and strict about what makes it whole.

Events are those of the Messages API (message_start to message_stop); of kinds that are new to us
nothing is taken. What a tool is called with is read when its block ends, never before: half of
it may be well formed and mean something else.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from services.planner.minds.llm.meter import Usage
from shared.plain import plain

MOST_TOKENS: Final = 10**8
"""No answer has more; a number beyond is no number of tokens."""
MOST_BLOCKS: Final = 256

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


class _Counts(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Begun(msgspec.Struct, frozen=True):
    usage: _Counts
    model: str = ""


class _Ending(msgspec.Struct, frozen=True):
    stop_reason: str | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str
    message: _Begun | None = None
    index: int = 0
    content_block: Block | None = None
    delta: dict[str, Any] | None = None
    usage: _Counts | None = None


class Heard:
    """What has come of one answer so far."""

    def __init__(self) -> None:
        self.usage = Usage()
        """What it has cost so far, as far as that was told."""
        self._begun: _Begun | None = None
        self._blocks: list[Block] = []
        self._written: list[str] | None = None
        """Of the block that is open; None between blocks."""
        self._stop_reason = ""
        self._ended = False

    def take(self, event: dict[str, Any]) -> None:
        """One event more. Raises ValueError for one that cannot be, or not now."""
        told = msgspec.convert(event, _Event)
        match told.type:
            case "message_start":
                self._begin(told)
            case "content_block_start":
                self._start_block(told)
            case "content_block_delta":
                self._write(told)
            case "content_block_stop":
                self._stop_block(told)
            case "message_delta":
                self._near_end(told)
            case "message_stop":
                self._end(told)

    def answer(self) -> Answer:
        """All of it. Raises ValueError if it has not come to its end."""
        if self._begun is None or not self._ended:
            raise ValueError("it broke off before its end")
        return Answer(
            model=plain(self._begun.model, 100),
            stop_reason=plain(self._stop_reason, 40),
            content=self._blocks,
            calls=[
                msgspec.convert(block, ToolUse)
                for block in self._blocks
                if block.get("type") == "tool_use"
            ],
            usage=self.usage,
        )

    def _begin(self, told: _Event) -> None:
        if self._begun is not None or told.message is None:
            raise ValueError("a message that begins twice, or with nothing")
        if told.message.usage.input_tokens is None:
            raise ValueError("nobody says what it was charged for")
        self._begun = told.message
        self._count(told.message.usage)

    def _start_block(self, told: _Event) -> None:
        self._check_begun(told)
        if (
            self._written is not None
            or told.content_block is None
            or told.index != len(self._blocks)
        ):
            raise ValueError("a block out of turn")
        if told.index >= MOST_BLOCKS:
            raise ValueError(f"more than {MOST_BLOCKS} blocks")
        self._blocks.append(dict(told.content_block))
        self._written = []

    def _write(self, told: _Event) -> None:
        written = self._opened(told)
        delta = told.delta or {}
        match delta.get("type"):
            case "text_delta":
                written.append(msgspec.convert(delta.get("text"), str))
            case "input_json_delta":
                written.append(msgspec.convert(delta.get("partial_json"), str))

    def _stop_block(self, told: _Event) -> None:
        written = "".join(self._opened(told))
        block, self._written = self._blocks[-1], None
        if block.get("type") == "text":
            block["text"] = msgspec.convert(block.get("text", ""), str) + written
        elif block.get("type") == "tool_use" and written:
            block["input"] = msgspec.json.decode(written, type=dict[str, Any])

    def _check_begun(self, told: _Event) -> None:
        if self._begun is None or self._ended:
            raise ValueError(f"{told.type} outside of a message")

    def _opened(self, told: _Event) -> list[str]:
        self._check_begun(told)
        if self._written is None or told.index != len(self._blocks) - 1:
            raise ValueError(f"{told.type} of no open block")
        return self._written

    def _near_end(self, told: _Event) -> None:
        self._check_begun(told)
        self._stop_reason = msgspec.convert(told.delta or {}, _Ending).stop_reason or ""
        if told.usage is not None:
            self._count(told.usage)

    def _end(self, told: _Event) -> None:
        self._check_begun(told)
        if self._written is not None:
            raise ValueError("it ended within a block")
        self._ended = True

    def _count(self, counts: _Counts) -> None:
        """What is told counts from the answer's beginning; what is not told stays."""
        known = self.usage
        found = Usage(
            fresh=_told(counts.input_tokens, known.fresh),
            cache_written=_told(counts.cache_creation_input_tokens, known.cache_written),
            cache_read=_told(counts.cache_read_input_tokens, known.cache_read),
            output=_told(counts.output_tokens, known.output),
        )
        if not all(0 <= count <= MOST_TOKENS for count in msgspec.structs.astuple(found)):
            raise ValueError(f"tokens that cannot be: {found}")
        self.usage = found


def _told(now: int | None, before: int) -> int:
    return before if now is None else now
