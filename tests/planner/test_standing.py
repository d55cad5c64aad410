"""What operators say of policies: the orders by themselves, and in a planner on a real bus."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from services.planner.minds.embedded import EmbeddedMind
from services.planner.minds.rules import WORTH_TRYING, consider
from services.planner.standing import ordered, standing
from services.planner.thinking import preferred
from shared.bus import Bus
from shared.errors import InputError, RemoteError, RequestError
from shared.fleet import ORDERS, Orders
from shared.messages import (
    Made,
    OptimizeRequest,
    PolicyOrder,
    PolicyOrdered,
    Rollout,
    decode,
)
from shared.policies import Catalogue, made_name
from shared.subjects import Subjects
from tests.planner.paper_fleet import POLICY, Minds, PaperFleet, working
from tests.planner.test_embedded import outcome, question, told

POLICIES = Catalogue.load()
VERSION = POLICIES[POLICY].manifest.version
MADE = Made(parent=POLICY, source=POLICIES[POLICY].source, summary="the same")


def retire(policy: str = POLICY, version: str = "", reason: str = "no") -> PolicyOrder:
    return PolicyOrder(order="retire", policy=policy, version=version, reason=reason)


def promote(policy: str = POLICY, version: str = "", reason: str = "yes") -> PolicyOrder:
    return PolicyOrder(order="promote", policy=policy, version=version, reason=reason)


def after(*requests: PolicyOrder) -> Orders:
    orders = Orders()
    for each in requests:
        orders = ordered(orders, each)
    return orders


# Orders -----------------------------------------------------------------------------------------


def test_the_last_word_counts_and_one_undoes_the_other() -> None:
    assert after(retire()).retired == {POLICY: "no"}
    assert after(retire(), promote()) == Orders()
    assert after(promote()).preferred == {POLICY: "yes"}
    assert after(retire(), promote(), promote()).preferred == {POLICY: "yes"}
    assert after(promote(), retire()) == Orders(retired={POLICY: "no"})


def test_an_order_for_all_versions_covers_those_for_one() -> None:
    one = after(retire(version="1.0.0"))
    assert standing(one, POLICY, "1.0.0") == "retired"
    assert standing(one, POLICY, "1.1.0") == "ordinary"
    assert ordered(one, retire()).retired == {POLICY: "no"}
    assert ordered(one, promote()) == Orders()
    assert ordered(one, promote(version="1.1.0")).preferred == {f"{POLICY}@1.1.0": "yes"}
    assert after(retire("fair"), retire(), promote()).retired == {"fair": "no"}


@pytest.mark.parametrize(
    ("orders", "problem"),
    [
        ([retire(), retire()], "latency is retired already"),
        ([retire(), retire(version="1.0.0")], "latency@1.0.0 is retired already"),
        ([promote(), promote()], "latency is preferred already"),
        ([retire(), promote(version="1.0.0")], "latency is retired in all versions"),
    ],
)
def test_what_holds_already_is_said(orders: list[PolicyOrder], problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        after(*orders)


# What minds are asked ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", [POLICY, f"{POLICY}@{VERSION}"])
def test_what_is_retired_is_not_there_nor_made_nor_joined(key: str) -> None:
    left = POLICIES.without({key: "no"})
    assert set(POLICIES) - set(left) == {POLICY}
    assert not left.holds(POLICY, None)
    assert not left.holds(made_name(MADE), MADE)
    with pytest.raises(InputError, match=f"retired.*{POLICY}: no"):
        left.policy(made_name(MADE), MADE)
    assert set(left.joined([POLICIES.make(MADE)])) == set(left)
    assert set(POLICIES.without({f"{POLICY}@0.0.9": "no"})) == set(POLICIES)


def test_what_was_made_is_retired_by_its_own_name() -> None:
    name = made_name(MADE)
    left = POLICIES.without({name: "no"})
    assert left.holds(POLICY, None)
    assert not left.holds(name, MADE)
    with pytest.raises(InputError, match=re.escape(f"{name}: no")):
        left.make(MADE)


async def test_a_retired_winner_is_neither_recalled_nor_proposed() -> None:
    asked = question()
    won = outcome(asked, "promote")
    asked = replace(asked, recollection=replace(asked.recollection, exact=[won]))
    assert (await EmbeddedMind().plan(asked)).recalled == won.optimization
    plan = await EmbeddedMind().plan(replace(asked, policies=POLICIES.without({POLICY: "no"})))
    assert plan.recalled == ""
    assert plan.candidates
    assert POLICY not in {each.policy for each in [*plan.candidates, *plan.considered]}


async def test_what_was_tried_before_it_was_retired_leads_nowhere() -> None:
    asked = told(question(rounds=40), (POLICY, {}, 0.3, False), ("fair", {}, 0.8, False))
    assert {each.policy for each in (await EmbeddedMind().plan(asked)).candidates} == {POLICY}
    plan = await EmbeddedMind().plan(replace(asked, policies=POLICIES.without({POLICY: "no"})))
    assert {each.policy for each in plan.candidates} == {"fair"}


async def test_nothing_is_put_together_of_what_is_retired() -> None:
    asked = told(question(rounds=40), *((name, {}, 1.05, False) for name in POLICIES))
    assert (await EmbeddedMind().plan(asked)).kind == "generate"
    for retired in ({POLICY: "no"}, dict.fromkeys(POLICIES, "no")):
        plan = await EmbeddedMind().plan(replace(asked, policies=POLICIES.without(retired)))
        assert plan.kind == "keep-default"


def test_a_preference_orders_what_would_be_tried_and_lifts_nothing_else() -> None:
    asked = question()
    plain = {each.policy: each for each in consider(asked)}
    told = {each.policy: each for each in consider(replace(asked, preferred=list(POLICIES)))}
    for name, each in told.items():
        assert each.score <= 1
        if plain[name].score >= WORTH_TRYING:
            assert each.score > plain[name].score
            assert each.reason.endswith("an operator prefers it")
        else:
            assert each == plain[name]
    assert any(each.score >= WORTH_TRYING for each in plain.values())
    orders = Orders(preferred={f"{POLICY}@{VERSION}": "yes", "fair@0.0.9": "yes"})
    assert preferred(POLICIES, orders) == [POLICY]


# On a bus ---------------------------------------------------------------------------------------


def request(*policies: str) -> OptimizeRequest:
    rollout = Rollout(soak_s=0.2, control_percent=0)
    return OptimizeRequest(workload="pulse", hosts=["h1"], rollout=rollout, policies=list(policies))


async def order(minds: Minds, message: PolicyOrder) -> PolicyOrdered:
    subject = minds.bus.subjects.endpoint("planner", "policy")
    return await minds.bus.ask(subject, message, PolicyOrdered, timeout_s=30)


async def test_a_retired_policy_is_not_tried_until_it_is_promoted(
    nats_url: str, subjects: Subjects, bus: Bus, fleet: PaperFleet
) -> None:
    async with working(nats_url, subjects, mind=EmbeddedMind()) as minds:
        assert (await order(minds, retire(reason="batch jobs complain"))).standing == "retired"
    # Another planner knows it, too.
    async with working(nats_url, subjects, mind=EmbeddedMind()) as minds:
        ended = await minds.end((await minds.ask(request())).optimization)
        assert POLICY not in {each.policy for each in (*fleet.builds, *fleet.trials)}
        assert ended.plan is not None
        assert POLICY not in {each.policy for each in ended.plan.considered}
        refused = await minds.ask(request(POLICY))
        assert refused.problem is not None
        assert "retired every policy" in refused.problem.what
        assert (await order(minds, promote())).standing == "ordinary"
        again = await minds.end((await minds.ask(request(POLICY))).optimization)
        assert again.terminal == "promoted"
        assert again.winner is not None
        assert again.winner.candidate.policy == POLICY
    facts = bus.subjects.events("planner", "ordered")
    told = [decode(data, PolicyOrdered) async for _, data in bus.history("EVENTS", facts)]
    assert [(each.policy, each.standing, each.reason) for each in told] == [
        (POLICY, "retired", "batch jobs complain"),
        (POLICY, "ordinary", "yes"),
    ]


async def test_a_mind_that_insists_is_not_obeyed(minds: Minds, fleet: PaperFleet) -> None:
    await order(minds, retire())
    ended = await minds.end((await minds.ask(request())).optimization)
    assert (ended.terminal, fleet.builds, fleet.trials) == ("failed", [], [])
    assert ended.plan is not None
    assert ended.plan.problem is not None
    assert ended.plan.problem.what == "an operator has retired this policy"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (retire("nobody"), "nobody has heard of"),
        (retire(version="0.0.9"), "0.0.9"),
        (retire(reason=" "), "no reason"),
        (promote(reason="a\nb"), "no reason"),
    ],
)
async def test_bad_orders_are_refused_and_change_nothing(
    minds: Minds, message: PolicyOrder, problem: str
) -> None:
    with pytest.raises(RemoteError, match=problem) as refusal:
        await order(minds, message)
    assert refusal.value.kind == "RequestError"
    record = await (await minds.bus.records("fleet", Orders)).get(ORDERS)
    assert record is None or record.value == Orders()
