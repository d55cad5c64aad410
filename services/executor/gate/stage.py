"""What a stage of the gate is: a question about the work in hand, answered with a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from shared.messages import Reason
from shared.plain import plain

if TYPE_CHECKING:
    from services.executor.gate.workshop import Workshop
    from shared.policies import Manifest

Complaint = tuple[str, str, int]
"""Rule, text, and the line (of source) or slot (of code) it is about."""

MAX_REASONS = 20
MAX_REASON_LEN = 300


@dataclass(kw_only=True)
class Work:
    """What the stages work on, and what earlier ones have made of it."""

    manifest: Manifest
    source: str
    workshop: Workshop
    hooks: bytes = b""
    """The hooks' own object, by the compile stage; what is proven is proven about these bytes."""
    object: bytes = b""
    """Frame and hooks in one, by the link stage."""


@dataclass(kw_only=True)
class Finding:
    """What a stage found out: no reasons means yes."""

    reasons: list[Reason] = field(default_factory=list)
    evidence: dict[str, float] = field(default_factory=dict)


class Stage(Protocol):
    """One question; `name` is what a rejection and a span call it."""

    name: str

    def __call__(self, work: Work) -> Finding:
        """Answer, and leave what later stages need in `work`. Raises only MachineError."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A stage's answer, with what it cost."""

    stage: str
    passed: bool
    reasons: list[Reason] = []
    evidence: dict[str, float] = {}
    seconds: float = 0.0


def reason(stage: str, rule: str, text: str, line: int = 0) -> Reason:
    """A reason as plain text, trimmed: compilers quote source, which is an author's own text."""
    return Reason(
        stage=stage, rule=rule, text=plain(" ".join(text.split()), MAX_REASON_LEN), line=line
    )
