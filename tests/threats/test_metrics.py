"""Case 47: the objective gets better and the work worse, or nobody can tell. Nothing is promoted.

The judge by itself first; then what a host can write into its rounds, on a real bus.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.learner.judge import decide, distinct, judge
from services.planner.machine import advance
from shared.bus import Bus
from shared.messages import Guardrail, Judged, OptimizeRequest, Rollout, Round, TrialCommand
from tests.learner.known_trials import VICTIM, around, pair, pairs, spec, steady
from tests.planner.paper_fleet import Minds, PaperFleet
from tests.planner.world import World, opened, plan

SPEC = spec(guardrails=[VICTIM])
PAIRS = 16
Side = Literal["baseline", "candidate"]


def won(victims: list[float] | None = None) -> list[Round]:
    """A trial that wins, if its victim is as well as this."""
    return pairs(around(0.5, 0.02, PAIRS), victims=victims or around(1.0, 0.005, PAIRS))


def test_what_the_others_are_compared_with_is_promoted() -> None:
    assert judge(SPEC, won()).verdict == "promote"


NO_NUMBERS = [None, math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0]


@settings(steady, max_examples=60)
@given(
    st.sampled_from(["time", "victim"]),
    st.sampled_from([("baseline",), ("candidate",), ("baseline", "candidate")]),
    st.sampled_from(NO_NUMBERS),
    st.sets(st.integers(0, PAIRS - 1), min_size=1),
)
def test_a_number_that_is_none_never_promotes(
    metric: str, sides: tuple[Side, ...], nonsense: float | None, where: set[int]
) -> None:
    """Under the candidate, under the baseline, in one pair or in all of them."""
    rounds = won()
    for index in where:
        for side in sides:
            metrics: dict[str, float] = getattr(rounds[index], side)
            if nonsense is None:
                del metrics[metric]
            else:
                metrics[metric] = nonsense
    decision = decide(SPEC, distinct(rounds))
    assert decision.verdict in {"inconclusive", "revert"}
    assert any("never promotes" in each or "worse" in each for each in decision.reasons)


@settings(steady, max_examples=40)
@given(st.sets(st.integers(0, PAIRS - 2), min_size=1, max_size=PAIRS - 8))
def test_pairs_that_were_left_out_never_promote(without: set[int]) -> None:
    """Whoever leaves out what went badly keeps the best of it; the last pair says how many."""
    rounds = [each for each in won() if each.index not in without]
    decision = decide(SPEC, distinct(rounds))
    assert decision.verdict == "inconclusive"
    assert any("only" in each and "never promotes" in each for each in decision.reasons)


@settings(steady, max_examples=40)
@given(st.floats(1.06, 1e6), st.floats(1e-6, 0.9), st.sampled_from(["lower", "higher"]))
def test_no_gain_pays_for_harm(hurt: float, gain: float, direction: str) -> None:
    """However large the gain is, and however the guardrail counts."""
    up = direction == "higher"
    guardrail = Guardrail(metric="victim", direction="higher" if up else "lower", margin=0.05)
    victims = [1 / each if up else each for each in around(hurt, 0.001, PAIRS)]
    rounds = pairs(around(gain, 0.001, PAIRS), victims=victims)
    decision = decide(spec(guardrails=[guardrail]), rounds)
    assert decision.verdict == "revert"


@settings(steady, max_examples=60)
@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6))
def test_a_guardrail_that_stands_still_under_the_candidate_is_judged_by_its_ratio(
    usual: float, still: float
) -> None:
    """A gauge that the candidate has stopped shows one number, whatever the baseline's are."""
    rounds = [
        pair(
            index,
            {"time": 7.0, "victim": usual * shaken},
            {"time": 3.5 * shaken, "victim": still},
        )
        for index, shaken in enumerate(around(1.0, 0.01, PAIRS))
    ]
    decision = decide(SPEC, rounds)
    if decision.verdict == "promote":
        assert still <= 1.05 * usual
    if still > 1.1 * usual:
        assert decision.verdict == "revert"


def test_an_objective_that_stands_still_wins_nothing() -> None:
    rounds = pairs([1.0] * 24, victims=around(1.0, 0.01, 24))
    assert judge(SPEC, rounds).verdict == "inconclusive"


def test_one_pair_that_is_too_good_does_not_promote() -> None:
    """A candidate that stops the clock in one round of many."""
    rounds = pairs([*around(1.0, 0.02, PAIRS - 1), 1e-9], victims=[1.0] * PAIRS)
    assert judge(SPEC, rounds).verdict == "inconclusive"


# What a host writes into its rounds --------------------------------------------------------------

FORGERIES: dict[str, Callable[[Judged], Judged]] = {
    "no guardrails": lambda word: replace(word, spec=_spec(word, guardrails=[]), guardrails=[]),
    "wider margins": lambda word: replace(
        word, spec=_spec(word, guardrails=[Guardrail(metric="rps", direction="higher", margin=9.0)])
    ),
    "fewer pairs": lambda word: replace(word, spec=_spec(word, min_pairs=2)),
    "another objective": lambda word: replace(
        word, spec=_spec(word, objective=replace(SPEC.objective, metric="easy"))
    ),
    "no spec": lambda word: replace(word, spec=None),
}


def _spec(word: Judged, **other: object) -> object:
    assert word.spec is not None
    return replace(word.spec, **other)


@pytest.mark.parametrize("case", FORGERIES)
def test_what_was_judged_by_another_question_is_not_promoted(case: str) -> None:
    world = World(opened(), plan("latency"), {"latency": 0.4})
    heard = world.hear

    def hear(news: object) -> None:
        heard(FORGERIES[case](news) if isinstance(news, Judged) else news)  # type: ignore[arg-type]

    world.hear = hear  # type: ignore[method-assign,assignment]
    state = world.run()
    assert state.terminal == "failed"
    assert "another question" in state.reasons[0]
    assert "deploy" not in [verb for verb, _ in world.commands]


@pytest.mark.parametrize("state", ["open", "violated"])
def test_a_promotion_whose_guardrail_is_not_clear_is_none(state: str) -> None:
    world = World(opened(), plan("latency"), {"latency": 0.4})
    heard = world.hear

    def hear(news: object) -> None:
        if isinstance(news, Judged):
            findings = [replace(each, state=state) for each in news.guardrails]
            news = replace(news, guardrails=findings)
        heard(news)  # type: ignore[arg-type]

    world.hear = hear  # type: ignore[method-assign,assignment]
    assert world.run().terminal == "kept-default"
    assert "deploy" not in [verb for verb, _ in world.commands]
    assert advance(world.state, plan("latency"), world.now) == world.state


class LyingFleet(PaperFleet):
    """Its canary asks itself an easier question than it was asked."""

    async def _trial(self, host: str, command: TrialCommand) -> None:
        easier = replace(command.spec, guardrails=[], min_pairs=2, alpha=0.49)
        await super()._trial(host, replace(command, spec=easier))


@pytest.fixture
async def fleet(bus: Bus) -> AsyncIterator[PaperFleet]:
    fleet = LyingFleet(bus)
    await fleet.join("h1", "h2")
    yield fleet
    await fleet.stop()


async def test_a_host_cannot_drop_the_guardrails_it_hurts(fleet: PaperFleet, minds: Minds) -> None:
    fleet.hurts = {"hog_work_per_s": 0.1}
    rollout = Rollout(soak_s=0.1, control_percent=0)
    request = OptimizeRequest(workload="pulse", hosts=["h1", "h2"], rollout=rollout)
    ended = await minds.end((await minds.ask(request)).optimization)
    assert ended.terminal == "failed"
    assert "h1 has answered another question" in ended.reasons[0]
    assert fleet.runs == {}
