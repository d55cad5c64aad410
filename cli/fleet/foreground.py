"""`cox up` as a person sees it: who is alive, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli import figures
from cli.fleet.supervisor import Supervisor
from cli.output import console, print_json_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, ConsoleOptions, RenderResult

    from cli.fleet.state import FleetState, Member

MARKS = {
    "ready": ("●", "green"),
    "starting": ("○", "yellow"),
    "unwell": ("✗", "red"),
    "restarting": ("↻", "red"),
    "stopped": ("·", "dim"),
}


@contextlib.contextmanager
def watching() -> Iterator[Callable[[FleetState], None]]:
    """Show the members of a `cox up` that starts in the background."""
    if not console().is_terminal:
        yield lambda _: None
        return
    with Live(console=console(), refresh_per_second=4, transient=True) as live:
        yield lambda state: live.update(FleetTable(state, hint="starting in the background"))


async def stay(*, port: int, hosts: int, as_json: bool) -> None:
    """Run everything until SIGINT or SIGTERM."""
    with _view(as_json=as_json) as view, stop_on_signals(view.stopping) as stop:
        supervisor = Supervisor(port=port, hosts=hosts, changed=view.show)
        await supervisor.run(stop)


@contextlib.contextmanager
def stop_on_signals(tell: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set; `tell` hears of the first."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        if not stop.is_set():
            stop.set()
            tell()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, pressed)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class _View:
    """Lines as things change."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._ready = False

    def show(self, state: FleetState) -> None:
        for member in state.members:
            line = f"{member.name} {member.state}"
            if self._said.get(member.name) != line:
                self._said[member.name] = line
                console().print(member_line(member), soft_wrap=True)
        if state.ready and not self._ready:
            console().print(f"ready at {state.url}; stop with Ctrl-C or `cox down`")
        self._ready = state.ready

    def stopping(self) -> None:
        console().print("stopping everything, in order")


class _JsonView(_View):
    def show(self, state: FleetState) -> None:
        print_json_line({"type": "fleet", **_plain(state)})

    def stopping(self) -> None:
        print_json_line({"type": "stopping"})


class _LiveView(_View):
    def __init__(self, live: Live) -> None:
        super().__init__()
        self._live = live

    def show(self, state: FleetState) -> None:
        self._live.update(FleetTable(state, hint="Ctrl-C stops everything, in order."))


@contextlib.contextmanager
def _view(*, as_json: bool) -> Iterator[_View]:
    if as_json:
        yield _JsonView()
    elif console().is_terminal:
        with Live(console=console(), refresh_per_second=4) as live:
            yield _LiveView(live)
    else:
        yield _View()


def _plain(state: FleetState) -> dict[str, object]:
    return {
        "url": state.url,
        "namespace": state.namespace,
        "ready": state.ready,
        "pid": state.supervisor.pid,
        "started_unix_ns": state.started_unix_ns,
        "members": state.members,
    }


def fleet_document(state: FleetState | None) -> dict[str, object]:
    """A running `cox up` for `--json`."""
    if state is None:
        return {"type": "fleet", "running": False}
    return {"type": "fleet", "running": True, **_plain(state)}


def member_line(member: Member) -> Text:
    """One member on a line."""
    mark, style = MARKS[member.state]
    text = Text.assemble((f"{mark} ", style), f"{member.name:<9}", f"{member.state:<11}")
    if member.pid:
        text.append(f"pid {member.pid}  ", style="dim")
    if member.restarts:
        text.append(f"restarted {member.restarts}×  ", style="yellow")
    return text.append(member.note, style="dim")


class FleetTable:
    """All members, what the whole is, and for how long by the time it is drawn."""

    def __init__(self, state: FleetState, *, hint: str) -> None:
        self._state = state
        self._hint = hint

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        grid = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(4):
            grid.add_column(no_wrap=True)
        grid.add_column(overflow="ellipsis", no_wrap=True)
        for member in self._state.members:
            mark, style = MARKS[member.state]
            grid.add_row(
                Text(f"{mark} {member.name}", style=style),
                Text(member.state),
                Text(f"pid {member.pid}" if member.pid else "", style="dim"),
                Text(f"restarted {member.restarts}×" if member.restarts else "", style="yellow"),
                Text(member.note, style="dim"),
            )
        yield grid
        word, style = ("ready", "bold green") if self._state.ready else ("starting", "yellow")
        up_s = time.time() - self._state.started_unix_ns / 1e9
        yield Text.assemble(
            "\n", (word, style), (f" · up {figures.seconds(up_s)} · {self._hint}", "dim")
        )
