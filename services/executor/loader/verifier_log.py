"""The kernel verifier's log, cut to what somebody can read: how it began and where it failed."""

from __future__ import annotations

from shared.plain import plain

_HEAD_LINES = 12
_TAIL_LINES = 48
_LINE_CHARS = 240

# Kernels from 7.3 on explain the failure at length; the path that led there repeats the log.
_PATH_BEGINS, _PATH_ENDS = "Causal path:", ("Suggestion:", "processed ")


def trim(log: str, *, head: int = _HEAD_LINES, tail: int = _TAIL_LINES) -> str:
    """The first `head` and last `tail` lines, long lines cut, with a note of what is left out.

    The reason stands at the end; the head names the function. Every line becomes plain: the log
    quotes source lines, which are a policy author's own text.
    """
    # The kernel ends its lines with \n; whatever else ends one stands in somebody's source.
    lines = [_clean(line) for line in _without_path(log.split("\n")) if line.strip()]
    if len(lines) <= head + tail + 1:
        return "\n".join(lines)
    left_out = len(lines) - head - tail
    return "\n".join([*lines[:head], f"… {left_out} lines left out …", *lines[-tail:]])


def _without_path(lines: list[str]) -> list[str]:
    if _PATH_BEGINS not in lines:
        return lines
    begin = lines.index(_PATH_BEGINS)
    ends = (i for i, line in enumerate(lines) if i > begin and line.startswith(_PATH_ENDS))
    return lines[:begin] + lines[next(ends, len(lines)) :]


def _clean(line: str) -> str:
    return plain(line.rstrip(), _LINE_CHARS, keep="\t")
