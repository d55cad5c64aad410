"""Where an optimization's events go while they come: lines, lines with a live footer, or JSON."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Protocol

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli import figures
from cli.follow.narrate import Narrator
from cli.output import console, print_json_line, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from cli.follow.facts import Fact
    from cli.follow.life import Life
    from shared.optimization import Optimization

PHASES = {
    "queued": "waiting for its turn",
    "profiling": "observing the workload",
    "planning": "planning",
    "building": "building and proving the candidate",
    "trying": "trying it in paired rounds",
    "deploying": "rolling out",
    "remembering": "remembering what came of it",
}


class View(Protocol):
    """What a follower tells."""

    def fact(self, fact: Fact, life: Life, record: Optimization | None) -> None:
        """An event that `life` has taken."""

    def say(self, text: str, style: str = "yellow") -> None:
        """Something about the following itself."""

    def link(self, *, connected: bool) -> None:
        """The bus went away, or came back."""


class Lines:
    """Permanent lines; what there is without a terminal.

    With a label each line has it in front: which of several it is about.
    """

    def __init__(self, label: str = "") -> None:
        self._label = label
        self._narrator = Narrator()

    def fact(self, fact: Fact, life: Life, record: Optimization | None) -> None:
        """The lines that tell it."""
        for line in self._narrator.tell(fact, life, record):
            self._tell(line)

    def say(self, text: str, style: str = "yellow") -> None:
        """One line of our own."""
        self._tell(Text(text, style=style))

    def link(self, *, connected: bool) -> None:
        """Say that the bus is away, or back."""
        if connected:
            self.say("the bus is back", "green")
        else:
            self.say("the bus is away; the hosts are safe, waiting for it to come back")

    def _tell(self, line: RenderableType) -> None:
        self._print(labelled(self._label, line) if self._label else line)

    def _print(self, line: RenderableType) -> None:
        show(line)


def labelled(label: str, line: RenderableType) -> Table:
    """A line, or what takes several, with a label in front."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style="bold magenta"), line)
    return grid


class LiveLines(Lines):
    """The same lines above a footer that says what goes on now."""

    def __init__(self, label: str, footer: _Footer, live: Live) -> None:
        super().__init__(label)
        self._footer = footer
        self._live = live

    def fact(self, fact: Fact, life: Life, record: Optimization | None) -> None:
        """The lines that tell it."""
        super().fact(fact, life, record)
        self._footer.update(life, record)

    def link(self, *, connected: bool) -> None:
        """Say that the bus is away, or back."""
        super().link(connected=connected)
        self._footer.connected = connected

    def _print(self, line: RenderableType) -> None:
        self._live.console.print(line)


class JsonLines:
    """Every event as a line of JSON: the message as it stands on the bus."""

    def fact(self, fact: Fact, _life: Life, _record: Optimization | None) -> None:
        """The lines that tell it."""
        print_json_line(fact.message)

    def say(self, text: str, style: str = "yellow") -> None:
        """One line of our own."""
        console(stderr=True).print(Text(text, style=style))

    def link(self, *, connected: bool) -> None:
        """Say that the bus is away, or back."""
        self.say("the bus is back" if connected else "the bus is away")


class _Footer:
    """One line: what is being done, for how long, and how much of the budget is gone."""

    def __init__(self, label: str, hint: str) -> None:
        self.connected = True
        self._label = label
        self._hint = hint
        self._spinner = Spinner("dots", style="blue")
        self._begun_s = time.time()
        self._life: Life | None = None
        self._record: Optimization | None = None

    def update(self, life: Life, record: Optimization | None) -> None:
        """What is known now."""
        self._life, self._record = life, record
        if record is not None:
            self._begun_s = record.created_unix_ns / 1e9

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        grid = Table.grid(padding=(0, 1, 0, 0))
        text = Text(self._label + " " if self._label else "", style="bold magenta")
        life, record = self._life, self._record
        phase = life.phase if life else ""
        text.append("waiting for the bus" if not self.connected else PHASES.get(phase, "starting"))
        text.append(f" · {figures.seconds(max(0.0, time.time() - self._begun_s))}", style="dim")
        if record is not None:
            budget = record.request.budget
            text.append(f" of {figures.seconds(budget.seconds)}", style="dim")
            if life is not None and life.pairs:
                text.append(f" · {life.pairs} of {budget.rounds} rounds", style="dim")
        text.append(f" · {self._hint}", style="dim")
        grid.add_row(self._spinner, text)
        yield grid


@contextlib.contextmanager
def views_for(labels: Sequence[str], *, as_json: bool, hint: str) -> Iterator[list[View]]:
    """Views that suit this output: one for each label, which is empty for one alone."""
    if as_json:
        yield [JsonLines() for _ in labels]
    elif console().is_terminal:
        footers = [_Footer(label, hint) for label in labels]
        with Live(Group(*footers), console=console(), refresh_per_second=8, transient=True) as live:
            yield [
                LiveLines(label, footer, live)
                for label, footer in zip(labels, footers, strict=True)
            ]
    else:
        yield [Lines(label) for label in labels]
