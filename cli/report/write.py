"""The three files."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from cli.report.collect import record_of, report_of, trace_of
from cli.report.picture import draw
from shared.errors import InputError, MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli.report.model import Report
    from shared.bus import Bus
    from shared.telemetry.store import Trace

REPORT, TRACE, PICTURE = "report.json", "trace.json", "report.png"


async def write_report(bus: Bus, identity: str, directory: Path) -> tuple[Report, list[Path]]:
    """Write all three into `directory`, which is made; the report, and what was written.

    `trace.json` is missing if no span ever came: that must not cost us the evidence.
    Raises MachineError if the directory cannot be written.
    """
    record = await record_of(bus, identity)
    report = await report_of(bus, record.id)
    trace: Trace | None = None
    with contextlib.suppress(InputError):
        trace = await trace_of(bus, record)
    return report, await asyncio.to_thread(_write, directory, report, trace)


def _write(directory: Path, report: Report, trace: Trace | None) -> list[Path]:
    files = {REPORT: encode(report)}
    if trace is not None:
        files[TRACE] = trace.document()
    with _writable(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _replace(directory / name, data)
        draw(report, directory / PICTURE)
    return [directory / name for name in (*files, PICTURE)]


def encode(report: Report) -> bytes:
    """`report.json`'s bytes."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.rename(path)


@contextlib.contextmanager
def _writable(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(
            "the report cannot be written",
            expected=f"a directory that can be written: {directory}",
            got=str(error),
            advice="Name another one with --report, or make room; `cox report ID` tries again.",
        ) from error
