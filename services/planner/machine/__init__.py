"""The state machine of an optimization: pure, so that it can be tested without a bus.

    queued → profiling → planning → building → trying → deploying → remembering → ended

`advance(state, news, now_unix_ns)` gives the next state. What must be sent stands in the
state's outbox, so that deciding and remembering to tell others is one write. News that does not
belong to the phase, or came before, changes nothing: the bus may deliver anything twice.

    life        which news matters when; time
    waiting     for a turn, or on an operator's word
    planning    observing the canary, planning, building
    trying      trials on the canary
    rollout     cohort after cohort
    ending      giving up, going back, what was learned
    writing     what every step writes: the outbox, the next phase, costs
"""

from services.planner.machine.life import News, Tick, accept, advance, sent
from services.planner.machine.waiting import Begin, Hold, Release, Wait

__all__ = ["Begin", "Hold", "News", "Release", "Tick", "Wait", "accept", "advance", "sent"]
