"""Phases of a run: stretches in which it behaves in one way, and kinds of them that come back.

A training loop computes, then writes; a build configures, then compiles. Averages over both
describe neither. Beats, which are looks at a few files only, are frequent enough to see
phases of some tenths of a second. Stretches between change points that are alike are of one kind.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from services.observer.profile.changepoints import change_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.observer.profile.sampler import Beat


class Stretch(NamedTuple):
    """From one moment to another, in seconds since boot."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.begin_s


class Kind(NamedTuple):
    """One way to behave, and when it did so. `features` hold for all its stretches together."""

    stretches: tuple[Stretch, ...]
    share: float
    features: dict[str, float]

    @property
    def seconds(self) -> float:
        """Of all its stretches."""
        return math.fsum(each.seconds for each in self.stretches)


class Course(NamedTuple):
    """A run's kinds of phases, most of the time first, and how often one came back.

    With one kind there are no phases, and the list is empty. `active` is the run without what it
    stood still for before and after; None if nothing ever happened.
    """

    kinds: tuple[Kind, ...] = ()
    changes: int = 0
    returns: int = 0
    active: Stretch | None = None


MOST_ROWS: Final = 200
"""A longer series is made coarser: changes are looked for at a cost that grows with its square."""
MOST_KINDS: Final = 4
LEAST_SHARE: Final = 0.05
"""What takes less of the time is an incident, not a phase."""
EDGE_SHARE: Final = 0.2
"""What comes once, first or last, and takes less than this is a start or an end."""
STILL: Final = 0.1
"""Standing still: it wants less of the host's CPU time, and waits less of the time for storage."""

_UNITS: Final = (0.25, math.log(3), 0.2, 0.6, 1.5)
"""What matters of each channel: a quarter of the host's CPU time that it wants, three times as many
switches, a fifth of the time waiting for storage, most of it waiting for a CPU. Where a group's PSI
does not tell the latter, one and a half tasks more or less for each CPU of the host do."""
_FLOOR: Final = 0.25
"""Of these: the noise that is believed at least."""


class _Row(NamedTuple):
    """What went on between two beats."""

    stretch: Stretch
    cpu_s: float
    """CPU time of the workload; of the host without a group."""
    switches: int
    forks: int
    storage_s: float
    """In which some task of the workload waited for storage; all of the host's CPUs, where its
    group does not tell."""
    waiting_s: float
    """In which some task of the workload waited for a CPU; 0 where its group does not tell."""
    runnable_s: float
    """Tasks of the host that ran or waited, the observer left out, times seconds."""


def course(beats: Sequence[Beat], ticks_per_s: int = 100) -> Course:
    """The phases of a run, from its beats; clock ticks are those of /proc/stat."""
    rows = _coarser(_rows(beats, ticks_per_s), MOST_ROWS)
    if not rows:
        return Course()
    cpus = max(1, beats[-1].host.cpus)
    own = beats[-1].waiting_us is not None or beats[0].waiting_us is not None
    channels = [_channels(row, cpus, own=own) for row in rows]
    cuts = [0, *change_points(channels, [_FLOOR] * len(_UNITS)), len(rows)]
    segments = [rows[a:b] for a, b in pairwise(cuts)]
    busy = [at for at, part in enumerate(segments) if not _still(_joined(part), cpus)]
    if not busy:
        return Course()
    segments = segments[busy[0] : busy[-1] + 1]
    active = Stretch(segments[0][0].stretch.begin_s, segments[-1][-1].stretch.end_s)
    labels = _labels([_joined(part) for part in segments], cpus, own=own)
    runs = _runs(list(zip(labels, segments, strict=True)))
    seconds = math.fsum(row.stretch.seconds for row in rows)
    kinds = []
    for label in dict.fromkeys(labels):
        parts = [part for found, part in runs if found == label]
        whole = _joined([row for part in parts for row in part])
        stretches = tuple(_joined(part).stretch for part in parts)
        kind_s = math.fsum(each.seconds for each in stretches)
        at_an_edge = len(parts) == 1 and label in {runs[0][0], runs[-1][0]}
        if kind_s >= (EDGE_SHARE if at_an_edge else LEAST_SHARE) * seconds:
            kinds.append(Kind(stretches, kind_s / seconds, _features(whole, kind_s, cpus)))
    if len(kinds) < 2:
        return Course(active=active)
    kinds.sort(key=lambda kind: kind.share, reverse=True)
    visits = sum(len(kind.stretches) for kind in kinds)
    return Course(tuple(kinds), visits - 1, visits - len(kinds), active)


def _still(row: _Row, cpus: int) -> bool:
    wants, _, stalls, *_ = (
        value * unit for value, unit in zip(_channels(row, cpus, own=True), _UNITS, strict=True)
    )
    return wants < STILL and stalls < STILL


def _rows(beats: Sequence[Beat], ticks_per_s: int) -> list[_Row]:
    rows = []
    for before, after in pairwise(beats):
        seconds = after.at_s - before.at_s
        if seconds <= 0:
            continue
        a, b = before.host, after.host
        busy = (b.user_ticks + b.system_ticks) - (a.user_ticks + a.system_ticks)
        cpu_s = max(0, busy) / ticks_per_s
        if before.group is not None and after.group is not None:
            cpu_s = max(0, after.group.usage_us - before.group.usage_us) / 1e6
        stalled_s = _grown_s(before.stalled_us, after.stalled_us)
        if stalled_s is None:
            stalled_s = max(0, b.iowait_ticks - a.iowait_ticks) / ticks_per_s / max(1, b.cpus)
        rows.append(
            _Row(
                stretch=Stretch(before.at_s, after.at_s),
                cpu_s=cpu_s,
                switches=max(0, b.switches - a.switches),
                forks=max(0, b.forks - a.forks),
                storage_s=min(seconds, stalled_s),
                waiting_s=min(seconds, _grown_s(before.waiting_us, after.waiting_us) or 0.0),
                runnable_s=max(0, b.running - 1) * seconds,
            )
        )
    return rows


def _grown_s(before_us: int | None, after_us: int | None) -> float | None:
    if before_us is None or after_us is None:
        return None
    return max(0, after_us - before_us) / 1e6


def _coarser(rows: list[_Row], most: int) -> list[_Row]:
    """Neighbours put together, until there are no more than so many."""
    size = -(-len(rows) // most)
    if size <= 1:
        return rows
    return [_joined(rows[at : at + size]) for at in range(0, len(rows), size)]


def _joined(rows: Sequence[_Row]) -> _Row:
    """All of them as one; its stretch is from the first to the last."""
    return _Row(
        stretch=Stretch(rows[0].stretch.begin_s, rows[-1].stretch.end_s),
        cpu_s=math.fsum(row.cpu_s for row in rows),
        switches=sum(row.switches for row in rows),
        forks=sum(row.forks for row in rows),
        storage_s=math.fsum(row.storage_s for row in rows),
        waiting_s=math.fsum(row.waiting_s for row in rows),
        runnable_s=math.fsum(row.runnable_s for row in rows),
    )


def _channels(row: _Row, cpus: int, *, own: bool) -> tuple[float, ...]:
    """What a row is compared by, in units of what matters.

    While some task waits for a CPU, the workload would take more than it gets: how much it gets
    then is its neighbours' phase, not its own. Who else is runnable on the host counts only where
    the workload's `own` waits are not told.
    """
    seconds = row.stretch.seconds
    used, waiting = min(1.0, row.cpu_s / seconds / cpus), row.waiting_s / seconds
    values = (
        used + (1.0 - used) * waiting,
        math.log1p(row.switches / seconds),
        row.storage_s / seconds,
        waiting,
        0.0 if own else row.runnable_s / seconds / cpus,
    )
    return tuple(value / unit for value, unit in zip(values, _UNITS, strict=True))


def _labels(segments: list[_Row], cpus: int, *, own: bool) -> list[int]:
    """A number for each segment: the same for those that are alike.

    The two kinds that are closest become one, until none are closer than what matters, or few
    enough are left.
    """
    kinds: list[list[int]] = [[at] for at in range(len(segments))]

    def mean(kind: list[int]) -> tuple[float, ...]:
        weights = [segments[at].stretch.seconds for at in kind]
        rows = [_channels(segments[at], cpus, own=own) for at in kind]
        return tuple(
            math.fsum(w * row[c] for w, row in zip(weights, rows, strict=True)) / math.fsum(weights)
            for c in range(len(_UNITS))
        )

    means = [mean(kind) for kind in kinds]
    while len(kinds) > 1:
        apart, a, b = min(
            (max(abs(x - y) for x, y in zip(means[a], means[b], strict=True)), a, b)
            for a in range(len(kinds))
            for b in range(a + 1, len(kinds))
        )
        if apart >= 1.0 and len(kinds) <= MOST_KINDS:
            break
        kinds[a] += kinds.pop(b)
        means.pop(b)
        means[a] = mean(kinds[a])
    labels = [0] * len(segments)
    for label, kind in enumerate(kinds):
        for at in kind:
            labels[at] = label
    return labels


def _runs(segments: list[tuple[int, list[_Row]]]) -> list[tuple[int, list[_Row]]]:
    """Neighbours of one kind are one stretch."""
    found: list[tuple[int, list[_Row]]] = []
    for label, rows in segments:
        if found and found[-1][0] == label:
            found[-1] = (label, [*found[-1][1], *rows])
        else:
            found.append((label, rows))
    return found


def _features(row: _Row, seconds: float, cpus: int) -> dict[str, float]:
    """Of a kind, over the time that its stretches took together."""
    return {
        "cpu_used_cpus": row.cpu_s / seconds,
        "cpu_used_share": min(1.0, row.cpu_s / seconds / cpus),
        "host_switches_per_s": row.switches / seconds,
        "host_forks_per_s": row.forks / seconds,
        "storage_wait_share": row.storage_s / seconds,
        "cpu_wait_share": row.waiting_s / seconds,
        "host_runnable_per_cpu": row.runnable_s / seconds / cpus,
    }
