"""From the bus and this machine's catalogues to what is known; and `cox explain` itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from cli.explaining.compose import explain
from cli.explaining.draw import explanation
from cli.explaining.known import Known, Written
from cli.output import print_json, show
from cli.report.collect import life_of, record_of, spans_now, units_for
from cli.report.compose import compose
from cli.session import connected
from shared.errors import CoxswainError, InputError
from shared.messages import SchedulerState
from shared.optimization import Optimization
from shared.policies import Catalogue
from shared.workloads import Catalogue as Workloads

if TYPE_CHECKING:
    from shared.bus import Bus
    from shared.workloads import Manifest as WorkloadManifest

README = "README.md"


async def explain_one(identity: str, *, as_json: bool) -> None:
    """Explain an optimization by its id. Raises RequestError for one that there is not."""
    async with connected() as bus:
        found = explain(await known_of(bus, identity))
    if as_json:
        print_json(found)
    else:
        show(explanation(found))


async def known_of(bus: Bus, identity: str) -> Known:
    """All that is known of an optimization now. Raises RequestError."""
    record = await record_of(bus, identity)
    life = await life_of(bus, record.id)
    records = await bus.records("optimizations", Optimization)
    recalled = None
    if record.plan is not None and record.plan.recalled:
        recalled = await records.get(record.plan.recalled)
    trace = None
    with contextlib.suppress(InputError):
        trace = await spans_now(bus, record.trace_id)
    schedulers = await bus.records("hosts", SchedulerState)
    states = {each.value.host: each.value for each in await schedulers.all("*.scheduler")}
    return Known(
        record=record,
        life=life,
        report=compose(record, life, units_for(record)),
        now_unix_ns=time.time_ns(),
        trace=trace,
        policies=await asyncio.to_thread(written, record),
        workload=workload_of(record.request.workload),
        recalled=recalled.value if recalled is not None else None,
        states={host: states[host] for host in record.hosts if host in states},
    )


def written(record: Optimization) -> dict[str, Written]:
    """Manifests and READMEs of this machine's catalogue, and of what was made for this one."""
    catalogue = Catalogue.load()
    planned = record.plan.candidates if record.plan is not None else []
    made = [each.made for each in planned if each.made is not None]
    known = catalogue.joined(catalogue.make(each) for each in made if each.parent in catalogue)
    return {
        name: Written(manifest=policy.manifest, readme=policy.readme(), made=policy.made)
        for name, policy in known.items()
    }


def workload_of(name: str) -> WorkloadManifest | None:
    """A workload's manifest, if this machine's catalogue has it."""
    with contextlib.suppress(CoxswainError):
        return Workloads.load()[name].manifest
    return None
