"""The walls around any mind: a plan is data from an author whom nobody trusts.

A mind may have read text that gives orders, and may have obeyed. So it is asked for so long and
no longer, on a copy of the question, and its answer becomes a Plan only if all of it fits the
question: nothing but what the request allows, in bounds, in plain text. What does not fit is
refused as a whole, with the reason, and never mended: half a plan is nobody's idea.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from services.planner.machine.trying import MIN_PAIRS
from shared.errors import CoxswainError, MessageError, PlanError
from shared.messages import Plan, decode, encode
from shared.outcomes import FURTHEST_RATIO
from shared.plain import is_plain, plain, texts
from shared.policies import why_not_allowed
from shared.tasks import end

if TYPE_CHECKING:
    from services.planner.minds.question import Mind, Question
    from shared.messages import Candidate, Outcome

MIND_S: Final = 100.0
"""How long a mind may think; the record waits a little longer (`machine/planning.py`)."""

MOST_PLANS: Final = 3
"""How often an optimization's question is put, over all deliveries and planners."""

MOST_BYTES: Final = 64 * 1024
MOST_CANDIDATES: Final = 8
MOST_CHARS: Final = 2000
"""Of each text: a paragraph."""
QUOTED_CHARS: Final = 200
"""Of what was wrong."""
MOST_COST: Final = 1e9

Wrong = Callable[[str, str, object], PlanError]
"""Makes the refusal: what is wrong, what was expected, what came."""

_leaving: set[asyncio.Task[None]] = set()
"""Minds that are told to stop and have not yet: nobody waits for them."""


async def ask(mind: Mind, question: Question, *, within_s: float = MIND_S) -> Plan:
    """A mind's plan, checked. Raises PlanError, or the CoxswainError that the mind raised."""
    thinking = asyncio.create_task(_plan(mind, copy.deepcopy(question)))
    try:
        await asyncio.wait({thinking}, timeout=within_s)
    finally:
        if not thinking.done():
            _send_away(thinking)
    if not thinking.done():
        raise PlanError(
            f"the mind {mind.name} gave no plan in time", expected=f"one within {within_s:g} s"
        )
    if thinking.cancelled():
        raise PlanError(f"the mind {mind.name} broke off", expected="a plan", got="a cancellation")
    error = thinking.exception()
    if isinstance(error, CoxswainError):
        raise error
    if error is not None:
        raise PlanError(
            f"the mind {mind.name} broke off",
            expected="a plan",
            got=plain(repr(error), QUOTED_CHARS),
        ) from error
    return checked(thinking.result(), question, mind.name)


def checked(answer: object, question: Question, mind: str) -> Plan:
    """The plan, made anew from what the answer says. Raises PlanError for the first flaw."""

    def wrong(what: str, expected: str, got: object) -> PlanError:
        return PlanError(
            f"the plan of the mind {mind} is refused: {what}",
            expected=expected,
            got=plain(got if isinstance(got, str) else repr(got), QUOTED_CHARS),
        )

    plan = _typed(answer, wrong)
    for check in (_about_text, _about_itself, _about_candidates, _about_rounds):
        check(plan, question, wrong)
    if plan.mind != mind:
        raise wrong("it says that it is another mind's", mind, plan.mind)
    return plan


async def _plan(mind: Mind, question: Question) -> object:
    return await mind.plan(question)


def _send_away(thinking: asyncio.Task[object]) -> None:
    leaving = asyncio.create_task(end([thinking]))
    _leaving.add(leaving)
    leaving.add_done_callback(_leaving.discard)


def _typed(answer: object, wrong: Wrong) -> Plan:
    """Once over the wire and back: whole, of its types, and nobody else's to change."""
    if type(answer) is not Plan:
        raise wrong("it is no plan", "a Plan", type(answer).__name__)
    try:
        data = encode(answer)
        if len(data) > MOST_BYTES:
            raise wrong("it is too large", f"at most {MOST_BYTES} bytes", len(data))
        return decode(data, Plan)
    except MessageError as error:
        raise wrong("it is not well formed", "a Plan", error.got) from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise wrong("it cannot be told", "a Plan", error) from error


def _about_text(plan: Plan, _question: Question, wrong: Wrong) -> None:
    told = msgspec.to_builtins(plan)
    for each in told["candidates"]:
        if each["made"] is not None:
            # Hooks have lines. All else that is said of them is text like any other.
            lines = each["made"].pop("source").replace("\t", " ").split("\n")
            if not all(line.isascii() and line.isprintable() for line in lines):
                raise wrong("hooks hide something", "lines of ASCII text", each["policy"])
    for text in texts(told):
        if len(text) > MOST_CHARS:
            raise wrong("a text is too long", f"at most {MOST_CHARS} characters", len(text))
        if not is_plain(text):
            raise wrong("a text hides something", "characters that can be seen, on one line", text)


def _about_itself(plan: Plan, question: Question, wrong: Wrong) -> None:
    """Whether it is about this question, and rests on nothing that nobody has told it."""
    if plan.optimization != question.optimization:
        raise wrong("it is of another optimization", question.optimization, plan.optimization)
    if (plan.kind == "keep-default") == bool(plan.candidates):
        count = f"{plan.kind} with {len(plan.candidates)} candidates"
        raise wrong("it contradicts itself", "candidates, or to keep the default", count)
    if plan.problem is not None and plan.candidates:
        raise wrong("it contradicts itself", "a problem or candidates", "both")
    if invented := [n for n, v in plan.evidence.items() if question.profile.features.get(n) != v]:
        raise wrong("its evidence is made up", "numbers of the profile", invented[:3])
    told = {each.optimization for each in _remembered(question)}
    if plan.recalled and plan.recalled not in told:
        raise wrong("it recalls what nobody remembers", "what was recalled", plan.recalled)
    considered = [each.policy for each in plan.considered]
    known = set(question.policies) | {c.policy for c in plan.candidates if c.made is not None}
    if len(set(considered)) < len(considered) or not set(considered) <= known:
        raise wrong("what it considered does not exist", "each policy once", considered[:10])
    if any(not 0 <= each.score <= 1 for each in plan.considered):
        raise wrong("a score is none", "0 to 1", max(each.score for each in plan.considered))
    _about_cost(plan, wrong)


def _about_cost(plan: Plan, wrong: Wrong) -> None:
    """Whether it speaks for itself alone, and of costs that can be."""
    if plan.declined:
        raise wrong("it speaks for other minds", "none", plan.declined[0].mind)
    cost = plan.cost
    for paid in (cost.wall_s, cost.cpu_s, cost.tokens, cost.dollars):
        if not 0 <= paid <= MOST_COST:
            raise wrong("its cost is none", f"0 to {MOST_COST:g}", paid)


def _remembered(question: Question) -> list[Outcome]:
    return [*question.recollection.exact, *question.recollection.near]


def _about_candidates(plan: Plan, question: Question, wrong: Wrong) -> None:
    if len(plan.candidates) > MOST_CANDIDATES:
        raise wrong(
            "it has too many candidates", f"at most {MOST_CANDIDATES}", len(plan.candidates)
        )
    seen: list[tuple[str, dict[str, int]]] = []
    for each in plan.candidates:
        _about_candidate(each, question, wrong)
        if (each.policy, each.parameters) in seen:
            raise wrong("a candidate is there twice", "each once", each.policy)
        seen.append((each.policy, each.parameters))


def _about_candidate(each: Candidate, question: Question, wrong: Wrong) -> None:
    try:
        policy = question.policies.policy(each.policy, each.made)
    except CoxswainError as error:
        raise wrong(error.what, error.expected, error.got) from error
    if policy.made != each.made:
        raise wrong("hooks that do not ship are not there", "their source", each.policy)
    if why := why_not_allowed(policy, question.request):
        raise wrong(f"a policy is not allowed: {why}", "one that is", each.policy)
    manifest = policy.manifest
    if each.version != manifest.version:
        raise wrong(f"{each.policy} has another version", manifest.version, each.version)
    try:
        manifest.check_whole(each.parameters)
    except CoxswainError as error:
        raise wrong(error.what, error.expected, error.got) from error
    low, middle, high = each.predicted_low, each.predicted_ratio, each.predicted_high
    if not 1 / FURTHEST_RATIO <= low <= middle <= high <= FURTHEST_RATIO:
        expected = f"low <= ratio <= high, from {1 / FURTHEST_RATIO:g} to {FURTHEST_RATIO:g}"
        raise wrong("a prediction is none", expected, (low, middle, high))


def _about_rounds(plan: Plan, question: Question, wrong: Wrong) -> None:
    """Whether the trials that it wants can decide, and fit into the budget."""
    if not plan.candidates:
        return
    rounds = question.rounds
    if plan.more and not plan.screen_pairs:
        raise wrong("it wants to see more, and screens nothing", "pairs to screen", 0)
    if not MIN_PAIRS <= plan.confirm_pairs <= rounds:
        raise wrong("pairs to confirm", f"{MIN_PAIRS} to {rounds}", plan.confirm_pairs)
    if plan.screen_pairs < 0:
        raise wrong("pairs to screen", "0 or more", plan.screen_pairs)
    several = len(plan.candidates) > 1 or plan.more
    screened = plan.screen_pairs * len(plan.candidates) if several else 0
    if screened + MIN_PAIRS > rounds:
        expected = f"at most {rounds - MIN_PAIRS} pairs: {MIN_PAIRS} of {rounds} confirm"
        raise wrong("it screens more than the budget has", expected, screened)
