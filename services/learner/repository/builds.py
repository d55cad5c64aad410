"""What the gate tells of its builds: what can be true of it, and what is kept."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import msgspec

from shared.errors import Problem
from shared.messages import Built, Cost, Reason
from shared.outcomes import CLOCKS_NS, MOST_CHARS, REASON_CHARS, REASONS
from shared.plain import is_plain, plain, texts
from shared.policies import made_name

if TYPE_CHECKING:
    from shared.messages import Artifact

MOST_EVIDENCE = 64
"""Figures that a gate proves of one object."""


def unsound_build(built: Built, now_unix_ns: int) -> str:
    """Why no gate of ours can have told this; empty if one can."""
    if not 0 <= built.unix_ns <= now_unix_ns + CLOCKS_NS:
        return "it comes from the future"
    if not _named(built.optimization):
        return "its optimization's name is too long, or hides something"
    if built.made is not None and made_name(built.made) != built.policy:
        return "hooks that were made go under another name"
    return _unsound_artifact(built.artifact, built.policy) if built.artifact is not None else ""


def kept_build(built: Built) -> Built:
    """The event with its texts plain and short, and without its cost."""
    reasons = [
        Reason(
            stage=plain(each.stage, MOST_CHARS),
            rule=plain(each.rule, MOST_CHARS),
            text=plain(each.text, REASON_CHARS),
            line=each.line,
        )
        for each in built.reasons[:REASONS]
    ]
    problem = None
    if built.problem is not None:
        said = msgspec.structs.asdict(built.problem)
        problem = Problem(**{name: plain(text, REASON_CHARS) for name, text in said.items()})
    return msgspec.structs.replace(built, reasons=reasons, problem=problem, cost=Cost())


def identity(built: Built) -> str:
    """What was built for whom, but for when: a gate that resumes may tell it again."""
    content = msgspec.structs.replace(built, unix_ns=0, cost=Cost())
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def _unsound_artifact(artifact: Artifact, policy: str) -> str:
    if artifact.policy != policy:
        return "its artifact is of another policy"
    if artifact.size_bytes < 0 or len(artifact.evidence) > MOST_EVIDENCE:
        return f"{artifact.size_bytes} bytes, {len(artifact.evidence)} figures"
    if not all(map(math.isfinite, artifact.evidence.values())):
        return "a figure is no number"
    if not all(map(_named, texts(msgspec.to_builtins(artifact)))):
        return "a name is too long, or hides something"
    return ""


def _named(text: str) -> bool:
    return len(text) <= MOST_CHARS and is_plain(text)
