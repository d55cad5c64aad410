"""`make demo`: one optimization of a real workload on lab hosts, from nothing to its report."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from cli import session
from cli.fleet.foreground import FleetTable, member_line
from cli.fleet.supervisor import Supervisor
from cli.optimizing import ask, see_through
from cli.output import console, show
from cli.report.write import REPORT, TRACE
from cli.tracing import read_file
from cli.tree import TraceTree
from shared.messages import Budget, OptimizeRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from cli.fleet.state import FleetState

HONEST = {0, 4}
"""Promoted, or the default kept because nothing was proven: both are what the demo promises."""


async def demo(*, workload: str, hosts: int, port: int, rounds: int, directory: Path) -> int:
    """Boot, optimize, report, take everything down; 0 if it came to an honest end."""
    with _sigterm_ends():
        async with _fleet(hosts, port):
            show(Text())
            request = OptimizeRequest(
                workload=workload,
                hosts=[f"lab-{number + 1}" for number in range(hosts)],
                budget=Budget(rounds=rounds),
            )
            async with session.connected() as bus:
                reply = await ask(bus, request)
                code = await see_through(bus, reply, directory=directory, as_json=False)
            await _show_trace(directory)
            show(Text.assemble("\nstopping everything …", style="dim"))
    show(Text.assemble("done: ", (str(directory / REPORT), "bold")))
    return 0 if code in HONEST else 1


async def _show_trace(directory: Path) -> None:
    path = directory / TRACE
    if await asyncio.to_thread(path.exists):
        show(Text())
        show(TraceTree(await asyncio.to_thread(read_file, path)))


@contextlib.asynccontextmanager
async def _fleet(hosts: int, port: int) -> AsyncIterator[None]:
    """Everything of `cox up --hosts` inside this process, and gone with it."""
    ready, stop = asyncio.Event(), asyncio.Event()
    with _booting(ready) as changed:
        supervisor = Supervisor(port=port, hosts=hosts, changed=changed)
        running = asyncio.create_task(supervisor.run(stop))
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.gather(running, return_exceptions=True)
            raise
        finally:
            waiting.cancel()
    if running.done():
        running.result()  # raises why
    try:
        yield
    finally:
        stop.set()
        await running


class _Boot:
    """Shows members until all are ready: a live table, or a line for each change."""

    def __init__(self, ready: asyncio.Event, live: Live | None) -> None:
        self._ready = ready
        self._live = live
        self._said: set[str] = set()

    def __call__(self, state: FleetState) -> None:
        if self._ready.is_set():
            return
        if self._live is not None:
            self._live.update(FleetTable(state, hint="Ctrl-C stops everything"))
        for member in state.members:
            line = f"{member.name} {member.state}"
            if self._live is None and line not in self._said:
                self._said.add(line)
                show(member_line(member))
        if state.ready:
            self._ready.set()


@contextlib.contextmanager
def _booting(ready: asyncio.Event) -> Iterator[_Boot]:
    if not console().is_terminal:
        yield _Boot(ready, None)
        return
    with Live(console=console(), refresh_per_second=4) as live:
        yield _Boot(ready, live)


@contextlib.contextmanager
def _sigterm_ends() -> Iterator[None]:
    """SIGTERM ends this in order, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
