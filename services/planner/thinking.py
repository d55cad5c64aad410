"""One plan: what is known is recalled, a mind decides, and a span tells how it came to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from services.planner.machine import Asked
from services.planner.minds import Question
from services.planner.minds.tried import rejected_in, tried_in
from services.planner.minds.walls import MIND_S, MOST_PLANS, ask
from shared import attributes as names
from shared.errors import BusError, CoxswainError, PlanError
from shared.fleet import said_of
from shared.messages import Cost, Declined, Plan, PlanCommand, RecallRequest, Recollection
from shared.outcomes import CALIBRATION_LIMIT, EXACT_LIMIT, MADE_LIMIT, NEAR_LIMIT, kept, unsound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.planner.lives import Lives
    from services.planner.minds import Mind
    from services.planner.turns import Turns
    from shared.bus import Bus, Delivery
    from shared.fleet import Orders
    from shared.messages import Fingerprint, Outcome
    from shared.optimization import Optimization
    from shared.policies import Catalogue, Policy
    from shared.telemetry import Telemetry

RECALL_S = 5.0

FIRST_SHARE = 0.8
"""Of the time that is left, for a mind after which another one may be asked."""

log = structlog.get_logger(__name__)


class Thinking:
    """Has minds plan: the first one, and the next one only if there is no plan of those before."""

    def __init__(
        self,
        bus: Bus,
        telemetry: Telemetry,
        minds: Sequence[Mind],
        policies: Catalogue,
        lives: Lives,
        turns: Turns,
    ) -> None:
        self._bus = bus
        self._telemetry = telemetry
        self._minds = minds
        self._policies = policies
        self._lives = lives
        self._turns = turns

    async def plan(self, command: PlanCommand, delivery: Delivery) -> None:
        """Decide what is tried in an optimization that waits for a plan."""
        state = await self._lives.read(command.optimization)
        if state is None or state.phase != "planning":
            return
        await self._lives.step(state.id, Asked())
        state = self._lives.get(state.id)
        if state is None or state.phase != "planning":
            return
        if state.plans_asked > MOST_PLANS:
            # It may be thinking yet; if it never answers, the record's own deadline says so.
            log.warning("plan.asked_too_often", optimization=state.id, asked=state.plans_asked)
            return
        with self._telemetry.span(
            "plan",
            of=self._minds[0].name,
            attributes={
                names.OPTIMIZATION_ID: state.id,
                names.DELIVERIES: delivery.deliveries,
            },
        ) as span:
            plan = await self._think(state)
            span.set(
                {
                    names.PLAN_MIND: plan.mind,
                    names.PLAN_DECLINED: [f"{d.mind}: {d.problem}" for d in plan.declined],
                    names.PLAN_KIND: plan.kind,
                    names.PLAN_RECALLED: plan.recalled,
                    names.DECISION_CONSIDERED: [
                        f"{c.policy} {c.score:.2f}: {c.reason}" for c in plan.considered
                    ],
                    names.DECISION_CHOSEN: [
                        f"{c.policy} {c.parameters} predicts {c.predicted_ratio:.2f}"
                        f" [{c.predicted_low:.2f}, {c.predicted_high:.2f}]: {c.why}"
                        for c in plan.candidates
                    ],
                    names.DECISION_WHY: plan.why,
                }
            )
            if plan.problem is not None:
                span.fail(str(plan.problem), kind=plan.problem.kind)
        await self._lives.step(state.id, plan)

    async def _think(self, state: Optimization) -> Plan:
        recollection = await self._recall(state)
        orders = await self._turns.orders()
        question = replace(
            question_of(state, recollection, self._policies.without(orders.retired)),
            preferred=preferred(self._policies, orders),
        )
        return await next_plan(self._minds, state, question, within_s=MIND_S)

    async def _recall(self, state: Optimization) -> Recollection:
        """What is known; without a learner we plan from the profile alone."""
        assert state.profile is not None
        assert state.fingerprint is not None
        request = RecallRequest(fingerprint=state.fingerprint, features=state.profile.features)
        try:
            told = await self._bus.ask(
                self._bus.subjects.endpoint("learner", "recall"),
                request,
                Recollection,
                timeout_s=RECALL_S,
            )
        except BusError as error:
            log.warning("plan.no_recall", optimization=state.id, problem=str(error))
            return Recollection()
        sound = sifted(told, state.fingerprint, time.time_ns())
        refused = len(told.exact) + len(told.near) - len(sound.exact) - len(sound.near)
        if refused:
            log.warning("plan.recall_refused", optimization=state.id, outcomes=refused)
        return sound


def question_of(state: Optimization, recollection: Recollection, policies: Catalogue) -> Question:
    """What a mind is asked in this optimization, once its canary is profiled."""
    assert state.profile is not None
    assert state.fingerprint is not None
    return Question(
        optimization=state.id,
        request=state.request,
        profile=state.profile,
        # Who a host is, is nobody's business but the gate's (machine-id(5)).
        inventory=replace(state.inventories[state.canary], machine_id="", boot_id=""),
        fingerprint=state.fingerprint,
        objective=state.objective,
        recollection=recollection,
        policies=policies.joined(_made(policies, recollection)),
        guardrails=state.guardrails,
        tried=tried_in(state),
        rejected=rejected_in(state),
        rounds_used=state.rounds_used,
    )


def preferred(policies: Catalogue, orders: Orders) -> list[str]:
    """Which of these policies operators prefer."""
    return [
        name
        for name, policy in policies.items()
        if said_of(orders.preferred, name, policy.manifest.version)
    ]


async def next_plan(
    minds: Sequence[Mind], state: Optimization, question: Question, *, within_s: float
) -> Plan:
    """The plan of this generation, by whoever is asked in it."""
    plan = await _first_plan(asked_of(minds, state), question, within_s)
    return replace(plan, generation=state.generation)


def asked_of(minds: Sequence[Mind], state: Optimization) -> Sequence[Mind]:
    """All of them, in their order; later on the one whose plan is carried out, and no other.

    A planner of other settings may have taken over: then the last mind goes on, as ever.
    """
    if not state.generation or state.plan is None:
        return minds
    wanted = state.plan.mind
    return [each for each in minds if each.name == wanted] or minds[-1:]


async def _first_plan(minds: Sequence[Mind], question: Question, within_s: float) -> Plan:
    """The first mind's plan, or of the next one if it has none; a plan that says so if none has."""
    end_s = time.monotonic() + within_s
    cost = Cost()
    declined: list[Declined] = []
    for mind in minds:
        left_s = end_s - time.monotonic()
        share_s = left_s if mind is minds[-1] else left_s * FIRST_SHARE
        try:
            plan = await ask(mind, question, within_s=share_s)
        except CoxswainError as error:
            log.warning(
                "plan.declined", optimization=question.optimization, mind=mind.name, why=str(error)
            )
            declined.append(Declined(mind=mind.name, problem=error.problem))
            if isinstance(error, PlanError) and error.spent is not None:
                cost += error.spent
        else:
            return replace(plan, declined=declined, cost=cost + plan.cost)
    return Plan(
        optimization=question.optimization,
        mind=declined[-1].mind,
        kind="keep-default",
        considered=[],
        candidates=[],
        why="no mind could plan",
        problem=declined[-1].problem,
        declined=declined[:-1],
        cost=cost,
    )


def _made(policies: Catalogue, told: Recollection) -> list[Policy]:
    """Policies that minds have made before. Who told us of them may have told anything."""
    found = []
    for made in told.made[:MADE_LIMIT]:
        try:
            found.append(policies.make(made))
        except CoxswainError as error:
            log.warning("plan.recall_refused", made=made.parent, problem=str(error))
    return found


def sifted(told: Recollection, asked: Fingerprint, now_unix_ns: int) -> Recollection:
    """What of a recollection can be true, and answers what was asked."""

    def sound(outcomes: list[Outcome], limit: int, *, exact: bool) -> list[Outcome]:
        return [
            kept(each)
            for each in outcomes[:limit]
            if (each.fingerprint == asked) == exact and not unsound(each, now_unix_ns)
        ]

    return Recollection(
        exact=sound(told.exact, EXACT_LIMIT, exact=True),
        near=sound(told.near, NEAR_LIMIT, exact=False),
        made=told.made,
        vouched=told.vouched[:EXACT_LIMIT],
        calibration=told.calibration[:CALIBRATION_LIMIT],
    )
