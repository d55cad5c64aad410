"""Hooks that a mind has written: what they are called, and who may have them tried."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.planner.minds.candidates import candidate
from services.planner.minds.embedded import EmbeddedMind
from services.planner.minds.llm.tools import GUIDE
from services.planner.minds.walls import checked
from services.planner.thinking import _made
from shared.errors import InputError, ManifestError, PlanError
from shared.messages import Made, Outcome, Plan, Recollection, decode, encode
from shared.parameters import Parameter
from shared.policies import Catalogue, made_name
from tests.planner.test_embedded import outcome, question

CATALOGUE = Catalogue.load()
SOURCE = CATALOGUE["latency"].source
BOOST = Parameter(name="short_ns", summary="short", unit="ns", low=1, high=10, default=5)
MADE = Made(parent="latency", source=SOURCE, summary="who sleeps soon goes first", mind="llm")


def plan_with(hooks: Made, **other: object) -> Plan:
    policy = CATALOGUE.make(hooks)
    each = candidate(policy, {}, why="it fits", ratio=0.5, low=0.4, high=0.6, origin="model")
    return Plan(
        optimization="o2",
        mind="llm",
        kind="generate",
        considered=[],
        candidates=[replace(each, **other)],
        why="it fits",
    )


def test_a_name_is_a_hash_of_all_that_is_compiled() -> None:
    name = made_name(MADE)
    assert name.startswith("latency-made-")
    assert made_name(replace(MADE, summary="else", mind="other", revises="fair")) == name
    for other in (
        replace(MADE, source=SOURCE + "\n"),
        replace(MADE, parent="fair"),
        replace(MADE, parameter=[BOOST]),
    ):
        assert made_name(other) != name


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_what_differs_has_another_name(one: str, other: str) -> None:
    names = {made_name(replace(MADE, source=text)) for text in (one, other)}
    assert len(names) == len({one, other})


def test_the_frame_is_its_parents_and_nothing_else_is() -> None:
    policy = CATALOGUE.make(replace(MADE, parameter=[BOOST]))
    parent = CATALOGUE["latency"].manifest
    assert policy.manifest.frame == parent.frame
    assert policy.manifest.version == parent.version
    assert policy.manifest.defaults == {"short_ns": 5}
    assert policy.manifest.good_for == []
    assert policy.readme() == ""
    assert CATALOGUE.policy(policy.name, replace(MADE, parameter=[BOOST])) == policy


def test_what_cannot_be_a_policy() -> None:
    with pytest.raises(InputError, match="no such policy"):
        CATALOGUE.make(replace(MADE, parent="nobody"))
    with pytest.raises(InputError, match="another name"):
        CATALOGUE.policy("latency", MADE)
    policy = CATALOGUE.make(MADE)
    with pytest.raises(InputError, match="made itself"):
        CATALOGUE.joined([policy]).make(replace(MADE, parent=policy.name))
    for wrong in (
        replace(BOOST, name="frame_window_ns"),
        replace(BOOST, default=11),
        replace(BOOST, name="Short"),
    ):
        with pytest.raises(ManifestError):
            CATALOGUE.make(replace(MADE, parameter=[wrong]))
    with pytest.raises(ManifestError, match="declared twice"):
        CATALOGUE.make(replace(MADE, parameter=[BOOST, BOOST]))


def test_a_plan_with_hooks_passes_the_walls_whole() -> None:
    asked = question()
    plan = plan_with(replace(MADE, source=SOURCE + "\t/* more */\n"))
    assert checked(plan, asked, "llm") == plan


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"policy": "latency"}, "another name"),
        ({"made": None}, "no such policy"),
        ({"made": replace(MADE, source=SOURCE + " ")}, "another name"),
        ({"made": replace(MADE, summary="goes\nfirst")}, "hides something"),
        ({"parameters": {"short_ns": 5}}, "no parameter"),
        ({"version": "9.9.9"}, "another version"),
    ],
)
def test_hooks_that_are_not_what_they_say(other: dict[str, object], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        checked(plan_with(MADE, **other), question(), "llm")


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\u202e", "\r", "\x00", "\u00e9"])
def test_hooks_hide_nothing(hidden: str) -> None:
    with pytest.raises(PlanError, match="hooks hide something"):
        checked(plan_with(replace(MADE, source=f"{SOURCE}/* {hidden} */")), question(), "llm")


def test_a_request_says_whether_and_from_what() -> None:
    asked = question()
    plan = plan_with(MADE)
    for request, allowed in (
        (replace(asked.request, policies=["latency"]), True),
        (replace(asked.request, policies=["fair"]), False),
        (replace(asked.request, made=False), False),
    ):
        if allowed:
            assert checked(plan, replace(asked, request=request), "llm") == plan
        else:
            with pytest.raises(PlanError, match="not allowed"):
                checked(plan, replace(asked, request=request), "llm")


def won(made: Made, *, here: bool) -> Outcome:
    asked = question()
    told = replace(outcome(asked, "promote"), policy=made_name(made), parameters={})
    if here:
        return told
    elsewhere = replace(asked.fingerprint, kernel="6.12.0")
    return replace(told, fingerprint=elsewhere)


async def test_made_hooks_that_won_are_confirmed_without_a_model() -> None:
    told = Recollection(exact=[won(MADE, here=True)], made=[MADE])
    joined = CATALOGUE.joined(_made(CATALOGUE, told))
    asked = replace(question(), recollection=told, policies=joined)
    plan = checked(await EmbeddedMind().plan(asked), asked, "embedded")
    (only,) = plan.candidates
    assert only.made == MADE
    assert only.origin == "recall"
    assert plan.recalled == "o1"
    assert plan.cost.tokens == 0


async def test_made_hooks_that_won_next_door_are_tried_beside_what_ships() -> None:
    told = Recollection(near=[won(MADE, here=False)], made=[MADE])
    joined = CATALOGUE.joined(_made(CATALOGUE, told))
    asked = replace(question(), recollection=told, policies=joined)
    plan = checked(await EmbeddedMind().plan(asked), asked, "embedded")
    assert made_name(MADE) in {each.policy for each in plan.candidates}
    assert "latency" in {each.policy for each in plan.candidates}
    never = replace(asked, request=replace(asked.request, made=False))
    plan = checked(await EmbeddedMind().plan(never), never, "embedded")
    assert all(each.made is None for each in plan.candidates)


async def test_a_neighbours_winner_comes_first_with_its_own_parameters() -> None:
    asked = question()
    parameters = {**CATALOGUE["latency"].manifest.defaults, "slice_ns": 3_000_000}
    near = replace(
        outcome(asked, "promote"),
        fingerprint=replace(asked.fingerprint, kernel="6.12.0"),
        parameters=parameters,
    )
    asked = replace(asked, recollection=Recollection(near=[near]))
    plan = checked(await EmbeddedMind().plan(asked), asked, "embedded")
    assert plan.candidates[0].parameters == parameters
    assert plan.candidates[0].origin == "recall"
    # For another metric it has nothing to say.
    other = replace(near, fingerprint=replace(near.fingerprint, objective="other:lower"))
    asked = replace(asked, recollection=Recollection(near=[other]))
    plan = checked(await EmbeddedMind().plan(asked), asked, "embedded")
    assert plan.candidates[0].parameters == CATALOGUE["latency"].manifest.defaults


def test_what_is_told_of_made_hooks_may_be_anything() -> None:
    told = Recollection(
        made=[
            replace(MADE, parent="nobody"),
            MADE,
            replace(MADE, parameter=[replace(BOOST, low=7)]),
        ]
    )
    assert [each.name for each in _made(CATALOGUE, told)] == [made_name(MADE)]
    assert decode(encode(told), Recollection) == told


def test_the_guide_for_models_knows_every_fact() -> None:
    """It is written by hand: a fact that is added to the header must be told to models."""
    header = Path("bpf/include/cox/hooks.h").read_text()
    guide = GUIDE.read_text()
    code = "\n".join(line.split("/*")[0] for line in header.splitlines())
    words = {word.strip(",;=*{}()") for word in code.split()}
    facts = {
        word
        for word in words
        if word.startswith(("COX_REASON_", "COX_TASK_", "COX_PLACE_"))
        or word.endswith("_ns")
        or word in {"wakeups", "wakes", "pages", "weight", "flags"}
    }
    assert len(facts) > 25
    missing = sorted(fact for fact in facts if fact not in guide)
    assert missing == []
