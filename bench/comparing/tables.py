"""A comparison as Markdown, ready to be pasted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.comparing.entries import DEFAULT, MINDS, Duel, Entry, MindSummary, duel, summarized

MOST_WHY = 200
"""Characters of a reason: the file has all of it."""
NAMES = {
    DEFAULT: "kernel's default",
    "sweep": "default sweep",
    "random": "random search",
    "bandit": "bandit",
    "embedded": "embedded mind",
    "llm": "LLM mind",
}


def told(entries: Sequence[Entry]) -> str:
    """Everything: each workload's rows, each mind's row, and what it comes to."""
    parts = [table(entries), minds_table(summarized(entries))]
    lines = [verdict(duel(entries, other=other)) for other in ("sweep", "random", "bandit", "llm")]
    parts.append("\n".join(line for line in lines if line))
    parts.append(regressions(summarized(entries)))
    return "\n\n".join(part for part in parts if part)


def table(entries: Iterable[Entry]) -> str:
    """A row for each mind on each workload, the kernel's default first."""
    lines = _head(
        "workload",
        "metric",
        "better",
        "mind",
        "end",
        "policy",
        "ratio",
        "95 % interval",
        "rounds",
        "seconds",
        "tokens",
        "dollars",
    )
    by_workload: dict[str, list[Entry]] = {}
    for each in entries:
        by_workload.setdefault(each.workload, []).append(each)
    for workload in sorted(by_workload):
        of = sorted(by_workload[workload], key=lambda each: _place(each.mind))
        first = of[0]
        lines.append(
            _row(workload, first.metric, first.direction, NAMES[DEFAULT], *[""] * 2, "1.000")
            + " | | | | | |"
        )
        lines += [_line(each) for each in of]
    return "\n".join(lines)


def _line(each: Entry) -> str:
    if not each.was_run:
        why = " ".join(each.why.replace("|", "/").split())[:MOST_WHY]
        return _row("", "", "", NAMES.get(each.mind, each.mind), each.end, why) + " | | | | | | |"
    values = " ".join(f"{name}={value}" for name, value in each.parameters.items())
    interval = f"{each.low:.3f} to {each.high:.3f}" if each.promoted else ""
    notes = [f"not by it: {each.declined[0]}"] if each.declined else []
    if each.differs:
        notes.append(f"{each.differs} answers to other questions")
    what = f"{each.policy} {values}".strip()
    said = "; ".join([part for part in (what, *notes) if part]).replace("|", "/")
    return (
        _row(
            "",
            "",
            "",
            NAMES.get(each.mind, each.mind),
            each.end,
            said,
            f"{each.ratio:.3f}",
            interval,
            f"{each.rounds}",
            f"{each.seconds:.0f}",
            f"{each.tokens:,}",
            f"{each.dollars:.3f}",
        )
        + " |"
    )


def minds_table(summaries: Iterable[MindSummary]) -> str:
    """A row for each mind over all its workloads; ratios turned so that below 1 is better."""
    lines = _head(
        "mind",
        "workloads",
        "promoted",
        "mean ratio",
        "rounds each",
        "seconds each",
        "tokens",
        "dollars",
    )
    lines += [
        _row(
            NAMES[each.mind],
            f"{each.workloads}",
            f"{each.promoted}",
            f"{each.mean_ratio:.3f}",
            f"{each.rounds:.1f}",
            f"{each.seconds:.0f}",
            f"{each.tokens:,}",
            f"{each.dollars:.3f}",
        )
        + " |"
        for each in summaries
    ]
    return "\n".join(lines) if len(lines) > 2 else ""


def verdict(of: Duel) -> str:
    """The embedded mind against another one, in a line; empty if they never met."""
    count = of.workloads
    if not count:
        return ""
    worse = f" (worse on {', '.join(of.worse)})" if of.worse else ""
    return (
        f"The embedded mind is at least as good as the {NAMES[of.other]} on "
        f"{count - len(of.worse)} of {count} workloads{worse} and better on {len(of.better)}, "
        f"beyond the intervals; by the medians alone on {len(of.middle_at_least)} and "
        f"{len(of.middle_better)}."
    )


def regressions(summaries: Sequence[MindSummary]) -> str:
    """What was promoted and is worse than the default beyond the interval: there must be none."""
    if not summaries:
        return ""
    found = [
        f"{NAMES[each.mind]}: {', '.join(each.regressions)}"
        for each in summaries
        if each.regressions
    ]
    where = "; ".join(found) or "none"
    return f"Promoted, and worse than the kernel's default beyond the interval: {where}."


def _place(mind: str) -> int:
    return MINDS.index(mind) if mind in MINDS else len(MINDS)


def _head(*titles: str) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles)]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)}"
