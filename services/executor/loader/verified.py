"""What verifying a program has cost the kernel, read from its verifier's closing lines.

    verification time 1234 usec
    stack depth 64+0                  (on kernel 7.3: stack depth max 64)
    processed 321 insns (limit 1000000) max_states_per_insn 4 total_states 20 peak_states 18

Which of them there are differs from kernel to kernel: what it does not say is not known.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

MOST_INSTRUCTIONS: Final = 1_000_000
"""Where the verifier gives up (BPF_COMPLEXITY_LIMIT_INSNS)."""

_FIGURES: Final = {
    "instructions": re.compile(r"^processed (\d{1,18}) insns", re.MULTILINE),
    "states": re.compile(r"\btotal_states (\d{1,18})\b"),
    "peak_states": re.compile(r"\bpeak_states (\d{1,18})\b"),
    "time_us": re.compile(r"^verification time (\d{1,18}) usec", re.MULTILINE),
}
_STACK: Final = re.compile(r"^stack depth (?:max )?(\d{1,6}(?:\+\d{1,6})*)", re.MULTILINE)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Of one program: instructions that were looked at, and states that were kept for it.

    An instruction counts as often as the verifier came by. `stack_bytes` is what functions that
    call each other need at once, or on kernels that only tell each function's, the largest of it.
    """

    instructions: int | None = None
    states: int | None = None
    peak_states: int | None = None
    stack_bytes: int | None = None
    time_us: int | None = None


def verified(log: str) -> Verified:
    """Read a log that was asked for with statistics (BPF_LOG_STATS)."""
    figures = {name: _last(pattern, log) for name, pattern in _FIGURES.items()}
    frames = _STACK.findall(log)
    deepest = max(map(int, frames[-1].split("+"))) if frames else None
    return Verified(stack_bytes=deepest, **figures)


def _last(pattern: re.Pattern[str], log: str) -> int | None:
    found = pattern.findall(log)
    return int(found[-1]) if found else None
