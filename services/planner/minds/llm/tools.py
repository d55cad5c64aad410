"""What a model may ask, and how it proposes: each tool is a struct, and one function of a question.

A call is decoded strictly: what does not fit is refused with the reason, for the model to mend.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, field

from services.planner.minds.candidates import candidate
from services.planner.minds.llm.data import as_data
from services.planner.minds.pairs import room_for, shared
from shared.errors import InputError
from shared.messages import Consideration, Made, Plan
from shared.parameters import Parameter
from shared.policies import why_not_allowed
from shared.probes import PROBES, ProbeName

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.planner.minds.question import Question
    from shared.messages import Candidate, Outcome
    from shared.policies import Policy


class Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tools: its fields are the tool's input."""


class ReadProfile(Call, frozen=True, kw_only=True):
    """More of what was observed.

    All features with their units in their names, the workload's own metrics under the kernel's
    default, or the machine that it ran on. The other parts are probes in the kernel: the workload
    is run once more with one attached, which costs the host up to a minute and you a part of your
    time, and at most two are granted. run-queue: waits for a CPU as a histogram. cpu-time: time on
    and off it. wakes: who wakes whom. futex: waits for each other. io: waits for storage.
    """

    part: Literal["features", "baseline", "machine", ProbeName]


class Recall(Call, frozen=True, kw_only=True):
    """Outcomes of earlier trials: for this very fingerprint, or for the most similar ones."""

    of: Literal["this", "similar"]


class ListPolicies(Call, frozen=True, kw_only=True):
    """Every policy that may be tried, with what it is good for, in a line each."""


class ReadPolicy(Call, frozen=True, kw_only=True):
    """One policy.

    Its manifest with all parameters and bounds, what its author says, or the source of its hooks.
    """

    name: str
    part: Literal["manifest", "readme", "hooks"]


class ReadGuide(Call, frozen=True, kw_only=True):
    """How hooks are written: what they may know, what they answer, what the gate refuses."""


class WriteHooks(Call, frozen=True, kw_only=True):
    """Hooks of your own, for the gate to check.

    Answered with the name under which read_policy and propose_plan know them from then on, or with
    the gate's reasons.
    """

    parent: Annotated[
        str, Meta(description="a policy that ships; settings of the frame are taken from it")
    ]
    summary: Annotated[
        str, Meta(description="what they do, in a sentence", min_length=1, max_length=300)
    ]
    source: Annotated[
        str, Meta(description="all four functions in C", min_length=1, max_length=8192)
    ]
    parameters: Annotated[
        list[Parameter],
        Meta(description="const volatile u64 or s64 of the source that may be tuned", max_length=8),
    ] = field(default_factory=list)
    revises: Annotated[str, Meta(description="the policy that these are a change of, if any")] = ""


class ProposedCandidate(Call, frozen=True, kw_only=True):
    """A policy with parameters to try, and what you expect of it."""

    policy: str
    why: str
    predicted_ratio: Annotated[float, Meta(description="candidate / default of the objective")]
    predicted_low: float
    predicted_high: float
    parameters: Annotated[
        dict[str, int], Meta(description="those that differ from the manifest's defaults")
    ] = field(default_factory=dict)


class ProposedScore(Call, frozen=True, kw_only=True):
    """A policy that you looked at, and why it was taken or left."""

    policy: str
    score: Annotated[float, Meta(description="how well it fits, 0 to 1")]
    reason: str


class ProposePlan(Call, frozen=True, kw_only=True):
    """Your answer, the last call. No candidates means: keep the kernel's default."""

    why: str
    candidates: list[ProposedCandidate]
    considered: list[ProposedScore]
    evidence: Annotated[
        list[str], Meta(description="names of the profile's features that the choice rests on")
    ] = field(default_factory=list)
    recalled: Annotated[
        str, Meta(description="the optimization whose outcome this starts from, if any")
    ] = ""


C = TypeVar("C", bound=Call)
GUIDE: Final = Path(__file__).parents[2] / "prompts" / "hooks.md"
PROPOSE: Final = "propose_plan"
CALLS: Final[dict[str, type[Call]]] = {
    "read_profile": ReadProfile,
    "recall": Recall,
    "list_policies": ListPolicies,
    "read_policy": ReadPolicy,
    "read_guide": ReadGuide,
    "write_hooks": WriteHooks,
    PROPOSE: ProposePlan,
}


def definitions() -> list[dict[str, Any]]:
    """All tools, as the Messages API wants them."""
    return [_definition(name, call) for name, call in CALLS.items()]


def _definition(name: str, call: type[Call]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([call], ref_template="#/$defs/{name}")
    schema = dict(components.pop(call.__name__))
    schema.pop("title", None)
    description = " ".join(str(schema.pop("description", "")).split())
    if components:
        schema["$defs"] = components
    return {"name": name, "description": description, "input_schema": schema}


def read_call(name: str, given: object) -> Call:
    """The call, typed. Raises InputError for what is none."""
    call = CALLS.get(name)
    if call is None:
        raise InputError("there is no such tool", expected=", ".join(CALLS), got=name[:80])
    try:
        return msgspec.convert(given, call)
    except msgspec.ValidationError as error:
        raise InputError(
            f"the input of {name} does not fit its schema", expected="what it says", got=str(error)
        ) from error


def answer(call: Call, question: Question) -> str:
    """What a question of the model's is answered with, as data. Raises InputError."""
    return as_data(_ANSWERS[type(call)](call, question))


def _read_profile(call: ReadProfile, question: Question) -> object:
    if call.part == "features":
        return question.profile.features
    if call.part == "baseline":
        return question.profile.baseline
    if call.part == "machine":
        return question.inventory
    return next(each for each in question.profile.readings if each.probe == call.part)


def probe_to_ask(call: Call, question: Question) -> ProbeName | None:
    """The probe that a call is about, if its reading is not there yet."""
    if not isinstance(call, ReadProfile) or call.part not in PROBES:
        return None
    known = {each.probe for each in question.profile.readings}
    return None if call.part in known else call.part


def _recall(call: Recall, question: Question) -> object:
    told = question.recollection
    return [_line(outcome) for outcome in (told.exact if call.of == "this" else told.near)]


def _line(outcome: Outcome) -> dict[str, object]:
    """What of an outcome is worth its tokens."""
    return {
        "optimization": outcome.optimization,
        "workload": outcome.workload,
        "class": outcome.fingerprint.workload_class,
        "policy": f"{outcome.policy} {outcome.version}",
        "parameters": outcome.parameters,
        "verdict": outcome.verdict,
        "ratio": [outcome.low, outcome.ratio, outcome.high],
        "predicted": outcome.predicted_ratio,
        "pairs": outcome.pairs,
        "reasons": outcome.reasons[:3],
    }


def _list_policies(_call: ListPolicies, question: Question) -> object:
    allowed = allowed_policies(question)
    manifests = [question.policies[name].manifest for name in allowed]
    return [
        {"name": each.name, "summary": each.summary, "good_for": each.good_for}
        for each in manifests
    ]


def _read_policy(call: ReadPolicy, question: Question) -> object:
    policy = question.policies[call.name]
    if call.part == "manifest":
        return policy.manifest
    if call.part == "hooks":
        return policy.source
    return policy.readme() or policy.manifest.summary


_ANSWERS: Final[dict[type[Call], Callable[[Any, Question], object]]] = {
    ReadProfile: _read_profile,
    Recall: _recall,
    ListPolicies: _list_policies,
    ReadPolicy: _read_policy,
    ReadGuide: lambda _call, _question: GUIDE.read_text(encoding="utf-8"),
}


def allowed_policies(question: Question) -> list[str]:
    """Those that the request allows: all, if it names none."""
    return [
        policy.name
        for policy in question.policies.values()
        if not why_not_allowed(policy, question.request)
    ]


def plan_of(proposal: ProposePlan, question: Question, mind: str) -> Plan:
    """The plan that a proposal means; whether it may be carried out is for the walls to say.

    Raises InputError for policies that do not exist, and for more candidates than rounds allow.
    """
    rounds = question.request.budget.rounds
    room = room_for(rounds)
    if len(proposal.candidates) > room:
        raise InputError(
            "too many candidates for the budget",
            expected=f"at most {room} for {rounds} rounds",
            got=str(len(proposal.candidates)),
        )
    features = question.profile.features
    if unknown := [name for name in proposal.evidence if name not in features]:
        raise InputError(
            "evidence that is no feature of the profile",
            expected="names that read_profile gives",
            got=", ".join(unknown)[:200],
        )
    screen, confirm = shared(rounds, max(1, len(proposal.candidates)))
    left = _left_behind(proposal, question)
    return Plan(
        optimization=question.optimization,
        mind=mind,
        kind=_kind(proposal, question),
        considered=[
            Consideration(policy=each.policy, score=each.score, reason=_one_line(each.reason))
            for each in proposal.considered
            if each.policy not in left
        ],
        candidates=[_candidate(each, question) for each in proposal.candidates],
        why=_one_line(proposal.why),
        evidence={name: features[name] for name in proposal.evidence},
        screen_pairs=screen,
        confirm_pairs=confirm,
        recalled=proposal.recalled,
        readings=question.profile.readings,
    )


def _left_behind(proposal: ProposePlan, question: Question) -> set[str]:
    """Hooks that it has written and does not propose: nobody but this conversation knows them."""
    known = {each.candidate.policy for each in question.tried}
    known |= {each.policy for each in proposal.candidates}
    known |= {o.policy for o in (*question.recollection.exact, *question.recollection.near)}
    return {
        name
        for name, policy in question.policies.items()
        if policy.made is not None and name not in known
    }


def made_of(call: WriteHooks, question: Question, mind: str, prompt_sha256: str) -> Policy:
    """The policy that was written, before the gate has seen it.

    Raises InputError for what the request does not allow or nobody can build.
    """
    if call.revises and call.revises not in question.policies:
        raise InputError(
            "what it revises does not exist",
            expected=", ".join(allowed_policies(question)),
            got=call.revises[:80],
        )
    made = Made(
        parent=call.parent,
        source=call.source,
        summary=_one_line(call.summary),
        parameter=call.parameters,
        revises=call.revises,
        mind=mind,
        prompt_sha256=prompt_sha256,
    )
    policy = question.policies.make(made)
    if why := why_not_allowed(policy, question.request):
        raise InputError("these hooks may not be tried", expected="what is allowed", got=why)
    return policy


def _kind(
    proposal: ProposePlan, question: Question
) -> Literal["reconfigure", "revise", "generate", "keep-default"]:
    """The boldest of what it wants to have tried."""
    if not proposal.candidates:
        return "keep-default"
    made = [question.policies[each.policy].made for each in proposal.candidates]
    new = [each for each in made if each is not None]
    if not new:
        return "reconfigure"
    return "revise" if all(each.revises for each in new) else "generate"


def _candidate(proposed: ProposedCandidate, question: Question) -> Candidate:
    return candidate(
        question.policies[proposed.policy],
        proposed.parameters,
        why=_one_line(proposed.why),
        ratio=proposed.predicted_ratio,
        low=proposed.predicted_low,
        high=proposed.predicted_high,
        origin="model",
    )


def _one_line(text: str) -> str:
    """Models write paragraphs; a plan's texts are lines."""
    return " ".join(text.split())
