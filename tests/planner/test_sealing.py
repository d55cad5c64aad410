"""What comes of a promotion: the learner has its hosts keep it, and of nothing else."""

from __future__ import annotations

from structlog.testing import capture_logs

from shared.bus import Bus
from shared.messages import (
    Ended,
    Loadable,
    Objective,
    OptimizeRequest,
    Rollout,
    Round,
    TrialSpec,
)
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


async def test_an_early_look_at_what_was_never_promoted_is_not_believed(
    bus: Bus, minds: Minds, fleet: PaperFleet
) -> None:
    """Whoever has a planner's key may ask for six pairs: its luck is no promotion."""
    of = "o-in-a-hurry"
    spec = TrialSpec(
        objective=Objective(metric="seconds", direction="lower"), min_pairs=6, max_pairs=6
    )
    with capture_logs() as logs:
        for index in range(6):
            done = Round(
                optimization=of,
                trial=f"{of}-t1",
                host="h1",
                index=index,
                order="AB" if index % 2 else "BA",
                seed=index,
                baseline={"seconds": 100.0},
                candidate={"seconds": 50.0 + index % 3},
                spec=spec,
                tried=TRIED,
            )
            subject = bus.subjects.event("executor", "round", of, "h1")
            await bus.publish(subject, done, message_id=f"{of}-{index}")

        def judged() -> bool:
            return any(
                line["event"] == "trial.judged" and line["verdict"] == "promote" for line in logs
            )

        await eventually(judged)
        ended = Ended(optimization=of, terminal="promoted", reasons=["six of six"])
        await bus.publish(bus.subjects.event("planner", "ended", of), ended, message_id=of)
        await eventually(lambda: [line for line in logs if line["event"] == "promotion.not_ours"])
    assert fleet.sealed == {}
