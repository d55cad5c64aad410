"""`cox optimizations`: what was asked for, and what came of it; newest first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, get_args

import msgspec
from rich.text import Text

from cli import figures
from cli.follow.narrate import TERMINAL_STYLES
from cli.follow.views import PHASES
from cli.output import console, plain_table, print_json, show
from cli.report.collect import newest_first
from cli.session import connected
from shared.errors import InputError
from shared.fingerprint import key
from shared.messages import Terminal
from shared.optimization import Optimization

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

STATES = (*PHASES, *get_args(Terminal))
"""What `--state` takes: the phases of one that lives, the ends of one that is over."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One optimization in a line."""

    optimization: str
    trace_id: str
    workload: str
    beside: list[str]
    """Workloads that run at the same time."""
    hosts: list[str]
    phase: str
    terminal: str
    """Empty while it is not over."""
    reasons: list[str]
    rounds: int
    budget_rounds: int
    ratio: float | None
    """Of the objective, candidate / default, as the judge last gave it."""
    fingerprint: str
    """Its key, for `cox optimize --fingerprint`; empty before there is a profile."""
    created_unix_ns: int
    ended_unix_ns: int
    because: str = ""
    """Why it was opened, if no client asked for it just then."""

    @property
    def state(self) -> str:
        """Its end, or else its phase: one of STATES."""
        return self.terminal or self.phase


def summary(record: Optimization) -> Summary:
    """What a line tells of a record."""
    # What was kept may have won before something else was tried beside it.
    trials = [record.winner] if record.winner is not None else record.trials
    words = [trial.decision or trial.judged for trial in trials]
    ratios = [word.ratio for word in words if word is not None]
    return Summary(
        optimization=record.id,
        trace_id=record.trace_id,
        workload=record.request.workload,
        beside=[each.workload for each in record.beside],
        hosts=record.hosts,
        phase=record.phase,
        terminal=(record.terminal or "") if record.over else "",
        reasons=record.reasons,
        rounds=record.rounds_used,
        budget_rounds=record.request.budget.rounds,
        ratio=ratios[-1] if ratios else None,
        fingerprint=key(record.fingerprint) if record.fingerprint is not None else "",
        created_unix_ns=record.created_unix_ns,
        ended_unix_ns=record.ended_unix_ns,
        because=record.because,
    )


def choose(
    records: Iterable[Optimization], *, states: Iterable[str] = (), workload: str = ""
) -> list[Summary]:
    """Those that are asked for, newest first; no state and no workload mean every one.

    Raises InputError for a state that does not exist.
    """
    wanted = set(states)
    unknown = sorted(wanted - set(STATES))
    if unknown:
        raise InputError(
            "there is no such state", expected=", ".join(STATES), got=", ".join(unknown)
        )
    lines = [summary(record) for record in sorted(records, key=newest_first)]
    return [
        line
        for line in lines
        if (not wanted or line.state in wanted) and workload in {"", line.workload}
    ]


async def list_optimizations(
    *, states: list[str], workload: str, limit: int, as_json: bool
) -> None:
    """Show the newest of those that are asked for."""
    choose([], states=states)  # a wrong word is said before the bus is asked
    async with connected() as bus:
        records = await bus.records("optimizations", Optimization)
        everything = [record.value for record in await records.all()]
    found = choose(everything, states=states, workload=workload)
    shown = found[:limit]
    more = len(found) - len(shown)
    if as_json:
        print_json({"type": "optimizations", "optimizations": shown, "more": more})
        return
    if not everything:
        console().print("No optimization yet. Ask for one:  cox optimize wakeup")
    elif not found:
        console().print(f"None of {len(everything)} optimizations is like that.")
    else:
        show(table(shown))
    if more:
        show(Text(f"\n{more} older ones; see them with --limit {len(found)}", "dim"))


def table(lines: Iterable[Summary]) -> Table:
    """One row each; the fingerprint stands below the id, so that 80 columns are enough."""
    grid = plain_table()
    grid.add_column("optimization\nfingerprint", no_wrap=True)
    for column in ("workload", "hosts"):
        grid.add_column(column, overflow="fold")
    for column in ("state", "rounds", "ratio", "age"):
        grid.add_column(column, no_wrap=True)
    for line in lines:
        grid.add_row(
            Text(line.optimization).append(f"\n{line.fingerprint}".rstrip(), "dim"),
            "\nbeside ".join([line.workload, *line.beside]) + because(line.because),
            ", ".join(line.hosts),
            state_text(line),
            f"{line.rounds}/{line.budget_rounds}",
            figures.ratio(line.ratio) if line.ratio is not None else "",
            figures.seconds(max(0.0, time.time() - line.created_unix_ns / 1e9)),
        )
    return grid


def because(why: str) -> str:
    """One more line: `after drift in o1201-…`; nothing for what somebody asked for."""
    return f"\nafter {why.partition(':')[0]}" if why else ""


def state_text(line: Summary) -> Text:
    """Its end, or what is being done, in words."""
    if line.terminal:
        return Text(line.terminal, style=TERMINAL_STYLES[line.terminal])
    return Text(PHASES[line.phase])
