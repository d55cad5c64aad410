"""From all that is known of an optimization to its explanation. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.explaining import decision, places
from cli.explaining.model import Explanation
from cli.explaining.policies import policies
from cli.explaining.queue import queue
from cli.explaining.spending import spent
from cli.explaining.tried import refused, tried
from cli.explaining.trouble import trouble
from cli.limits import baseline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.explaining.known import Known


def explain(known: Known) -> Explanation:
    """The explanation of an optimization, over or not."""
    record = known.record
    return Explanation(
        optimization=record.id,
        trace_id=record.trace_id,
        workload=record.request.workload,
        objective=record.objective,
        over=record.over,
        canary=record.canary,
        beside=record.beside,
        baseline=baseline(record.against),
        because=record.because,
        decision=decision.decision(known),
        why=decision.why(known),
        tried=tried(known),
        refused=refused(known),
        policies=policies(known),
        spent=spent(known),
        queue=queue(known),
        hosts=places.hosts(known),
        steps=places.steps(known),
        trouble=trouble(known),
        unknown=list(_unknown(known)),
    )


def _unknown(known: Known) -> Iterator[str]:
    """What nobody can say, and why."""
    record, life = known.record, known.life
    if record.profile is None:
        yield "how the workload behaves: it was not profiled"
    if record.trials and not any(trial.rounds for trial in known.report.trials):
        if any(trial.pairs for trial in record.trials):
            yield "the raw rounds: the bus keeps none of their events any more"
        else:
            yield "what a candidate does: no pair was measured"
    elif record.trials and not any(r.counters for t in known.report.trials for r in t.rounds):
        yield "how long tasks waited under a candidate: its pairs carry no counters"
    if record.trials:
        yield (
            "which tasks waited during the trials: profiles are taken before them; of the pairs "
            "there are the workload's own metrics, and of the candidate's side the frame's counters"
        )
    if known.trace is None:
        yield "what spans told (a model's calls, recalls): the bus keeps none of its trace"
    if life.accepted is None:
        yield "how long each phase took: the bus keeps no event of its beginning"
    if known.workload is None:
        yield "what its metrics mean: this machine's catalogue does not have the workload"
