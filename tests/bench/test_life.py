from __future__ import annotations

import math

import pytest

from bench.comparing.entries import entry_of
from services.learner.memory import Memory
from services.planner.minds import Question
from services.planner.minds.embedded import EmbeddedMind
from shared.errors import PlanError
from shared.messages import Cost, Plan
from tests.bench.questions import INVENTORY, POLICIES, WORKLOADS, life, paper, question


class Speechless:
    name = "speechless"

    async def plan(self, question: Question) -> Plan:  # noqa: ARG002
        error = PlanError("nothing comes to mind", expected="a plan")
        error.spent = Cost(tokens=70)
        raise error


async def test_what_is_better_is_promoted_by_the_judges_own_word_within_the_budget() -> None:
    hosts = paper({"latency": 0.4})
    lived = await life(hosts, [EmbeddedMind()]).live()
    entry = entry_of(lived, "embedded")
    assert (entry.end, entry.policy) == ("promoted", "latency")
    assert entry.low <= entry.ratio <= entry.high < 0.5
    assert entry.rounds == hosts.measured <= 24
    confirm = [each for each in entry.tries if each.stage == "confirm"]
    assert len(entry.pairs) == confirm[-1].pairs >= 8
    assert math.isclose(
        math.exp(sorted(entry.pairs)[len(entry.pairs) // 2]), entry.ratio, rel_tol=0.1
    )


async def test_what_changes_nothing_leaves_the_default_at_a_ratio_of_one() -> None:
    lived = await life(paper({}), [EmbeddedMind()]).live()
    entry = entry_of(lived, "embedded")
    assert entry.end == "kept-default"
    assert (entry.ratio, entry.low, entry.high, entry.policy) == (1.0, 1.0, 1.0, "")
    assert 0 < entry.rounds <= 24
    assert entry.why


async def test_harm_is_sent_back_before_its_pairs_are_used_up() -> None:
    lived = await life(paper({"latency": 2.5}), [EmbeddedMind()]).live()
    entry = entry_of(lived, "embedded")
    assert entry.end == "kept-default"
    assert all(each.verdict != "promote" for each in entry.tries)
    assert entry.rounds < 24


async def test_a_mind_without_a_plan_is_charged_and_the_next_one_goes_on() -> None:
    lived = await life(paper({"latency": 0.4}), [Speechless(), EmbeddedMind()]).live()
    entry = entry_of(lived, "llm")
    assert entry.end == "promoted"
    assert entry.tokens == 70
    assert entry.declined == ["speechless: nothing comes to mind; expected a plan"]


async def test_without_any_plan_it_fails_and_says_why() -> None:
    entry = entry_of(await life(paper({}), [Speechless()]).live(), "llm")
    assert entry.end == "failed"
    assert "nothing comes to mind" in entry.why
    assert not entry.was_run


async def test_what_the_gate_rejects_is_never_tried() -> None:
    hosts = paper({"latency": 0.4}, rejected=frozenset(POLICIES))
    entry = entry_of(await life(hosts, [EmbeddedMind()], made=False).live(), "embedded")
    assert entry.end == "rejected"
    assert hosts.measured == 0


async def test_a_fault_ends_a_trial_and_is_remembered_as_one() -> None:
    hosts = paper({}, broken=dict.fromkeys(POLICIES, "fault"))
    entry = entry_of(await life(hosts, [EmbeddedMind()], made=False).live(), "embedded")
    assert entry.end == "kept-default"
    assert {each.verdict for each in entry.tries} == {"fault"}


async def test_the_same_life_twice_is_the_same() -> None:
    first, second = [
        entry_of(await life(paper({"latency": 0.7}), [EmbeddedMind()]).live(), "embedded")
        for _ in range(2)
    ]
    assert first.tries == second.tries
    assert first.pairs == second.pairs


async def test_with_a_memory_the_second_life_confirms_the_first_ones_winner() -> None:
    from bench.comparing.life import Life
    from shared.messages import Budget, OptimizeRequest

    memory, ended = Memory(), []
    for number in range(2):
        request = OptimizeRequest(workload="wakeup", budget=Budget(rounds=24, seconds=86_400))
        one = Life(
            request,
            INVENTORY,
            WORKLOADS,
            POLICIES,
            [EmbeddedMind()],
            paper({"latency": 0.4}),
            memory,
            identity=f"o{number}",
        )
        ended.append(await one.live())
    assert ended[1].state.plan is not None
    assert ended[1].state.plan.recalled == "o0"


def test_a_question_can_be_made_of_a_kept_profile() -> None:
    asked = question(rounds=16)
    assert asked.request.budget.rounds == 16
    assert asked.profile.workload_class == "latency-under-load"
    assert asked.objective == WORKLOADS["wakeup"].objective
    assert asked.inventory.machine_id == ""


@pytest.mark.parametrize("rounds", [8, 16, 40])
async def test_no_life_has_more_rounds_than_its_budget(rounds: int) -> None:
    hosts = paper({"latency": 0.97, "fair": 0.99}, spread=0.15)
    await life(hosts, [EmbeddedMind()], rounds=rounds).live()
    assert hosts.measured <= rounds


async def test_nobody_is_shown_a_pair_twice() -> None:
    """A mind that looks at a candidate again, or confirms a second time, gets fresh pairs."""
    hosts = paper({"latency": 0.93, "fair": 0.95}, spread=0.1)
    lived = await life(hosts, [EmbeddedMind()], rounds=60).live()
    shown: dict[tuple[str, str, str], list[float]] = {}
    for trial in lived.state.trials:
        of = trial.candidate.policy, str(trial.candidate.parameters), trial.spec.stage
        pairs = [each.candidate["wakeup_p99_us"] for each in lived.rounds[trial.trial]]
        shown.setdefault(of, []).extend(pairs)
        assert [each.index for each in lived.rounds[trial.trial]] == list(range(len(pairs)))
    assert sum(map(len, shown.values())) == hosts.measured
    assert all(len(set(pairs)) == len(pairs) for pairs in shown.values())
