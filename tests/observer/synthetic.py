"""Samples made up by hand, for feature math with known answers."""

from __future__ import annotations

from services.observer.profile.procfs import HostStat, SchedStat
from services.observer.profile.sampler import BusyTicks, Details, GroupUsage, Reading, Sample

NOTHING = BusyTicks(0, 0)


def host(**changes: int) -> HostStat:
    """A machine with two CPUs since boot; one process runs, the one that looks."""
    zero = HostStat(0, 0, 0, 0, 0, cpus=2, switches=0, forks=0, running=1, blocked=0)
    return zero._replace(**changes)


def reading(
    at_s: float,
    *,
    started_s: float = 0.0,
    run_ms: float = 0.0,
    wait_ms: float = 0.0,
    slices: int = 0,
    switches: tuple[int, int, int] | None = None,
    cpu: int = 0,
) -> Reading:
    """`switches` are voluntary, involuntary and migrations."""
    details = Details(cpu, *switches) if switches is not None else None
    return Reading(at_s, started_s, int(run_ms * 1e6), int(wait_ms * 1e6), slices, details)


def sample(
    at_s: float,
    readings: dict[int, Reading] | None = None,
    *,
    present: set[int] | None = None,
    stat: HostStat | None = None,
    pressure_us: dict[str, int] | None = None,
    sched: SchedStat | None = None,
    group: GroupUsage | None = None,
) -> Sample:
    """Tasks that were read are present, unless it is said who is."""
    readings = readings or {}
    return Sample(
        at_s=at_s,
        host=stat or host(),
        present=frozenset(readings if present is None else present),
        readings=readings,
        pressure_us=pressure_us or {},
        sched=sched,
        group=group,
    )
