"""Objects are read in the jail: whoever made one, what it does to its reader stays there.

The gate gets an answer of bounded size: reasons, evidence, bytes. It believes none of it further
than that: texts are made plain, names and numbers looked at. What a reader that was taken over
could do is to say yes.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from services.executor.gate.jail import Jail
from services.executor.gate.stage import MAX_REASONS, Finding, reason
from shared.messages import Reason
from shared.policies import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

_JAIL: Final = Jail(Path(__file__).with_name("read_objects.py"), inside=True)
_QUESTION, _ANSWER = "question", "answer"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MOST_EVIDENCE: Final = 64

Verb = Literal["prove", "compare"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be read: for `prove` the hooks, for `compare` all three."""

    verb: Verb
    manifest: Manifest
    objects: dict[str, bytes]


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found, and for `compare` the finished object."""

    reasons: list[Reason]
    evidence: dict[str, float]
    object: bytes = b""


def ask(
    stage: str, verb: Verb, manifest: Manifest, objects: Mapping[str, bytes]
) -> tuple[Finding, bytes]:
    """Have them read. A reader that has no answer is a reason. Raises MachineError without jail."""
    question = Question(verb=verb, manifest=manifest, objects=dict(objects))
    files = {_QUESTION: msgspec.msgpack.encode(question)}
    ended = _JAIL.run([_QUESTION, _ANSWER], files, makes=_ANSWER)
    if ended.how:
        return _unread(stage, f"its reader {ended.how}")
    try:
        return believed(stage, ended.output)
    except ValueError as error:  # of msgspec's, too
        return _unread(stage, f"its reader gave no answer: {error}")


def believed(stage: str, data: bytes) -> tuple[Finding, bytes]:
    """A reader's answer, if it can be one. Raises ValueError."""
    answer = msgspec.msgpack.decode(data, type=Answer)
    if len(answer.evidence) > _MOST_EVIDENCE or not all(
        _NAME.fullmatch(name) and math.isfinite(value) for name, value in answer.evidence.items()
    ):
        raise ValueError("evidence that is none")
    reasons = [
        reason(stage, each.rule, each.text, each.line) for each in answer.reasons[:MAX_REASONS]
    ]
    return Finding(reasons=reasons, evidence=answer.evidence), answer.object


def _unread(stage: str, why: str) -> tuple[Finding, bytes]:
    return Finding(reasons=[reason(stage, "object", f"not what clang makes of hooks: {why}")]), b""
