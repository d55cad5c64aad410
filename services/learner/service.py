"""The learner on the bus: rounds in, verdicts out; outcomes in, memories out.

Nothing is kept here: a verdict is computed from the rounds in the event stream, the memory is
a fold over the `remembered` events in it, the policy repository one over those and the `built`
ones. Any number of learners may run.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import structlog
from msgspec.structs import replace

from services.learner.calibration import calibrated
from services.learner.judge import judge
from services.learner.memory import Memory
from services.learner.repository import Finder, Repository, history, policies, policy
from services.learner.seal import promoted
from services.learner.vouch import Evidence, Vouching, is_of
from services.learner.watching import Watching
from services.learner.weigh import weigh
from shared import attributes as names
from shared.bus.consume import check_teller
from shared.bus.stored import check_spoken
from shared.errors import BusError, MessageError
from shared.messages import (
    Built,
    Deployed,
    Drifted,
    Ended,
    Judged,
    Loadable,
    Message,
    Probed,
    RecallRequest,
    Recollection,
    RememberCommand,
    Remembered,
    Round,
    SealCommand,
    WeighCommand,
    Weighed,
    decode,
)
from shared.metrics import declared
from shared.outcomes import CALIBRATION_LIMIT, MADE_LIMIT, sound
from shared.plain import plain
from shared.policies import Catalogue
from shared.repository import (
    CalibrationRequest,
    CalibrationTable,
    PoliciesRequest,
    PolicyHistory,
    PolicyHistoryRequest,
    PolicyHits,
    PolicyList,
    PolicyRecord,
    PolicyRequest,
    PolicySearchRequest,
)
from shared.statistics import LOOK_AGAIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from nats.aio.msg import Msg

    from shared.bus import Bus, Delivery
    from shared.messages import Made
    from shared.settings import Settings
    from shared.telemetry import Telemetry

log = structlog.get_logger(__name__)

LOOKS_KEPT = timedelta(days=14)
"""Of hosts under what they keep, that are read at the start: what is normal takes a day."""

ROWS = 500
"""Of a table: it must fit into one message."""

M = TypeVar("M", bound=Message)


class Learner:
    """Judges trials as their rounds arrive, and remembers what came of them."""

    def __init__(self, bus: Bus, telemetry: Telemetry) -> None:
        self._bus = bus
        self._telemetry = telemetry
        self._memory = Memory()
        self._repository = Repository(Catalogue.load())
        self._finder = Finder(self._repository)
        self._watching = Watching()
        self._vouching = Vouching(self._memory, self._evidence)

    async def start(self) -> None:
        """Rebuild the memory and the repository from the event stream, then work."""
        self._telemetry.metrics.expose(*declared.LEARNER)
        subjects = self._bus.subjects
        # First listen, then read: what arrives in between comes twice, which does no harm.
        for facts, take in (
            (subjects.events("executor", "built"), self._take_built),
            (subjects.events("learner", "remembered"), self._take),
            (subjects.events("observer", "probed"), self._take_probed),
        ):
            heard = self._heard_probed if take == self._take_probed else take
            await self._bus.nc.subscribe(facts, cb=_each(facts, heard))
            since = None
            if take == self._take_probed:
                # One each ten minutes of every promotion, for ever: older ones are worth little.
                since = datetime.now(UTC) - LOOKS_KEPT
            async for subject, data in self._bus.history("EVENTS", facts, since):
                take(subject, data)
        await self._tell_drifts()
        for question, kind, answer in (
            ("recall", RecallRequest, self._recall),
            ("policies", PoliciesRequest, self._policies),
            ("calibration", CalibrationRequest, self._calibration),
            ("policy", PolicyRequest, self._policy),
            ("history", PolicyHistoryRequest, self._history),
            ("search", PolicySearchRequest, self._search),
        ):
            await self._bus.serve(
                subjects.endpoint("learner", question), kind, answer, queue="learner"
            )
        # What it remembers and judges by: gone, all of it is.
        self._bus.depend(subjects.stream("EVENTS"))
        self._bus.consume(
            "EVENTS",
            subjects.consumer("learner", "rounds"),
            {"round": (Round, self._judge), "ended": (Ended, self._seal)},
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
        mine = [
            done
            for done in await self._rounds(latest.optimization, latest.host)
            if done.trial == latest.trial and done.index <= latest.index
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
            message_id=f"{latest.trial}-judged-{latest.host}-{latest.index}",
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

    async def _seal(self, ended: Ended, _delivery: Delivery) -> None:
        """Have hosts keep what was promoted, whatever a planner says later: if it was, by us."""
        if ended.terminal != "promoted":
            return
        of = ended.optimization
        subjects = self._bus.subjects
        judged, weighed, rounds, builds = await self._evidence(of)
        tried = promoted(judged, weighed, rounds)
        if tried is None:
            again = promoted(judged, weighed, rounds, pairs=LOOK_AGAIN)
            # An early look is for what we have promoted before.
            tried = again if await self._known(again, builds) else None
        if tried is None:
            log.error(
                "promotion.not_ours",
                optimization=of,
                expected="a confirmation that we have judged, and no step that did harm",
                got="a planner that says it was promoted",
                advice="Its hosts are not sealed. Find out who has the planner's key.",
            )
            return
        deployed = await self._told(subjects.events("executor", "deployed", of), Deployed)
        for host in sorted({each.host for each in deployed if each.problem is None}):
            await self._bus.publish(
                subjects.command("executor", "seal", host),
                SealCommand(optimization=of, tried=tried),
                message_id=f"{of}-seal-{host}",
            )

    async def _evidence(self, of: str) -> Evidence:
        """What others than a planner have said of an optimization."""
        subjects = self._bus.subjects
        judged = await self._told(subjects.events("learner", "judged", of), Judged)
        if not judged:
            return [], [], [], []  # praise of what never was costs one look
        return (
            judged,
            await self._told(subjects.events("learner", "weighed", of), Weighed),
            await self._told(subjects.events("executor", "round", of), Round),
            await self._told(subjects.events("executor", "built", of), Built),
        )

    async def _known(self, tried: Loadable | None, builds: list[Built]) -> bool:
        """Whether the learner vouches for an earlier promotion of this candidate."""
        if tried is None:
            return False
        told = self._memory.promoted_with(tried.parameters, {each.policy for each in builds})
        return any([await self._vouching.of([each]) for each in told if is_of(each, tried, builds)])

    async def _rounds(self, optimization: str, host: str) -> list[Round]:
        """All that this host has told of."""
        subject = self._bus.subjects.events("executor", "round", optimization, host)
        return await self._told(subject, Round)

    async def _told(self, subject: str, kind: type[M]) -> list[M]:
        """Events, oldest first; what cannot be read must not cost us the others."""
        told = []
        async for name, data in self._bus.history("EVENTS", subject):
            try:
                event = decode(data, kind)
                check_teller(name, event)
                told.append(event)
            except MessageError as error:
                log.warning("learner.unreadable_event", problem=str(error))
        return told

    async def _recall(self, request: RecallRequest) -> Recollection:
        with self._telemetry.span("recall") as span:
            found = self._memory.recall(request)
            of = request.fingerprint.workload_class
            rows = [
                each for each in calibrated(self._memory.outcomes()) if each.workload_class == of
            ]
            vouched = await self._vouching.of(found.exact)
            found = replace(
                found,
                made=sources(self._repository, found),
                vouched=vouched,
                calibration=rows[:CALIBRATION_LIMIT],
            )
            span.set({names.RECALL_EXACT: len(found.exact), names.RECALL_NEAR: len(found.near)})
            return found

    async def _policies(self, _request: PoliciesRequest) -> PolicyList:
        return policies(self._repository)

    async def _calibration(self, _request: CalibrationRequest) -> CalibrationTable:
        return CalibrationTable(rows=calibrated(self._memory.outcomes())[:ROWS])

    async def _policy(self, request: PolicyRequest) -> PolicyRecord:
        return policy(self._repository, request)

    async def _history(self, request: PolicyHistoryRequest) -> PolicyHistory:
        return history(self._repository, request)

    async def _search(self, request: PolicySearchRequest) -> PolicyHits:
        return self._finder.find(request)

    def _take_built(self, subject: str, data: bytes) -> None:
        try:
            event = decode(data, Built)
            check_teller(subject, event)
            for why in self._repository.built(event):
                log.warning(
                    "repository.refused", optimization=plain(event.optimization, 80), why=why
                )
        except MessageError as error:
            log.warning("repository.unreadable_event", problem=str(error))

    def _take_probed(self, subject: str, data: bytes) -> None:
        try:
            event = decode(data, Probed)
            check_teller(subject, event)
        except MessageError as error:
            log.warning("drift.unreadable_event", problem=str(error))
            return
        self._watching.take(event)

    async def _heard_probed(self, subject: str, data: bytes) -> None:
        self._take_probed(subject, data)
        for found in self._watching.found():
            await self._tell_drift(found)

    async def _tell_drifts(self) -> None:
        """What nobody has told of, because no learner was there."""
        told = await self._told(self._bus.subjects.events("learner", "drifted"), Drifted)
        known = {(each.optimization, each.on, each.figure, each.at_ns) for each in told}
        for found in self._watching.found():
            if (found.optimization, found.on, found.figure, found.at_ns) not in known:
                await self._tell_drift(found)

    async def _tell_drift(self, found: Drifted) -> None:
        found = replace(found, unix_ns=time.time_ns())
        log.warning(
            "drift.found",
            optimization=found.optimization,
            host=found.on,
            why="; ".join(found.reasons),
        )
        await self._bus.publish(
            self._bus.subjects.event("learner", "drifted", found.optimization),
            found,
            message_id=f"{found.optimization}-drifted-{found.on}-{found.figure}-{found.at_ns}",
        )
        self._telemetry.metrics.count(declared.DRIFTS, figure=found.figure)

    def _take(self, subject: str, data: bytes) -> None:
        try:
            event = decode(data, Remembered)
            check_teller(subject, event)
            outcomes, refused = sound(event, time.time_ns())
            self._memory.take(outcomes)
            self._repository.take(outcomes)
            if refused:
                log.warning(
                    "memory.refused",
                    optimization=event.optimization,
                    outcomes=len(refused),
                    why=plain(refused[0], 200),
                )
        except MessageError as error:
            # One bad event must not cost us all the others.
            log.warning("memory.unreadable_event", problem=str(error))


def sources(repository: Repository, told: Recollection) -> list[Made]:
    """The hooks that do not ship of the policies that are told of, the best told first."""
    names = dict.fromkeys(each.policy for each in (*told.exact, *told.near))
    known = [made for made in map(repository.made, names) if made is not None]
    return known[:MADE_LIMIT]


def _each(
    heard: str, take: Callable[[str, bytes], Awaitable[None] | None]
) -> Callable[[Msg], Awaitable[None]]:
    async def on_message(message: Msg) -> None:
        try:
            check_spoken(message, heard)
        except MessageError as error:
            log.warning("learner.unreadable_event", problem=str(error))
        else:
            taken = take(message.subject, message.data)
            if taken is not None:
                await taken

    return on_message


@contextlib.asynccontextmanager
async def learner(_settings: Settings, bus: Bus, telemetry: Telemetry) -> AsyncIterator[None]:
    """Judge and remember while the context is open."""
    await Learner(bus, telemetry).start()
    yield
