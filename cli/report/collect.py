"""From the bus to a report: the record, the events, the spans."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING

from cli.follow.facts import read_fact
from cli.follow.life import Life
from cli.report.compose import compose
from shared import attributes as names
from shared.errors import CoxswainError, InputError, RequestError
from shared.optimization import Optimization
from shared.telemetry.store import Trace, read_trace
from shared.workloads import Catalogue, neighbours_metric

if TYPE_CHECKING:
    from cli.report.model import Report
    from shared.bus import Bus

SPANS_S = 8.0
"""How long the last spans may take: services send them in batches."""
LOOK_S = 0.5
NEWEST = "last"
TRACE_ID = re.compile(r"[0-9a-f]{32}")


async def record_of(bus: Bus, identity: str) -> Optimization:
    """An optimization's record by its id or its trace's; `last` is the newest.

    Of one request it is the first part. Raises RequestError.
    """
    records = await bus.records("optimizations", Optimization)
    found = await records.get(identity) if identity != NEWEST else None
    if found is not None:
        return found.value
    if identity == NEWEST or TRACE_ID.fullmatch(identity):
        everything = [record.value for record in await records.all()]
        meant = [each for each in everything if identity in (NEWEST, each.trace_id)]
        if meant:
            return min(meant, key=newest_first)
    raise RequestError(
        "unknown optimization",
        expected="an id as `cox optimizations` lists them, the id of its trace, or 'last'",
        got=repr(identity) if identity != NEWEST else "no optimization was ever asked for",
        advice="See `cox optimizations`.",
    )


def newest_first(state: Optimization) -> tuple[int, str]:
    """Sorts the newest to the front; parts of one request stay in their order."""
    return -state.created_unix_ns, state.id


async def life_of(bus: Bus, identity: str) -> Life:
    """What its events add up to so far."""
    life = Life()
    subject = bus.subjects.events(optimization=identity)
    async for message in bus.messages("EVENTS", subject):
        fact = read_fact(message)
        if fact is None:
            life.unreadable += 1
        else:
            life.take(fact)
    return life


async def report_of(bus: Bus, identity: str) -> Report:
    """An optimization's report, over or not."""
    record = await record_of(bus, identity)
    return compose(record, await life_of(bus, record.id), units_for(record))


def units_for(record: Optimization) -> dict[str, str]:
    """Units of the metrics of an optimization's workload, and of those beside it."""
    units = units_of(record.request.workload)
    for each in record.beside:
        others = units_of(each.workload).items()
        units |= {neighbours_metric(each.workload, metric): unit for metric, unit in others}
    return units


def units_of(workload: str) -> dict[str, str]:
    """Units of a workload's metrics, if this machine's catalogue has it."""
    with contextlib.suppress(CoxswainError):
        return dict(Catalogue.load()[workload].units)
    return {}


async def trace_of(bus: Bus, record: Optimization) -> Trace:
    """Its spans; for one that is over, all of them: the last ones are waited for.

    Raises InputError if none ever came.
    """
    give_up_s = time.monotonic() + SPANS_S
    while True:
        late = time.monotonic() > give_up_s
        try:
            trace = await spans_now(bus, record.trace_id)
        except InputError:
            if late:
                raise
        else:
            # The trace may be that of several optimizations: others' ends say nothing of this one.
            whole = not trace.problems() and any(
                span.name.startswith("finish")
                and span.attributes.get(names.OPTIMIZATION_ID) == record.id
                for span in trace.spans
            )
            if whole or late or not record.over:
                return trace
        await asyncio.sleep(LOOK_S)


async def spans_now(bus: Bus, trace_id: str) -> Trace:
    """The spans of a trace that are there already. Raises InputError if there are none."""
    payloads = [data async for _, data in bus.history("SPANS", bus.subjects.spans(trace_id))]
    return read_trace(payloads, trace_id)
