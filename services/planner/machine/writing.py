"""What every step writes into the record: messages to send, the next phase, costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from shared.messages import Cost, Progress, StopCommand
from shared.optimization import Outgoing

if TYPE_CHECKING:
    from shared.messages import Message
    from shared.optimization import Optimization, Phase

Service = Literal["observer", "planner", "executor", "learner"]

SECOND_NS = 1_000_000_000
SLACK_S = 90.0
"""What a host may take beyond the workload's own time: set-up, attaching, a restart."""


def stop_trial(state: Optimization, reason: str) -> Optimization:
    """Have the trial that runs ended."""
    trial = state.trials[-1]
    return command(
        state,
        "executor",
        "stop",
        trial.host,
        StopCommand(optimization=state.id, trial=trial.trial, reason=reason),
    )


def charge(state: Optimization, stage: str, cost: Cost) -> dict[str, Cost]:
    """The costs with one more on a stage."""
    return {**state.costs, stage: state.costs.get(stage, Cost()) + cost}


def enter(
    state: Optimization, phase: Phase, wait_s: float, now_unix_ns: int, text: str
) -> Optimization:
    """Say what begins now, and how long to wait for it."""
    state = tell(state, "progress", Progress(optimization=state.id, phase=phase, text=text))
    return replace(state, phase=phase, deadline_unix_ns=now_unix_ns + ns(wait_s))


def progress(state: Optimization, text: str) -> Optimization:
    """Say where it stands, in the phase that it is in."""
    return tell(state, "progress", Progress(optimization=state.id, phase=state.phase, text=text))


def stand_still(state: Optimization, now_unix_ns: int) -> Optimization:
    """Nothing new begins here until it is released; the budget's clock stands still, too."""
    state = progress(state, f"standing still: {', '.join(state.holds)}")
    return replace(state, held_unix_ns=now_unix_ns)


def tell(state: Optimization, fact: str, message: Message) -> Optimization:
    """An event for everybody."""
    return _send(state, "evt", "planner", fact, None, message)


def command(
    state: Optimization,
    service: Service,
    verb: str,
    host: str | None,
    message: Message,
) -> Optimization:
    """Work for a service, on a host or wherever it runs."""
    return _send(state, "cmd", service, verb, host, message)


def _send(
    state: Optimization,
    kind: Literal["cmd", "evt"],
    service: Service,
    verb: str,
    host: str | None,
    message: Message,
) -> Optimization:
    item = Outgoing(
        id=f"{state.id}-{state.sent + 1}~{state.secret}",
        kind=kind,
        service=service,
        verb=verb,
        host=host,
        body=msgspec.Raw(msgspec.json.encode(message)),
    )
    return replace(state, outbox=[*state.outbox, item], sent=state.sent + 1)


def ns(seconds: float) -> int:
    """Seconds as nanoseconds."""
    return round(seconds * SECOND_NS)
