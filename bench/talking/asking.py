"""The LLM mind with the real SDK on a server that listens in or plays back."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import field

from bench.talking.conversation import (
    Check,
    Conversation,
    hidden,
    kept_question,
    question_of,
    turns_of,
)
from bench.talking.tape import Player, Recorder, serving
from services.planner.minds import Question
from services.planner.minds.chosen import Choice
from services.planner.minds.llm.meter import Price
from services.planner.minds.llm.mind import PROMPT, LlmMind
from services.planner.minds.llm.model import Model
from services.planner.minds.walls import ask
from shared.errors import CoxswainError, Problem
from shared.messages import Checked, CheckRequest, Plan
from shared.policies import Catalogue
from shared.telemetry import start_telemetry

REPLAYED_KEY: Final = "no-key-is-needed"
PATIENCE_S: Final = 3600.0
"""For a plan that is recorded: who answers for a model may be a person."""

Gate = Callable[[CheckRequest], Awaitable[Checked]]


def prompt_sha256() -> str:
    """Of the prompt as it is now."""
    return hashlib.sha256(PROMPT.read_text(encoding="utf-8").encode()).hexdigest()


@asynccontextmanager
async def llm_mind(
    url: str, key: str, choice: Choice, gate: Gate, *, within_s: float
) -> AsyncIterator[LlmMind]:
    """The mind, on the server at `url`."""
    telemetry = start_telemetry("planner", publish=None)
    model = Model(choice.model, key, url)
    try:
        yield LlmMind(
            model,
            telemetry,
            choice.price,
            choice.tokens,
            choice.dollars,
            gate,
            within_s=within_s,
        )
    finally:
        await model.close()
        await telemetry.shutdown()


class Listening:
    """A mind that is listened to, and what was said so far."""

    def __init__(self, mind: LlmMind, recorder: Recorder, choice: Choice, key: str) -> None:
        self.mind = mind
        self.checks: list[Check] = []
        self._recorder = recorder
        self._choice = choice
        self._key = key

    def kept(self, question: Question, plan: Plan | None, problem: Problem | None) -> Conversation:
        """All of it but the key: the first question, and what came of it."""
        common, turns = turns_of(self._recorder.exchanges)
        told, made = kept_question(question)
        conversation = Conversation(
            workload=question.request.workload,
            model=self._choice.model,
            price=(self._choice.price.input, self._choice.price.output),
            prompt_sha256=prompt_sha256(),
            question=told,
            made=made,
            common=common,
            turns=turns,
            checks=self.checks,
            plan=plan,
            problem=problem,
        )
        return hidden(conversation, self._key)


@asynccontextmanager
async def listening(
    choice: Choice, key: str, gate: Gate, *, within_s: float
) -> AsyncIterator[Listening]:
    """The mind on the model at `choice.base_url`, with somebody who writes down what is said."""
    checks: list[Check] = []

    async def heard(request: CheckRequest) -> Checked:
        said = await gate(request)
        checks.append(Check(asked=request, said=said))
        return said

    recorder = Recorder(choice.base_url)
    with serving(recorder.answer) as url:
        async with llm_mind(url, key, choice, heard, within_s=within_s) as mind:
            found = Listening(mind, recorder, choice, key)
            found.checks = checks
            yield found


async def recorded(
    question: Question, choice: Choice, key: str, gate: Gate, *, within_s: float = PATIENCE_S
) -> Conversation:
    """Ask the model this question, and keep what was said."""
    async with listening(choice, key, gate, within_s=within_s) as heard:
        try:
            plan = await ask(heard.mind, question, within_s=within_s)
        except CoxswainError as error:
            return heard.kept(question, None, error.problem)
        return heard.kept(question, plan, None)


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a conversation that was played back."""

    workload: str
    plan: Plan | None
    problem: Problem | None
    stale: list[str] = field(default_factory=list)
    """Where it differs from what was recorded, in lines; none means that it is the same."""

    @property
    def tokens(self) -> int:
        """What its answers say that they took."""
        return self.plan.cost.tokens if self.plan is not None else 0


async def replayed(conversation: Conversation, policies: Catalogue) -> Replayed:
    """The recorded question once more, to the recorded answers. Raises InputError."""
    # By name: that is a hash of the hooks, and not of the prompt that they were written by.
    known = {each.asked.policy: each.said for each in conversation.checks}
    stale = stale_prompt(conversation)

    async def gate(request: CheckRequest) -> Checked:
        said = known.get(request.policy)
        if said is None:
            stale.append(f"the gate was not asked about {request.policy} then")
            problem = Problem(kind="InputError", what="the gate's word was not recorded")
            return Checked(problem=problem)
        return said

    question = question_of(conversation, policies)
    plan: Plan | None = None
    problem: Problem | None = None
    player = Player(conversation)
    with serving(player.answer) as url:
        async with llm_mind(
            url, REPLAYED_KEY, choice_of(conversation), gate, within_s=PATIENCE_S
        ) as mind:
            try:
                plan = await ask(mind, question, within_s=PATIENCE_S)
            except CoxswainError as error:
                problem = error.problem
    stale += player.said
    if _told(plan) != _told(conversation.plan):
        stale.append("the plan is another one")
    return Replayed(workload=conversation.workload, plan=plan, problem=problem, stale=stale)


def stale_prompt(conversation: Conversation) -> list[str]:
    """Whether the prompt has changed since, in words."""
    now = prompt_sha256()
    if now == conversation.prompt_sha256:
        return []
    then = conversation.prompt_sha256
    return [f"the prompt is another one: {then[:12]} when it was recorded, {now[:12]} now"]


def choice_of(conversation: Conversation) -> Choice:
    """The model that was asked then, within today's budget."""
    today = Choice.from_environment({})
    return msgspec.structs.replace(
        today, llm=True, model=conversation.model, price=Price(*conversation.price), base_url=""
    )


def _told(plan: Plan | None) -> object:
    """A plan without how long it took."""
    return (
        None
        if plan is None
        else msgspec.structs.replace(plan, cost=msgspec.structs.replace(plan.cost, wall_s=0.0))
    )


def conversations(folder: Path) -> list[Path]:
    """All that a folder has, by name."""
    return sorted(folder.glob("*.json"))
