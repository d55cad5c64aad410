"""A conversation as it is kept: what was asked, every request, and every answer to it. Pure.

A request repeats all that was said before. So what is the same in all of them (`common`) stands
once, and each turn has the messages that are new in it; marks for the prompt cache, which wander,
are left out. From these the whole request is put together again, and compared with another one.
No header is kept, and no key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import field

from services.planner.minds import Question
from shared.errors import InputError, Problem
from shared.messages import Checked, CheckRequest, Made, Plan
from shared.policies import Catalogue

COMMON: Final = ("model", "max_tokens", "stream", "system", "tools")
HIDDEN: Final = "[the key]"
STREAM: Final = "text/event-stream"
MOST_SAID: Final = 5
"""Differences that are told of one request."""
EXCERPT: Final = 60

Json = dict[str, Any]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Hooks that the model had checked, and what the gate said."""

    asked: CheckRequest
    said: Checked


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request, and the answer to it."""

    sha256: str
    """Of the whole request, without marks for the cache."""
    added: list[Json]
    """Messages that the request before did not have; all, where it is no continuation of it."""
    continues: bool = True
    rest: Json = field(default_factory=dict)
    """What else is in it: how it may answer."""
    status: int = 200
    events: list[Json] = field(default_factory=list)
    """The answer, as it is streamed."""
    text: str = ""
    """The answer's body, where it is no whole stream of events: an error, half a message."""
    kind: str = STREAM
    seconds: float = 0.0
    """How long it was waited for."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """The file."""

    v: int = 1
    workload: str
    model: str
    price: tuple[float, float]
    """Dollars for a million tokens of input and of output."""
    prompt_sha256: str
    question: Json
    """All of it but the policies that ship."""
    made: list[Made] = field(default_factory=list)
    """Policies in it that do not ship."""
    common: Json
    turns: list[Turn]
    checks: list[Check] = field(default_factory=list)
    plan: Plan | None = None
    """What came of it,"""
    problem: Problem | None = None
    """or why nothing did."""

    def requests(self) -> Iterator[Json]:
        """Every request as it was made, put together again."""
        messages: list[Json] = []
        for turn in self.turns:
            messages = [*(messages if turn.continues else []), *turn.added]
            yield {**self.common, **turn.rest, "messages": messages}


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """What went over the wire."""

    request: Json
    status: int
    kind: str
    """The answer's content type."""
    body: bytes
    seconds: float = 0.0


def kept_question(question: Question) -> tuple[Json, list[Made]]:
    """A question as JSON, and the policies in it that do not ship."""
    told = {
        name: msgspec.to_builtins(getattr(question, name))
        for name in question.__struct_fields__
        if name != "policies"
    }
    made = [each.made for each in question.policies.values() if each.made is not None]
    return told, made


def question_of(conversation: Conversation, policies: Catalogue) -> Question:
    """The question that was asked then, with the policies that ship now. Raises InputError."""
    types = {each.name: each.type for each in msgspec.structs.fields(Question)}
    try:
        return Question(
            policies=policies.joined([policies.make(made) for made in conversation.made]),
            **{
                name: msgspec.convert(value, types[name])
                for name, value in conversation.question.items()
                if name in types
            },
        )
    except (msgspec.ValidationError, TypeError) as error:
        raise InputError(
            f"the conversation about {conversation.workload} asks what nobody asks any more",
            expected="a question as they are now",
            got=str(error)[:200],
            advice="Record it anew.",
        ) from error


def turns_of(exchanges: Sequence[Exchange]) -> tuple[Json, list[Turn]]:
    """What all requests have in common, and each one's own."""
    common: Json = {}
    turns: list[Turn] = []
    before: list[Json] = []
    for exchange in exchanges:
        request = unmarked(exchange.request)
        if not turns:
            common = {name: request[name] for name in COMMON if name in request}
        messages = request["messages"]
        continues = messages[: len(before)] == before
        rest = {
            name: value
            for name, value in request.items()
            if name != "messages" and (name not in common or common[name] != value)
        }
        events = _events(exchange)
        turns.append(
            Turn(
                sha256=digest(request),
                added=messages[len(before) :] if continues else messages,
                continues=continues,
                rest=rest,
                status=exchange.status,
                events=events,
                text="" if events else exchange.body.decode(errors="replace"),
                kind=exchange.kind,
                seconds=round(exchange.seconds, 2),
            )
        )
        before = messages
    return common, turns


def answer_of(turn: Turn) -> bytes:
    """An answer's body, as it goes over the wire."""
    if not turn.events:
        return turn.text.encode()
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (str(each.get("type", "")).encode(), json.dumps(each).encode())
        for each in turn.events
    )


def unmarked(request: Json) -> Json:
    """A request without marks for the prompt cache."""
    if not isinstance(request, dict):
        return request
    return {name: _unmarked(value) for name, value in request.items() if name != "cache_control"}


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmarked(each) for each in value]
    return unmarked(value) if isinstance(value, dict) else value


def digest(request: Json) -> str:
    """Of a request that has no marks."""
    return hashlib.sha256(msgspec.json.encode(request, order="deterministic")).hexdigest()


def differences(then: Any, now: Any, where: str = "") -> list[str]:
    """Where two requests differ: paths, each with what was there and what is."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        found = []
        for name in [*then, *(name for name in now if name not in then)]:
            path = f"{where}.{name}" if where else str(name)
            if name not in then or name not in now:
                found.append(f"{path} is {'new' if name not in then else 'gone'}")
            else:
                found += differences(then[name], now[name], path)
        return found
    if isinstance(then, list) and isinstance(now, list):
        found = [
            difference
            for place, (first, second) in enumerate(zip(then, now, strict=False))
            for difference in differences(first, second, f"{where}[{place}]")
        ]
        if len(then) != len(now):
            found.append(f"{where} has {len(now)} parts, not {len(then)}")
        return found
    return [] if then == now else [f"{where}: {_apart(then, now)}"]


def _apart(then: Any, now: Any) -> str:
    """Two texts from where they part."""
    first, second = str(then), str(now)
    same = next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    begin = max(0, same - EXCERPT // 3)
    return f"{first[begin : begin + EXCERPT]!r} is now {second[begin : begin + EXCERPT]!r}"


def hidden(conversation: Conversation, secret: str) -> Conversation:
    """The same without the key, wherever somebody may have repeated it."""
    if not secret:
        return conversation
    text = msgspec.json.encode(conversation).decode()
    for form in {secret, json.dumps(secret)[1:-1]}:
        text = text.replace(form, HIDDEN)
    return msgspec.json.decode(text, type=Conversation)


def save(conversation: Conversation, path: Path) -> None:
    """Write a file that people can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(conversation), indent=1) + b"\n")


def load(path: Path) -> Conversation:
    """Read one. Raises InputError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Conversation)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(
            f"{path} is no conversation",
            expected="what `cox bench minds --record` has written",
            got=str(error)[:200],
        ) from error


def _events(exchange: Exchange) -> list[Json]:
    """The answer's events; none where it is no whole stream of them."""
    if exchange.status != 200 or not exchange.kind.startswith(STREAM):
        return []
    found: list[Json] = []
    for block in exchange.body.decode(errors="replace").replace("\r\n", "\n").split("\n\n"):
        data = [line[5:].strip() for line in block.split("\n") if line.startswith("data:")]
        if not data:
            continue
        try:
            event = json.loads("\n".join(data))
        except ValueError:
            return []
        if not isinstance(event, dict):
            return []
        found.append(event)
    whole = bool(found) and found[-1].get("type") == "message_stop"
    return found if whole else []
