"""`cox trace`: from the bus or from a file, drawn as a tree."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import console, show
from cli.report.collect import record_of, trace_of
from cli.session import connected
from cli.tree import TraceTree
from shared.errors import InputError
from shared.telemetry.store import read_trace

if TYPE_CHECKING:
    from shared.telemetry.store import Trace


async def draw(source: str, *, everything: bool, as_json: bool) -> None:
    """Draw a trace, or print its document."""
    trace = await load(source)
    if as_json:
        console().file.write(trace.document().decode())
    else:
        show(TraceTree(trace, everything=everything))


async def load(source: str) -> Trace:
    """A trace by its optimization's id, or of a file. Raises InputError."""
    if source.endswith(".json") or "/" in source:
        return await asyncio.to_thread(read_file, Path(source))
    async with connected() as bus:
        return await trace_of(bus, await record_of(bus, source))


def read_file(path: Path) -> Trace:
    """The trace of a trace.json. Raises InputError."""
    try:
        return read_trace([path.read_bytes()])
    except OSError as error:
        raise InputError(
            "the trace cannot be read",
            expected="a trace.json that can be read",
            got=str(error),
            advice="Give its path, or an optimization's id.",
        ) from None
