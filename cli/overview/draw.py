"""The page as a person sees it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli import figures, optimizations
from cli.follow.views import PHASES
from cli.hosts import hosts_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from cli.hosts import Host
    from cli.overview.picture import Live, Picture, TrialNow

BAR_WIDTH = 10
STRIP_WIDTH = 17
SCARCE = 0.9


class Page:
    """A picture, and for how long things have been going on by the time it is drawn."""

    def __init__(self, picture: Picture, hosts: list[Host], *, hint: str = "") -> None:
        self._picture = picture
        self._hosts = hosts
        self._hint = hint

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        picture = self._picture
        if not picture.connected:
            yield Text("the bus is away; the hosts are safe, this is what was known\n", "yellow")
        if self._hosts:
            yield hosts_table(self._hosts)
        else:
            yield Text("No host has joined. Boot two lab hosts:  cox lab up 2")
        yield Text()
        yield _live(picture.optimizations)
        if picture.ended:
            yield Text()
            yield optimizations.table(picture.ended)
            yield Text("all of them:  cox optimizations", "dim")
        if picture.dead_letters:
            count = picture.dead_letters
            words = "1 dead letter" if count == 1 else f"{count} dead letters"
            yield Text(f"\n{words}: nobody could handle it.  cox dead list", "yellow")
        if self._hint:
            yield Text(f"\n{self._hint}", "dim")


def _live(live: Iterable[Live]) -> RenderableType:
    blocks = [_block(each) for each in live]
    if not blocks:
        return Text("Nothing is being optimized.  cox optimize wakeup", "dim")
    return Group(*blocks)


def _block(live: Live) -> RenderableType:
    head = Text.assemble(
        (live.optimization, "bold"),
        f"  {' beside '.join([live.workload, *live.beside])} on {', '.join(live.hosts)}  ",
        (PHASES[live.phase], "blue"),
    )  # fmt: skip
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    if live.because:
        grid.add_row("because", live.because)
    if live.trial is not None:
        grid.add_row("trial", _trial(live.trial, live.direction))
    if live.deployed:
        hosts = f"{', '.join(live.deployed)} ({len(live.deployed)} of {len(live.hosts)})"
        grid.add_row("deployed", hosts)
    gone_s = min(max(0.0, time.time() - live.created_unix_ns / 1e9), live.budget_seconds)
    grid.add_row(
        "rounds",
        _used(live.rounds, live.budget_rounds, f"{live.rounds} of {live.budget_rounds}"),
    )
    seconds = f"{figures.seconds(gone_s)} of {figures.seconds(live.budget_seconds)}"
    grid.add_row("time", _used(gone_s, live.budget_seconds, seconds))
    if live.cost.tokens or live.cost.dollars:
        grid.add_row(
            "model", f"{figures.number(live.cost.tokens)} tokens, ${live.cost.dollars:.2f}"
        )
    return Group(head, Padding(grid, (0, 0, 0, 2)))


def _trial(trial: TrialNow, direction: str) -> Text:
    pairs = f"{trial.pairs} of {trial.max_pairs} pairs"
    text = figures.bar(trial.pairs / trial.max_pairs, BAR_WIDTH).append(f" {pairs}")
    text.append(f"  {trial.stage} {trial.policy} on {trial.host}")
    if trial.ratio is not None and trial.low is not None and trial.high is not None:
        text.append("  ")
        text.append_text(
            figures.strip(trial.ratio, trial.low, trial.high, better=direction, width=STRIP_WIDTH)
        )
        text.append(f" {figures.ratio(trial.ratio)} {figures.interval(trial.low, trial.high)}")
        if trial.verdict != "continue":
            text.append(f"  {trial.verdict}", style="bold")
    return text


def _used(used: float, total: float, words: str) -> Text:
    """How much of a budget is gone; red when hardly anything is left."""
    share = used / total if total else 0.0
    return figures.bar(share, BAR_WIDTH, "red" if share > SCARCE else "green").append(f" {words}")
