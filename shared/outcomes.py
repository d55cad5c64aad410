"""Whether an outcome can be what it says: looked at wherever one is taken from the bus.

The memory is a stream of events, and who can write into it may tell anything. What no judge
would ever say is refused; what could be true counts little by itself (`services/learner/memory.py`)
and is tried anew before anything comes of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from shared.plain import is_plain, plain, texts

if TYPE_CHECKING:
    from shared.messages import Outcome, Remembered

EXACT_LIMIT: Final = 20
NEAR_LIMIT: Final = 10
"""Outcomes of a recollection: under the same fingerprint, and under similar ones."""

MADE_LIMIT: Final = 8
"""Sources of a recollection: a message holds 512 KiB, hooks have 8 KiB at the most."""

CALIBRATION_LIMIT: Final = 32
"""Rows of a recollection, of one class: minds times ways to come to a candidate."""

FURTHEST_RATIO: Final = 1e6
"""The judge cuts ratios to this and its inverse (`services/learner/question.py`)."""

MOST_PAIRS: Final = 1000
"""The largest budget."""

MOST_FEATURES: Final = 256
MOST_PARAMETERS: Final = 64
MOST_CHARS: Final = 200
"""Of a name, a version, a part of a fingerprint."""

REASONS, REASON_CHARS = 16, 500
"""What is kept of an outcome's reasons."""

CLOCKS_NS: Final = 3_600_000_000_000
"""How far ahead another planner's clock may be."""


def sound(event: Remembered, now_unix_ns: int) -> tuple[list[Outcome], list[str]]:
    """What of an event can be true, as it is kept; and why the rest was refused."""
    outcomes, refused = [], []
    for told in event.outcomes:
        why = unsound(told, now_unix_ns)
        if not why and told.optimization != event.optimization:
            why = f"it is of {told.optimization}"
        if why:
            refused.append(why)
        else:
            outcomes.append(kept(told))
    return outcomes, refused


def unsound(outcome: Outcome, now_unix_ns: int) -> str:
    """Why no trial of ours can have had this outcome; empty if one can."""
    ratios = (outcome.low, outcome.ratio, outcome.high)
    if not all(1 / FURTHEST_RATIO <= each <= FURTHEST_RATIO for each in ratios):
        return f"a ratio is beyond {FURTHEST_RATIO:g} or its inverse: {ratios}"
    if not outcome.low <= outcome.ratio <= outcome.high:
        return f"a ratio is outside its own interval: {ratios}"
    predicted = outcome.predicted_low, outcome.predicted_high
    if any(predicted) and not (
        1 / FURTHEST_RATIO <= outcome.predicted_low <= outcome.predicted_high <= FURTHEST_RATIO
        and outcome.predicted_low <= outcome.predicted_ratio <= outcome.predicted_high
    ):
        return f"a prediction is none: {outcome.predicted_ratio} in {predicted}"
    if not 0 <= outcome.pairs <= MOST_PAIRS:
        return f"{outcome.pairs} pairs"
    if not 0 <= outcome.unix_ns <= now_unix_ns + CLOCKS_NS:
        return "it comes from the future"
    if len(outcome.features) > MOST_FEATURES or len(outcome.parameters) > MOST_PARAMETERS:
        return f"{len(outcome.features)} features, {len(outcome.parameters)} parameters"
    if not all(map(math.isfinite, outcome.features.values())):
        return "a feature is no number"
    named = msgspec.to_builtins(msgspec.structs.replace(outcome, reasons=[]))
    if not all(len(text) <= MOST_CHARS and is_plain(text) for text in texts(named)):
        return "a name is too long, or hides something"
    return ""


def kept(outcome: Outcome) -> Outcome:
    """The outcome with its reasons as plain text, and no more of them than somebody reads."""
    reasons = [plain(each, REASON_CHARS) for each in outcome.reasons[:REASONS]]
    return msgspec.structs.replace(outcome, reasons=reasons)
