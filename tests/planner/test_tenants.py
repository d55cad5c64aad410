"""Who shares a canary, what a trial owes them, and what is said of what is replaced."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from services.planner.incumbents import incumbent
from services.planner.machine import Begin, News, Refuse, accept, advance
from services.planner.tenants import Tenancy, check_beside, tenancy, unguarded
from shared.errors import InputError, RequestError
from shared.messages import (
    DeployCommand,
    Deployed,
    GuardrailFinding,
    Judged,
    OptimizeRequest,
    ProfileCommand,
    RememberCommand,
    Replaced,
    Rollout,
    TrialCommand,
)
from shared.optimization import Incumbent, Optimization, Outgoing
from shared.workloads import Catalogue
from tests.planner.world import START, World, candidate, opened, plan

Command = TypeVar("Command", bound=msgspec.Struct)
OURS = Catalogue.load()
ASK = OptimizeRequest(workload="build")
KEPT = Incumbent(
    optimization="o0",
    workloads=["wakeup"],
    candidate=candidate("latency"),
    gained="wakeup's wakeup_p99_us at 0.400 times that under the kernel's default",
)


def beside(found: Tenancy) -> list[str]:
    return [each.workload for each in found.beside]


def queued(company: Tenancy | None = None, *, alone: bool = False) -> Optimization:
    """An optimization of `wakeup` that waits, on h1 and h2."""
    state = opened(rollout=Rollout(soak_s=1.0))
    state = replace(
        state, phase="queued", outbox=[], sent=0, request=replace(state.request, alone=alone)
    )
    if company is not None:
        state = replace(state, **msgspec.structs.asdict(company))
    return accept(state, START)


def begun(kept: Incumbent | None = KEPT, **request: object) -> Optimization:
    """An optimization of `build` whose turn has come."""
    asked = replace(ASK, rollout=Rollout(soak_s=1.0), **request)
    state = replace(queued(), request=asked)
    return advance(state, Begin(7, tenancy(asked, OURS, "h1", kept)), START)


# Who it is -------------------------------------------------------------------------------------


def test_nobody_else_changes_nothing() -> None:
    found = tenancy(ASK, OURS, "h1", None)
    manifest = OURS["build"].manifest
    assert found == Tenancy(
        guardrails=OURS["build"].guardrails,
        round_s=manifest.round_s,
        timeout_s=manifest.timeout_s + manifest.setup_timeout_s,
    )


def test_who_is_named_is_a_neighbour_with_objective_and_guardrails() -> None:
    found = tenancy(replace(ASK, beside=["wakeup"]), OURS, "h1", None)
    assert beside(found) == ["wakeup"]
    assert {guard.metric: (guard.direction, guard.margin) for guard in found.guardrails} == {
        "victim_wait_p99_us": ("lower", 1.0),
        "wakeup.wakeup_p99_us": ("lower", 0.5),
        "wakeup.requests_per_s": ("higher", 0.05),
        "wakeup.hog_work_per_s": ("higher", 1.0),
    }
    assert not found.guarded
    # Two share the CPUs for as long as the longer one takes.
    assert found.round_s == 2 * OURS["build"].manifest.round_s
    assert found.timeout_s == 2 * OURS["build"].manifest.timeout_s + 2 * 300.0


def test_every_objective_of_ours_can_be_a_guardrail() -> None:
    for workload in OURS.values():
        first, *rest = workload.as_neighbour
        assert first.metric == f"{workload.name}.{workload.objective.metric}"
        assert first.direction == workload.objective.direction
        assert first.unit == workload.objective.unit
        assert len(rest) == len(workload.guardrails)


def test_whom_the_canary_keeps_a_policy_for_is_a_neighbour_unasked() -> None:
    found = tenancy(ASK, OURS, "h1", KEPT)
    assert beside(found) == ["wakeup"]
    assert "h1 keeps latency 1.0.0 x=1 for it, by o0" in found.beside[0].why
    assert found.guarded


def test_who_is_named_and_there_is_one_neighbour() -> None:
    found = tenancy(replace(ASK, beside=["pulse", "wakeup"]), OURS, "h1", KEPT)
    assert beside(found) == ["pulse", "wakeup"]
    assert found.guarded


def test_a_request_can_be_alone_and_is_told_what_that_may_cost() -> None:
    asked = replace(ASK, alone=True)
    found = tenancy(asked, OURS, "h1", KEPT)
    assert beside(found) == []
    assert not found.guarded
    state = replace(queued(found), request=asked)
    assert "h1 keeps latency 1.0.0 x=1 for wakeup (o0: wakeup's" in unguarded(state)
    assert unguarded(begun()) == ""
    assert unguarded(queued()) == ""
    # Who is named is looked after although the request is alone with them.
    assert tenancy(replace(asked, beside=["wakeup"]), OURS, "h1", KEPT).guarded


@pytest.mark.parametrize("named", [["build"], ["pulse", "pulse"]])
def test_neighbours_are_others_and_different(named: list[str]) -> None:
    with pytest.raises(RequestError, match="contradict"):
        check_beside(replace(ASK, beside=named))
    check_beside(replace(ASK, beside=["pulse", "wakeup"]))


def test_too_many_and_unknown_neighbours_are_refused() -> None:
    asked = replace(ASK, beside=["pulse", "hackbench", "longtail-spin"])
    assert len(tenancy(asked, OURS, "h1", None).beside) == 3
    with pytest.raises(RequestError, match="at most 3") as raised:
        tenancy(asked, OURS, "h1", KEPT)
    assert "wakeup: h1 keeps" in raised.value.got
    with pytest.raises(InputError, match="wakeup"):
        tenancy(replace(ASK, beside=["gone"]), OURS, "h1", None)


def test_a_promotion_stands_for_its_workload_and_for_those_beside_it() -> None:
    world = World(begun(), plan("fair"), {"fair": 0.5})
    state = world.run()
    assert state.terminal == "promoted"
    found = {name: incumbent(state, name) for name in ("pulse", "wakeup", "build")}
    assert found["pulse"] is not None
    assert found["wakeup"] is not None
    assert found["build"] is not None
    assert found["pulse"].workloads == ["build", "wakeup"]
    assert found["wakeup"].workloads == ["build"]
    assert found["build"].workloads == ["wakeup"]
    assert found["pulse"].gained == "build's p99 at 0.500 times that under latency 1.0.0 x=1"


def test_what_was_promoted_for_the_same_workload_alone_is_nobody_s_loss() -> None:
    state = World(opened(), plan("latency"), {"latency": 0.4}).run()
    assert incumbent(state, "wakeup") is None
    assert incumbent(state, "build") is not None


def test_what_is_being_taken_back_stands_for_nobody() -> None:
    state = World(opened(), plan("latency"), {"latency": 0.4}, lost=("h2",)).run()
    assert state.terminal == "failed"
    assert incumbent(state, "build") is None


# What follows ----------------------------------------------------------------------------------


class Sending(World):
    """A world that keeps what was sent."""

    def __init__(self, state: Optimization, *policies: str) -> None:
        super().__init__(state, plan(*policies), dict.fromkeys(policies, 0.5))
        self.sent: list[Outgoing] = []

    def answer(self, item: Outgoing) -> list[News]:
        self.sent.append(item)
        return super().answer(item)

    def commanded(self, verb: str, kind: type[Command]) -> list[Command]:
        return [
            msgspec.json.decode(item.body, type=kind) for item in self.sent if item.verb == verb
        ]


def test_profile_trial_deployment_and_memory_know_the_company() -> None:
    world = Sending(begun(), "fair")
    state = world.run()
    (profile,) = world.commanded("profile", ProfileCommand)
    (trial,) = world.commanded("trial", TrialCommand)
    deploys = world.commanded("deploy", DeployCommand)
    (remember,) = world.commanded("remember", RememberCommand)
    assert profile.beside == ["wakeup"]
    assert (trial.beside, trial.against) == (["wakeup"], "o0")
    guarded = [each.metric for each in trial.spec.guardrails]
    assert "wakeup.wakeup_p99_us" in guarded
    assert [each.workloads for each in deploys] == [["build", "wakeup"]] * 2
    assert state.fingerprint is not None
    assert state.fingerprint.beside == ("wakeup",)
    assert state.fingerprint.against == "latency 1.0.0 x=1"
    assert {each.fingerprint for each in remember.outcomes} == {state.fingerprint}


def test_without_company_nothing_of_it_is_asked() -> None:
    world = Sending(opened(), "fair")
    world.run()
    (trial,) = world.commanded("trial", TrialCommand)
    assert (trial.beside, trial.against) == ([], "")


def test_what_runs_already_is_not_tried_against_itself() -> None:
    state = World(begun(), plan("latency"), {"latency": 0.4}).run()
    assert state.terminal == "kept-default"
    assert "h1 keeps is all" in state.reasons[0]
    assert not state.trials
    both = World(begun(), plan("latency", "fair"), {"fair": 0.5}).run()
    assert [trial.candidate.policy for trial in both.trials] == ["fair"]


def test_who_cannot_begin_any_more_fails_with_the_reason() -> None:
    state = advance(queued(), Refuse("too many neighbours"), START)
    assert state.terminal == "failed"
    assert state.reasons == ["too many neighbours"]
    assert advance(begun(), Refuse("late"), START) == begun()


class Replacing(World):
    """Hosts that kept something of others, and a judge that saw the neighbour."""

    def answer(self, item: Outgoing) -> list[News]:
        news = super().answer(item)
        if item.verb == "deploy":
            kept = {"h1": "o0", "h2": "o9"}[str(item.host)]
            replaced = Replaced(optimization=kept, workloads=["wakeup"])
            news = [
                replace(each, replaced=replaced) if isinstance(each, Deployed) else each
                for each in news
            ]
        if item.verb == "trial":
            finding = GuardrailFinding(
                metric="wakeup.wakeup_p99_us", state="clear",
                ratio=1.25, low=1.1, high=1.4, margin=0.5,
            )  # fmt: skip
            news = [
                replace(each, guardrails=_with(each, finding)) if isinstance(each, Judged) else each
                for each in news
            ]
        return news


def _with(judged: Judged, finding: GuardrailFinding) -> list[GuardrailFinding]:
    return [finding if each.metric == finding.metric else each for each in judged.guardrails]


def test_a_promotion_says_what_it_replaced_and_what_became_of_it() -> None:
    state = Replacing(begun(), plan("fair"), {"fair": 0.5}).run()
    assert state.terminal == "promoted"
    assert state.reasons[1:] == [
        (
            "on h1 it replaced what o0 had deployed for wakeup "
            "(wakeup's wakeup_p99_us at 0.400 times that under the kernel's default): "
            "wakeup.wakeup_p99_us is 1.250 times what it was; "
            "wakeup.requests_per_s is 1.000 times what it was; "
            "wakeup.hog_work_per_s is 1.000 times what it was"
        ),
        (
            "on h2 it replaced what o9 had deployed for wakeup: "
            "that was not on the canary, so nobody measured what becomes of them"
        ),
    ]


def test_a_promotion_alone_says_that_nobody_looked() -> None:
    state = Replacing(begun(alone=True), plan("fair"), {"fair": 0.5}).run()
    assert state.terminal == "promoted"
    assert state.reasons[1].endswith(
        "nobody measured what becomes of them, for the request is alone"
    )


def test_going_back_says_what_is_gone() -> None:
    state = Replacing(begun(), plan("fair"), {"fair": 0.5}, lost=("h2",)).run()
    assert state.terminal == "failed"
    assert state.reasons[1:] == [
        (
            "on h1 it replaced what o0 had deployed for wakeup: "
            "they are on the kernel's default now, that is gone"
        ),
        (
            "on h2 it replaced what o9 had deployed for wakeup: "
            "they are on the kernel's default now, that is gone"
        ),
    ]


def test_what_was_for_the_same_workload_is_no_loss_to_tell() -> None:
    world = Replacing(opened(), plan("fair"), {"fair": 0.5})
    assert len(world.run().reasons) == 1
