"""Where time and money went: phases by their events, pairs by theirs, a model's calls by spans."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from cli.explaining.model import ModelUse, PhaseSpent, Rounds, Spent
from shared import attributes as names
from shared.messages import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.explaining.known import Known
    from shared.telemetry.records import SpanRecord


def spent(known: Known) -> Spent:
    """All of it, or what was spent so far."""
    phases = _phases(known)
    return Spent(
        seconds=_seconds(known),
        phases=phases,
        rounds=_rounds(known, phases),
        stages=known.record.costs,
        model=_model(known),
    )


def _seconds(known: Known) -> float:
    record = known.record
    end_unix_ns = record.ended_unix_ns if record.over else known.now_unix_ns
    return max(0.0, (end_unix_ns - record.created_unix_ns) / 1e9)


def _phases(known: Known) -> list[PhaseSpent]:
    """Time between the events that say where a phase begins, by the stream's own clock."""
    life = known.life
    accepted = [fact.unix_ns for fact in life.facts if fact.message is life.accepted]
    if not accepted or not accepted[0]:
        return []
    end_unix_ns = life.ended_unix_ns or (0 if known.record.over else known.now_unix_ns)
    if not end_unix_ns:
        return []
    begins = [("queued", accepted[0]), *life.phases, ("", end_unix_ns)]
    took: dict[str, int] = {}
    for (phase, since), (_, until) in itertools.pairwise(begins):
        took[phase] = took.get(phase, 0) + max(0, until - since)
    whole = max(1, sum(took.values()))
    return [
        PhaseSpent(phase=phase, seconds=ns / 1e9, share=ns / whole) for phase, ns in took.items()
    ]


def _rounds(known: Known, phases: Sequence[PhaseSpent]) -> Rounds:
    pairs = [each for trial in known.report.trials for each in trial.rounds]
    seconds = math.fsum(each.seconds for each in pairs)
    trying = next((each.seconds for each in phases if each.phase == "trying"), None)
    return Rounds(
        pairs=len(pairs),
        seconds=seconds,
        waiting_s=max(0.0, trying - seconds) if trying is not None else None,
    )


def _model(known: Known) -> ModelUse | None:
    charged = known.record.costs.get("plan", Cost())
    if known.record.plan is not None and not charged.tokens:
        charged = known.record.plan.cost
    calls = spans_of(known, "chat")
    if not calls and not charged.tokens and not charged.dollars:
        return None
    told = bool(calls)
    return ModelUse(
        models=sorted({str(_model_of(span)) for span in calls if _model_of(span)}),
        calls=len(calls) if told else None,
        seconds=math.fsum(span.duration_ns / 1e9 for span in calls) if told else None,
        input_tokens=_sum(calls, names.GEN_AI_INPUT_TOKENS) if told else None,
        output_tokens=_sum(calls, names.GEN_AI_OUTPUT_TOKENS) if told else None,
        tokens=charged.tokens,
        dollars=charged.dollars,
    )


def _model_of(span: SpanRecord) -> object:
    asked = span.attributes.get(names.GEN_AI_REQUEST_MODEL)
    return span.attributes.get(names.GEN_AI_RESPONSE_MODEL, asked)


def _sum(spans: Sequence[SpanRecord], attribute: str) -> int:
    found = (span.attributes.get(attribute) for span in spans)
    return sum(value for value in found if isinstance(value, int))


def spans_of(known: Known, name: str) -> list[SpanRecord]:
    """This optimization's spans of a kind, by time: its trace may be that of several."""
    if known.trace is None:
        return []
    spans = {span.span_id: span for span in known.trace.spans}
    return [
        span
        for span in known.trace.spans
        if span.name.split(" ", 1)[0] == name and _owner(span, spans) in {"", known.record.id}
    ]


def _owner(span: SpanRecord, spans: dict[str, SpanRecord]) -> str:
    """The optimization that a span, or the nearest one around it, names; empty if none does."""
    seen: set[str] = set()
    at: SpanRecord | None = span
    while at is not None and at.span_id not in seen:
        owner = at.attributes.get(names.OPTIMIZATION_ID)
        if isinstance(owner, str) and owner:
            return owner
        seen.add(at.span_id)
        at = spans.get(at.parent_id)
    return ""
