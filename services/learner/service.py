"""The learner on the bus: rounds in, verdicts out; outcomes in, memories out.

Nothing is kept here: a verdict is computed from the rounds in the event stream, the memory is
a fold over the `remembered` events in it. Any number of learners may run.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from services.learner.judge import judge
from services.learner.memory import Memory
from services.learner.weigh import weigh
from shared import attributes as names
from shared.errors import BusError, MessageError
from shared.messages import (
    Judged,
    RecallRequest,
    Recollection,
    RememberCommand,
    Remembered,
    Round,
    WeighCommand,
    decode,
)
from shared.metrics import declared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg

    from shared.bus import Bus, Delivery
    from shared.settings import Settings
    from shared.telemetry import Telemetry

log = structlog.get_logger(__name__)


class Learner:
    """Judges trials as their rounds arrive, and remembers what came of them."""

    def __init__(self, bus: Bus, telemetry: Telemetry) -> None:
        self._bus = bus
        self._telemetry = telemetry
        self._memory = Memory()

    async def start(self) -> None:
        """Rebuild the memory from the event stream, then work."""
        self._telemetry.metrics.expose(*declared.LEARNER)
        subjects = self._bus.subjects
        remembered = subjects.events("learner", "remembered")
        # First listen, then read: what arrives in between comes twice, which does no harm.
        await self._bus.nc.subscribe(remembered, cb=self._on_remembered)
        async for _, data in self._bus.history("EVENTS", remembered):
            self._take(data)
        await self._bus.serve(
            subjects.endpoint("learner", "recall"), RecallRequest, self._recall, queue="learner"
        )
        self._bus.consume(
            "EVENTS",
            subjects.consumer("learner", "rounds"),
            {"round": (Round, self._judge)},
            concurrency=4,
        )
        self._bus.consume(
            "COMMANDS",
            subjects.consumer("learner", "commands"),
            {
                "remember": (RememberCommand, self._remember),
                "weigh": (WeighCommand, self._weigh),
            },
        )

    async def _judge(self, latest: Round, delivery: Delivery) -> None:
        """Judge a trial by every round up to this one, and by no later one."""
        subject = self._bus.subjects.events("executor", "round", latest.optimization)
        rounds = [decode(data, Round) async for _, data in self._bus.history("EVENTS", subject)]
        mine = [
            done for done in rounds if done.trial == latest.trial and done.index <= latest.index
        ]
        if {done.index for done in mine} != set(range(latest.index + 1)):
            # Another server of a cluster may be a little behind: this comes again.
            raise BusError(
                f"rounds of {latest.trial} are missing",
                expected=f"rounds 0 to {latest.index}",
                got=str(sorted(done.index for done in mine)),
            )
        judged = await asyncio.to_thread(judge, latest.spec, mine)
        last = judged.verdict != "continue" or judged.pairs >= latest.spec.max_pairs
        if last:
            with self._telemetry.span(
                "judge",
                of=latest.spec.stage,
                attributes={
                    names.OPTIMIZATION_ID: latest.optimization,
                    names.TRIAL_ID: latest.trial,
                    names.TRIAL_PAIRS: judged.pairs,
                    names.VERDICT: judged.verdict,
                    names.VERDICT_REASONS: list(judged.reasons),
                    names.RATIO: judged.ratio,
                    names.RATIO_LOW: judged.low,
                    names.RATIO_HIGH: judged.high,
                    names.DELIVERIES: delivery.deliveries,
                },
            ):
                await self._tell(latest, judged)
        else:
            await self._tell(latest, judged)

    async def _tell(self, latest: Round, judged: Judged) -> None:
        await self._bus.publish(
            self._bus.subjects.event("learner", "judged", latest.optimization),
            judged,
            message_id=f"{latest.trial}-judged-{latest.index}",
        )
        self._telemetry.metrics.count(declared.VERDICTS, verdict=judged.verdict)
        log.info(
            "trial.judged",
            trial=latest.trial,
            pairs=judged.pairs,
            verdict=judged.verdict,
            ratio=round(judged.ratio, 4),
        )

    async def _weigh(self, command: WeighCommand, delivery: Delivery) -> None:
        """A step of a rollout against its control."""
        with self._telemetry.span(
            "weigh",
            of=f"cohort {command.cohort}",
            attributes={
                names.OPTIMIZATION_ID: command.optimization,
                names.COHORT_NUMBER: command.cohort,
                names.COHORT_HOSTS: [each.host for each in command.treated],
                names.COHORT_CONTROL: [each.host for each in command.control],
                names.DELIVERIES: delivery.deliveries,
            },
        ) as span:
            weighed = await asyncio.to_thread(weigh, command)
            span.set(
                {
                    names.VERDICT: weighed.verdict,
                    names.VERDICT_REASONS: list(weighed.reasons),
                    names.RATIO: weighed.ratio,
                }
            )
            await self._bus.publish(
                self._bus.subjects.event("learner", "weighed", command.optimization),
                weighed,
                message_id=f"{command.optimization}-weighed-{command.cohort}",
            )
        log.info(
            "cohort.weighed",
            optimization=command.optimization,
            cohort=command.cohort,
            verdict=weighed.verdict,
            ratio=round(weighed.ratio, 4),
        )

    async def _remember(self, command: RememberCommand, _delivery: Delivery) -> None:
        with self._telemetry.span(
            "remember",
            attributes={
                names.OPTIMIZATION_ID: command.optimization,
                names.OUTCOMES: [
                    f"{o.policy} {o.verdict} ratio {o.ratio:.3f} in {o.pairs} pairs"
                    for o in command.outcomes
                ],
            },
        ):
            # The event is the memory: once the stream has it, it is remembered.
            await self._bus.publish(
                self._bus.subjects.event("learner", "remembered", command.optimization),
                Remembered(optimization=command.optimization, outcomes=command.outcomes),
                message_id=f"{command.optimization}-remembered",
            )
        for outcome in command.outcomes:
            self._telemetry.metrics.count(declared.OUTCOMES, verdict=outcome.verdict)

    async def _recall(self, request: RecallRequest) -> Recollection:
        with self._telemetry.span("recall") as span:
            found = self._memory.recall(request)
            span.set({names.RECALL_EXACT: len(found.exact), names.RECALL_NEAR: len(found.near)})
            return found

    async def _on_remembered(self, message: Msg) -> None:
        self._take(message.data)

    def _take(self, data: bytes) -> None:
        try:
            self._memory.remember(decode(data, Remembered))
        except MessageError as error:
            # One bad event must not cost us all the others.
            log.warning("memory.unreadable_event", problem=str(error))


@contextlib.asynccontextmanager
async def learner(_settings: Settings, bus: Bus, telemetry: Telemetry) -> AsyncIterator[None]:
    """Judge and remember while the context is open."""
    await Learner(bus, telemetry).start()
    yield
