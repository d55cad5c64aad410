"""All that an explanation is made from: what was recorded, and what this machine knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.follow.life import Life
    from cli.report.model import Report, TrialReport
    from shared.messages import Built, Candidate, Made, SchedulerState
    from shared.optimization import Optimization
    from shared.policies import Manifest
    from shared.telemetry.store import Trace
    from shared.workloads import Manifest as WorkloadManifest


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a policy's own files say of it."""

    manifest: Manifest
    readme: str = ""
    made: Made | None = None
    """What a mind has written, where it does not ship."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """One optimization as far as it is known."""

    record: Optimization
    life: Life
    report: Report
    now_unix_ns: int
    trace: Trace | None = None
    """None where the bus keeps no span of it."""
    policies: Mapping[str, Written] = field(default_factory=dict)
    """This machine's catalogue."""
    workload: WorkloadManifest | None = None
    """This machine's manifest of its workload."""
    recalled: Optimization | None = None
    """The record that its plan starts from."""
    states: Mapping[str, SchedulerState] = field(default_factory=dict)
    """What schedules its hosts now, by host."""

    @property
    def decisive(self) -> TrialReport | None:
        """The trial that decided, or the last one so far."""
        return self.report.decisive_trial

    @property
    def builds(self) -> Mapping[str, Built]:
        """What the gate said, by policy."""
        return self.record.builds or self.life.builds

    @property
    def candidates(self) -> list[Candidate]:
        """What the plan wanted tried; that of the mind's own word, if its event is kept."""
        plan = self.life.plan or self.record.plan
        return list(plan.candidates) if plan is not None else []

    def written(self, candidate: Candidate) -> Written | None:
        """The files of a candidate's policy, if they are those of its version."""
        found = self.policies.get(candidate.policy)
        if found is None or found.manifest.version != candidate.version:
            return None
        return found
