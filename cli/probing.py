"""`cox hosts probe`: a workload run once on a host, with a probe in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from rich.table import Table
from rich.text import Text

from cli.output import console, print_json, show
from cli.session import connected
from shared.errors import InputError
from shared.messages import Deepened, DeepenRequest
from shared.probes import PROBES, ProbeName
from shared.subjects import host_token

if TYPE_CHECKING:
    from collections.abc import Sequence

PROBE_S = 600.0
"""An emulated host compiles for half a minute, and may be busy; a workload has its own time."""


async def probe(
    host: str, workload: str, name: str, beside: Sequence[str], seed: int, *, as_json: bool
) -> None:
    """Have it run and show what was seen. Raises InputError, BusError."""
    if name not in get_args(ProbeName):
        raise InputError(
            "no such probe",
            expected=", ".join(PROBES),
            got=repr(name)[:80],
            advice="docs/probes.md",
        )
    request = DeepenRequest(
        optimization="",
        workload=workload,
        probe=cast("ProbeName", name),
        beside=list(beside),
        seed=seed,
    )
    async with connected() as bus:
        subject = bus.subjects.endpoint("observer", "deepen", host_token(host))
        told = await bus.ask(subject, request, Deepened, timeout_s=PROBE_S)
    if as_json:
        print_json(told)
        return
    console().print(Text(told.summary))
    for title, table in _tables(told):
        console().print(Text(f"\n{title}", style="bold"))
        show(table)


def _tables(told: Deepened) -> list[tuple[str, Table]]:
    reading = told.reading
    found = []
    for name, spread in reading.spreads.items():
        table = _grid()
        most = max(spread.slots, default=1)
        for slot, count in enumerate(spread.slots):
            bar = "█" * round(40 * count / most)
            table.add_row(f"{2**slot} µs", str(count), bar)
        found.append((f"{name.replace('_', ' ')} (from, how often)", table))
    if reading.wakes:
        table = _grid()
        for wake in reading.wakes:
            # Text: a name in square brackets is no markup of ours.
            table.add_row(
                Text(f"{wake.waker} → {wake.woken}"), str(wake.count), f"{wake.wait_us:.0f} µs"
            )
        found.append(("wake-ups (who → whom, how often, mean wait)", table))
    if reading.names:
        table = _grid()
        for each in reading.names:
            table.add_row(Text(each.name), str(each.count), f"{each.total_us / 1e3:.1f} ms")
        found.append(("by name (how often, in all)", table))
    return found


def _grid() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify)
    return table
