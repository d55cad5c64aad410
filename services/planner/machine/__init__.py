"""The state machine of an optimization: pure, so that it can be tested without a bus.

    queued → profiling → planning → building → trying → deploying → remembering → ended

`advance(state, news, now_unix_ns)` gives the next state. What must be sent stands in the
state's outbox, so that deciding and remembering to tell others is one write. News that does not
belong to the phase, or came before, changes nothing: the bus may deliver anything twice.

    life        which news matters when; time
    waiting     for a turn, or on an operator's word
    planning    observing the canary, planning
    building    having policies built
    trying      trials on the canary
    rollout     cohort after cohort
    ending      giving up, going back, what was learned
    losses      what was replaced, and what became of those that it was for
    writing     what every step writes: the outbox, the next phase, costs
"""

from services.planner.machine.life import Lost, News, Tick, accept, advance, sent
from services.planner.machine.planning import Asked
from services.planner.machine.waiting import Begin, Hold, Refuse, Release, Wait

__all__ = [
    "Asked",
    "Begin",
    "Hold",
    "Lost",
    "News",
    "Refuse",
    "Release",
    "Tick",
    "Wait",
    "accept",
    "advance",
    "sent",
]
