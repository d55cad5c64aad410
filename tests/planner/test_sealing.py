"""What comes of a promotion: the learner has its hosts keep it, and of nothing else."""

from __future__ import annotations

from structlog.testing import capture_logs

from shared.bus import Bus
from shared.messages import Ended, Loadable, OptimizeRequest, Rollout
from shared.policies import Catalogue
from tests.eventually import eventually
from tests.planner.paper_fleet import FLEET, POLICY, Minds, PaperFleet
from tests.planner.world import artifact

TRIED = Loadable(
    artifact=artifact(POLICY).sha256, parameters=Catalogue.load()[POLICY].manifest.defaults
)


def request() -> OptimizeRequest:
    rollout = Rollout(soak_s=0.2, control_percent=0)
    return OptimizeRequest(workload="pulse", hosts=FLEET, rollout=rollout)


async def test_every_host_of_a_promotion_is_sealed(
    bus: Bus, minds: Minds, fleet: PaperFleet
) -> None:
    reply = await minds.ask(request())
    state = await minds.end(reply.optimization)
    assert state.terminal == "promoted", state.reasons
    await eventually(lambda: sorted(fleet.sealed) == FLEET)
    assert {each.optimization for each in fleet.sealed.values()} == {state.id}
    assert all(each.tried == TRIED for each in fleet.sealed.values())


async def test_what_was_not_promoted_is_not(bus: Bus, minds: Minds, fleet: PaperFleet) -> None:
    """Nor if a planner says that it was: the judge has not said so."""
    fleet.unconfirmed.add("h2")
    reply = await minds.ask(request())
    failed = await minds.end(reply.optimization)
    assert failed.terminal == "failed"
    with capture_logs() as logs:
        for identity in ("o-of-nobody", "o-of-nobody-else"):
            ended = Ended(optimization=identity, terminal="promoted", reasons=["I say so"])
            subject = bus.subjects.event("planner", "ended", identity)
            await bus.publish(subject, ended, message_id=identity)
        await eventually(
            lambda: [line for line in logs if line["event"] == "promotion.not_ours"][1:]
        )
    assert fleet.sealed == {}
