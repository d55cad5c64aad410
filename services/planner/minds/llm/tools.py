"""What a model may ask, and how it proposes: each tool is a struct, and one function of a question.

A call is decoded strictly: what does not fit is refused with the reason, for the model to mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, field

from services.planner.minds.llm.data import as_data
from services.planner.minds.pairs import room_for, shared
from shared.errors import InputError
from shared.messages import Candidate, Consideration, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.planner.minds.question import Question
    from shared.messages import Outcome


class Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tools: its fields are the tool's input."""


class ReadProfile(Call, frozen=True, kw_only=True):
    """More of what was observed.

    All features with their units in their names, the workload's own metrics under the kernel's
    default, or the machine that it ran on.
    """

    part: Literal["features", "baseline", "machine"]


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
PROPOSE: Final = "propose_plan"
CALLS: Final[dict[str, type[Call]]] = {
    "read_profile": ReadProfile,
    "recall": Recall,
    "list_policies": ListPolicies,
    "read_policy": ReadPolicy,
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
    return question.inventory


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
    try:
        return (policy.directory / "README.md").read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"policy {policy.name} has no readme here", expected="its manifest, or its hooks"
        ) from error


_ANSWERS: Final[dict[type[Call], Callable[[Any, Question], object]]] = {
    ReadProfile: _read_profile,
    Recall: _recall,
    ListPolicies: _list_policies,
    ReadPolicy: _read_policy,
}


def allowed_policies(question: Question) -> list[str]:
    """Those that the request allows: all, if it names none."""
    named = set(question.request.policies)
    return [name for name in question.policies if not named or name in named]


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
    return Plan(
        optimization=question.optimization,
        mind=mind,
        kind="reconfigure" if proposal.candidates else "keep-default",
        considered=[
            Consideration(policy=each.policy, score=each.score, reason=_one_line(each.reason))
            for each in proposal.considered
        ],
        candidates=[_candidate(each, question) for each in proposal.candidates],
        why=_one_line(proposal.why),
        evidence={name: features[name] for name in proposal.evidence},
        screen_pairs=screen,
        confirm_pairs=confirm,
        recalled=proposal.recalled,
    )


def _candidate(proposed: ProposedCandidate, question: Question) -> Candidate:
    manifest = question.policies[proposed.policy].manifest
    return Candidate(
        policy=manifest.name,
        version=manifest.version,
        parameters={**manifest.defaults, **proposed.parameters},
        why=_one_line(proposed.why),
        predicted_ratio=proposed.predicted_ratio,
        predicted_low=proposed.predicted_low,
        predicted_high=proposed.predicted_high,
        origin="model",
    )


def _one_line(text: str) -> str:
    """Models write paragraphs; a plan's texts are lines."""
    return " ".join(text.split())
