"""One optimization from its question to its end, in this process.

The planner's own state machine decides what comes next, its walls take the plan, the learner's own
judge has the word after every pair: nothing is decided here. What a fleet would answer, hosts
answer (`hosts.py`), measured or made up. Time is that of the record: it goes by as things cost,
so that a life from remembered rounds is the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import field
from msgspec.structs import replace

from bench.comparing.hosts import BrokenTrialError, Hosts
from services.learner.judge import judge
from services.learner.memory import Memory
from services.planner.machine import Asked, Begin, News, Tick, accept, advance, sent
from services.planner.minds import Mind, Question
from services.planner.request import open_optimization
from services.planner.tenants import tenancy
from services.planner.thinking import next_plan, question_of
from shared.errors import Problem
from shared.messages import (
    BuildCommand,
    ConfirmCommand,
    Confirmed,
    Cost,
    DeployCommand,
    Deployed,
    Inventory,
    OptimizeRequest,
    Plan,
    ProbeCommand,
    Probed,
    Profiled,
    RecallRequest,
    Recollection,
    RememberCommand,
    Remembered,
    RevertCommand,
    Reverted,
    Round,
    StopCommand,
    TrialCommand,
    TrialEnd,
    TrialEnded,
)
from shared.optimization import Optimization, Outgoing
from shared.policies import Catalogue as Policies
from shared.workloads import Catalogue as Workloads

SECOND_NS: Final = 1_000_000_000
START_NS: Final = 1_800_000_000 * SECOND_NS
"""When every life begins, by its own clock."""
THINKING_S: Final = 7200.0
"""How long a mind may think here: who answers for a model may be a person."""
TRACE: Final = f"00-{'0' * 31}1-{'0' * 15}1-01"


class Lived(msgspec.Struct, frozen=True, kw_only=True):
    """A life that is over: its record, and every trial's pairs."""

    state: Optimization
    question: Question | None = None
    """The first one that minds were asked."""
    rounds: dict[str, list[Round]] = field(default_factory=dict)


class Life:
    """One request's life on these hosts, with these minds: the next one if one has no plan."""

    def __init__(
        self,
        request: OptimizeRequest,
        inventory: Inventory,
        workloads: Workloads,
        policies: Policies,
        minds: Sequence[Mind],
        hosts: Hosts,
        memory: Memory | None = None,
        *,
        identity: str = "o-bench",
    ) -> None:
        self._minds = minds
        self._hosts = hosts
        self._policies = policies
        self._memory = memory
        self._now_ns = START_NS
        self._rounds: dict[str, list[Round]] = {}
        self._asked: Question | None = None
        self._seen: Counter[tuple[str, tuple[tuple[str, int], ...], str]] = Counter()
        self._state = open_optimization(
            request,
            workloads[request.workload],
            {inventory.host: inventory},
            [inventory.host],
            tenancy(request, workloads, inventory.host, None),
            traceparent=TRACE,
            identity=identity,
            now_unix_ns=START_NS,
        )

    async def live(self) -> Lived:
        """Until it is over. Raises CoxswainError where hosts are lost."""
        self._state = accept(self._state, self._now_ns)
        self._hear(Begin(fence=1))
        while self._state.outbox or not self._state.over:
            if not self._state.outbox:
                # Nobody has anything to say: the soak of a winner, or a deadline.
                self._now_ns = max(self._now_ns, self._state.deadline_unix_ns)
                self._hear(Tick())
                continue
            item = self._state.outbox[0]
            self._state = sent(self._state, [item.id])
            if item.kind == "cmd":
                await self._answer(item)
        return Lived(state=self._state, question=self._asked, rounds=self._rounds)

    def first_question(self, profiled: Profiled) -> Question:
        """What a mind is asked first, from a profile that was kept: no host is needed for it."""
        self._state = accept(self._state, self._now_ns)
        self._hear(Begin(fence=1))
        self._hear(replace(profiled, optimization=self._state.id))
        return self._question()

    def _hear(self, news: News, *, after_s: float = 0.0) -> None:
        self._now_ns += round(after_s * SECOND_NS)
        self._state = advance(self._state, news, self._now_ns)

    async def _answer(self, item: Outgoing) -> None:
        """Have a command carried out, and tell the machine what came of it."""
        identity, host = self._state.id, item.host or ""
        match item.verb:
            case "profile":
                said = await self._hosts.profile(self._state.request.workload)
                self._hear(replace(said, optimization=identity))
            case "plan":
                self._hear(Asked())
                self._hear(await self._think())
            case "build":
                built = await self._hosts.build(msgspec.json.decode(item.body, type=BuildCommand))
                self._hear(replace(built, optimization=identity))
            case "trial":
                await self._try(msgspec.json.decode(item.body, type=TrialCommand))
            case "remember":
                told = msgspec.json.decode(item.body, type=RememberCommand)
                if self._memory is not None:
                    self._memory.take(told.outcomes)
                self._hear(Remembered(optimization=identity, outcomes=told.outcomes))
            case "deploy" | "confirm" | "probe" | "revert":
                self._hear(_placed(item, identity, host))

    async def _think(self) -> Plan:
        """A plan, as the planner comes to it."""
        question = self._question()
        self._asked = self._asked or question
        return await next_plan(self._minds, self._state, question, within_s=THINKING_S)

    def _question(self) -> Question:
        state = self._state
        assert state.profile is not None
        assert state.fingerprint is not None
        told = Recollection()
        if self._memory is not None:
            told = self._memory.recall(
                RecallRequest(fingerprint=state.fingerprint, features=state.profile.features)
            )
        return question_of(state, told, self._policies)

    async def _try(self, command: TrialCommand) -> None:
        """A trial as its pairs come, judged after each, until the machine has it stopped.

        Whoever tries a candidate again gets pairs that this life has not seen.
        """
        pairs = self._rounds.setdefault(command.trial, [])
        end: TrialEnd = "completed"
        problem: Problem | None = None
        candidate = (command.policy, tuple(sorted(command.parameters.items())), command.spec.stage)
        try:
            seen = self._seen[candidate]
            async with aclosing(self._hosts.rounds(command, seen)) as measured:
                async for each in measured:
                    self._seen[candidate] += 1
                    pairs.append(_as_asked(each, command, len(pairs)))
                    self._hear(pairs[-1], after_s=each.seconds)
                    self._hear(judge(command.spec, pairs))
                    if self._is_stopped(command.trial):
                        end = "stopped"
                        break
        except BrokenTrialError as broken:
            end, problem = broken.end, broken.problem
        self._hear(
            TrialEnded(
                optimization=command.optimization,
                trial=command.trial,
                host=self._state.canary,
                end=end,
                pairs=len(pairs),
                problem=problem,
                cost=Cost(wall_s=sum(each.seconds for each in pairs)),
            )
        )

    def _is_stopped(self, trial: str) -> bool:
        return any(
            item.verb == "stop" and msgspec.json.decode(item.body, type=StopCommand).trial == trial
            for item in self._state.outbox
        )


def _as_asked(measured: Round, command: TrialCommand, index: int) -> Round:
    """A pair as this trial's own, whoever had it measured."""
    return replace(
        measured,
        optimization=command.optimization,
        trial=command.trial,
        index=index,
        spec=command.spec,
    )


def _placed(item: Outgoing, identity: str, host: str) -> News:
    """What a host says that does all that it is told: rollouts are not what is compared."""
    match item.verb:
        case "deploy":
            msgspec.json.decode(item.body, type=DeployCommand)
            return Deployed(optimization=identity, host=host)
        case "confirm":
            msgspec.json.decode(item.body, type=ConfirmCommand)
            return Confirmed(optimization=identity, host=host)
        case "probe":
            mark = msgspec.json.decode(item.body, type=ProbeCommand).mark
            return Probed(optimization=identity, host=host, mark=mark)
        case _:
            why = msgspec.json.decode(item.body, type=RevertCommand).reason
            return Reverted(optimization=identity, host=host, reason=why)
