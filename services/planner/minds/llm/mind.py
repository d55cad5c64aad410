"""A conversation with a model: from a question to a plan, or to an error that says why not.

It begins with little, and grows only by what the model asks for. How often it may ask, how often
it may propose something that is refused, how long all takes and what it costs is bounded, and a
proposal meets the same walls as anybody's. Who has no plan in the end says so; another mind goes
on from there.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from services.planner.minds.embedded import fresh
from services.planner.minds.llm.data import as_data
from services.planner.minds.llm.meter import Meter
from services.planner.minds.llm.tools import (
    PROPOSE,
    ProposePlan,
    WriteHooks,
    allowed_policies,
    answer,
    definitions,
    made_of,
    plan_of,
    probe_to_ask,
    read_call,
)
from services.planner.minds.pairs import room_for
from services.planner.minds.recall import confirmation
from services.planner.minds.walls import checked
from shared import attributes as names
from shared.errors import CoxswainError, InputError, ManifestError, PlanError
from shared.messages import Checked, CheckRequest, Deepened, DeepenRequest, Plan
from shared.plain import plain
from shared.policies import Policy
from shared.probes import ProbeReading

if TYPE_CHECKING:
    from services.planner.minds.llm.meter import Price
    from services.planner.minds.llm.model import Model
    from services.planner.minds.llm.stream import Answer, Block, ToolUse
    from services.planner.minds.question import Question
    from shared.probes import ProbeName
    from shared.telemetry import Telemetry

Check = Callable[[CheckRequest], Awaitable[Checked]]
"""Asks the gate what it would say to hooks. Raises BusError."""

Deepen = Callable[[str, DeepenRequest, float], Awaitable[Deepened]]
"""Has a host's workload run with a probe, within so many seconds. Raises BusError."""

PROMPT: Final = Path(__file__).parents[2] / "prompts" / "plan.md"
MOST_ANSWERS: Final = 12
MOST_CALLS: Final = 6
"""In one answer."""
MOST_REPAIRS: Final = 3
"""Proposals that are refused, and answers that are none, before another mind is asked."""
MOST_PROBES: Final = 2
"""For one plan: each runs the workload on its host once more."""
PROBE_S: Final = 60.0
AFTER_PROBE_S: Final = 12.0
"""What is kept for the answer after a probe."""
LLM_S: Final = 75.0
REFUSED: Final = (InputError, PlanError, ManifestError)
"""What the model itself got wrong."""
_REMEMBERED: Final = 256
"""Optimizations whose meters are kept: a question may be put again."""


class LlmMind:
    """Plans by asking a model that has tools."""

    name = "llm"

    def __init__(
        self,
        model: Model,
        telemetry: Telemetry,
        price: Price,
        most_tokens: int,
        most_dollars: float,
        check: Check,
        *,
        deepen: Deepen | None = None,
        within_s: float | None = None,
    ) -> None:
        self._model = model
        self._deepen = deepen
        self._within_s = LLM_S if within_s is None else within_s
        self._check = check
        self._telemetry = telemetry
        self._price = price
        self._most = most_tokens, most_dollars
        self._meters: OrderedDict[str, Meter] = OrderedDict()
        prompt = PROMPT.read_text(encoding="utf-8")
        self._prompt_sha256 = hashlib.sha256(prompt.encode()).hexdigest()
        self._tools = definitions()
        # Tools come before the system prompt: one mark has both cached.
        self._system: list[Block] = [
            {"type": "text", "text": prompt, "cache_control": {"type": "ephemeral"}}
        ]

    async def plan(self, question: Question) -> Plan:
        """Ask until there is a plan. Raises PlanError, with its cost, if there is none.

        What won here before is confirmed without a word: that costs nothing.
        """
        known = confirmation(question, self.name, fresh)
        if known is not None:
            return known
        with self._telemetry.span(
            "invoke_agent",
            of=self.name,
            attributes={
                names.GEN_AI_OPERATION: "invoke_agent",
                names.GEN_AI_PROVIDER: "anthropic",
                names.GEN_AI_AGENT: self.name,
                names.GEN_AI_REQUEST_MODEL: self._model.name,
                names.PROMPT_SHA256: self._prompt_sha256,
            },
        ) as span:
            meter = self._meter(question.optimization)
            before = meter.cost
            try:
                plan = await self._converse(question, meter)
                return replace(plan, cost=meter.since(before))
            except PlanError as error:
                error.spent = meter.since(before)
                raise
            finally:
                cost = meter.since(before)
                span.set({names.COST_TOKENS: cost.tokens, names.COST_DOLLARS: cost.dollars})

    def _meter(self, optimization: str) -> Meter:
        meter = self._meters.setdefault(optimization, Meter(self._price, *self._most))
        if len(self._meters) > _REMEMBERED:
            self._meters.popitem(last=False)
        return meter

    async def _converse(self, question: Question, meter: Meter) -> Plan:
        end_s = time.monotonic() + self._within_s
        messages: list[Block] = [{"role": "user", "content": [_text(brief(question))]}]
        refused, why = 0, "questions without end"
        for number in range(MOST_ANSWERS):
            last = number + 1 == MOST_ANSWERS
            said = await self._chat(messages, meter, end_s - time.monotonic(), last=last)
            messages.append({"role": "assistant", "content": said.content})
            results: list[Block] = []
            refusals: list[str] = []
            for place, use in enumerate(said.calls):
                left_s = end_s - time.monotonic()
                many = place >= MOST_CALLS
                outcome = _too_many() if many else await self._use(use, question, left_s)
                if isinstance(outcome, Plan):
                    return outcome
                if outcome.written is not None:
                    policies = question.policies.joined([outcome.written])
                    question = replace(question, policies=policies)
                if outcome.seen is not None:
                    readings = [*question.profile.readings, outcome.seen]
                    profile = replace(question.profile, readings=readings)
                    question = replace(question, profile=profile)
                if outcome.refusal:
                    refusals.append(outcome.text)
                results.append(
                    {
                        "type": "tool_result",
                        "tool_use_id": use.id,
                        "content": outcome.text,
                        "is_error": outcome.refusal,
                    }
                )
            if not said.calls:
                refusals.append(f"no tool was called ({said.stop_reason})")
                results.append(_text(f"Call a tool. When you are done, call {PROPOSE}."))
            if refusals:
                refused, why = refused + 1, refusals[-1]
            if refused > MOST_REPAIRS:
                break
            messages.append({"role": "user", "content": _cached(results)})
            _forget_marks(messages[:-1])
        raise PlanError(
            f"the model {self._model.name} proposed nothing that may be carried out",
            expected=f"a plan within {MOST_ANSWERS} answers and {MOST_REPAIRS} corrections",
            got=plain(why, 400),
        )

    async def _chat(
        self, messages: list[Block], meter: Meter, within_s: float, *, last: bool
    ) -> Answer:
        """One answer. Raises PlanError."""
        if within_s <= 0:
            raise PlanError(
                f"the model {self._model.name} gave no plan in time",
                expected=f"one within {self._within_s:g} s",
            )
        with self._telemetry.span(
            "chat",
            of=self._model.name,
            attributes={
                names.GEN_AI_OPERATION: "chat",
                names.GEN_AI_PROVIDER: "anthropic",
                names.GEN_AI_REQUEST_MODEL: self._model.name,
                names.PROMPT_SHA256: self._prompt_sha256,
            },
        ) as span:
            said = await self._model.answer(
                system=self._system,
                tools=self._tools,
                messages=messages,
                choice={"type": "tool", "name": PROPOSE} if last else {"type": "any"},
                meter=meter,
                within_s=within_s,
            )
            span.set(
                {
                    names.GEN_AI_RESPONSE_MODEL: said.model,
                    names.GEN_AI_FINISH_REASONS: [said.stop_reason],
                    names.GEN_AI_INPUT_TOKENS: said.usage.input,
                    names.GEN_AI_OUTPUT_TOKENS: said.usage.output,
                }
            )
            if said.stop_reason == "refusal":
                raise PlanError(f"the model {self._model.name} refused to answer")
            return said

    async def _use(self, use: ToolUse, question: Question, left_s: float) -> Plan | _Told:
        """What a call brings: the plan, if it is one that may be carried out, or an answer."""
        tool = plain(use.name, 60)
        with self._telemetry.span(
            "execute_tool",
            of=tool,
            attributes={names.GEN_AI_OPERATION: "execute_tool", names.GEN_AI_TOOL: tool},
        ) as span:
            try:
                call = read_call(use.name, use.input)
                if isinstance(call, ProposePlan):
                    return checked(plan_of(call, question, self.name), question, self.name)
                if isinstance(call, WriteHooks):
                    return await self._write(call, question)
                if (probe := probe_to_ask(call, question)) is not None:
                    return await self._look_deeper(probe, question, left_s)
                return _Told(text=answer(call, question))
            except CoxswainError as error:
                span.set({names.OUTCOME: "rejected", names.PROBLEM_TEXT: str(error)})
                return _Told(text=str(error), refusal=isinstance(error, REFUSED))

    async def _look_deeper(self, probe: ProbeName, question: Question, left_s: float) -> _Told:
        """What a probe sees, if there is one to spare. Raises BusError."""
        profile = question.profile
        within_s = min(PROBE_S, left_s - AFTER_PROBE_S)
        if self._deepen is None:
            return _Told(text="no probe can be asked for here")
        if len(profile.readings) >= MOST_PROBES or within_s <= 0:
            return _Told(text=f"no more probes: {MOST_PROBES} at the most, and none in a hurry")
        request = DeepenRequest(
            optimization=question.optimization,
            workload=profile.workload,
            probe=probe,
            beside=list(question.fingerprint.beside),
            expires_unix_ns=time.time_ns() + int(within_s * 1e9),
        )
        said = await self._deepen(profile.host, request, within_s)
        told = {"reading": said.reading, "metrics_with_the_probe": said.metrics}
        return _Told(text=as_data(told), seen=said.reading)

    async def _write(self, call: WriteHooks, question: Question) -> _Told:
        """What the gate says to hooks. Raises InputError, ManifestError for what it is spared."""
        policy = made_of(call, question, self.name, self._prompt_sha256)
        assert policy.made is not None
        said = await self._check(CheckRequest(policy=policy.name, made=policy.made))
        if said.problem is not None:
            return _Told(text=f"these hooks cannot be checked now: {said.problem}")
        if said.reasons:
            reasons = [
                {"stage": each.stage, "rule": each.rule, "line": each.line, "text": each.text}
                for each in said.reasons
            ]
            return _Told(text=f"the gate refuses these hooks: {as_data(reasons)}", refusal=True)
        return _Told(text=as_data({"passed": policy.name}), written=policy)


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the model is told of a call."""

    text: str
    refusal: bool = False
    written: Policy | None = None
    """Hooks that have passed: they are known from now on."""
    seen: ProbeReading | None = None
    """What a probe has seen: it is known from now on."""


def brief(question: Question) -> str:
    """What the model is told first."""
    profile, inventory = question.profile, question.inventory
    known: dict[str, Any] = {
        "workload": profile.workload,
        "class": profile.workload_class,
        "class_confidence": profile.confidence,
        "summary": profile.summary,
        "objective": question.objective,
        "guardrails": question.guardrails,
        "measured_against": question.fingerprint.against or "the kernel's default",
        "kernel": inventory.kernel,
        "cpus": inventory.cpus,
        "rounds": question.request.budget.rounds,
        "most_candidates": room_for(question.request.budget.rounds),
        "policies_that_may_be_tried": allowed_policies(question),
        "hooks_may_be_written": question.request.made,
        "outcomes_remembered": {
            "this": len(question.recollection.exact),
            "similar": len(question.recollection.near),
        },
    }
    return f"Plan for this workload.\n{as_data(known)}"


def _too_many() -> _Told:
    return _Told(text=f"only {MOST_CALLS} calls at a time are answered", refusal=True)


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _cached(content: list[Block]) -> list[Block]:
    """All up to here is sent again next time: let it be kept."""
    return [*content[:-1], {**content[-1], "cache_control": {"type": "ephemeral"}}]


def _forget_marks(messages: list[Block]) -> None:
    """There may be four marks in a request; the newest one is worth most."""
    for message in messages:
        for block in message["content"]:
            block.pop("cache_control", None)
