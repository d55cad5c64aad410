"""Neighbours at the judge: their objectives are guardrails, and nothing else about them differs."""

from __future__ import annotations

import math
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.learner.judge import decide, judge
from shared.messages import Round, TrialSpec
from shared.workloads import Catalogue
from tests.learner.known_trials import around, pair, steady

OURS = Catalogue.load()
NAMES = sorted(OURS)


def spec(main: str, *beside: str, stage: Literal["screen", "confirm"] = "confirm") -> TrialSpec:
    """What a trial of ours asks with these neighbours."""
    guardrails = [
        *OURS[main].guardrails,
        *(guardrail for name in beside for guardrail in OURS[name].as_neighbour),
    ]
    return TrialSpec(objective=OURS[main].objective, guardrails=guardrails, stage=stage)


def rounds(of: TrialSpec, worse: dict[str, list[float]], count: int, gain: float) -> list[Round]:
    """Pairs in which the objective gains this much, and metrics get worse by these logs."""
    made = []
    better = -1 if of.objective.direction == "lower" else 1
    for index, luck in enumerate(around(1.0, 0.02, count)):
        baseline = {each.metric: 100.0 for each in (of.objective, *of.guardrails)}
        candidate = {of.objective.metric: 100.0 * luck * math.exp(better * gain)}
        for guard in of.guardrails:
            lost = worse.get(guard.metric, [0.0] * count)[index]
            candidate[guard.metric] = 100.0 * math.exp(
                lost if guard.direction == "lower" else -lost
            )
        made.append(pair(index, baseline, candidate))
    return made


@st.composite
def harmful(draw: st.DrawFn) -> tuple[TrialSpec, list[Round]]:
    """A large gain for one workload at the cost of a neighbour, more than its margin on average."""
    main, *beside = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    of = spec(main, *beside)
    hurt = draw(st.sampled_from([each for each in of.guardrails if "." in each.metric]))
    count = draw(st.integers(1, 24))
    spread = draw(st.sampled_from([0.0, 0.05, 0.5]))
    lost = [draw(st.floats(-spread, spread)) for _ in range(count)]
    beyond = draw(st.floats(1e-3, 2.0)) + math.log1p(hurt.margin) - math.fsum(lost) / count
    worse = {hurt.metric: [each + beyond for each in lost]}
    return of, rounds(of, worse, count, gain=draw(st.floats(0.2, 3.0)))


@settings(steady, max_examples=300)
@given(harmful())
def test_who_gains_at_a_neighbour_s_cost_is_never_promoted(
    trial: tuple[TrialSpec, list[Round]],
) -> None:
    of, measured = trial
    assert decide(of, measured).verdict != "promote"


def test_the_same_gain_at_nobody_s_cost_is_promoted() -> None:
    of = spec("build", "wakeup", "pulse")
    assert decide(of, rounds(of, {}, 8, gain=0.5)).verdict == "promote"


def test_the_margin_is_the_neighbour_s_own() -> None:
    of = spec("build", "wakeup")
    some = {"wakeup.wakeup_p99_us": [math.log(1.3)] * 8}
    assert decide(of, rounds(of, some, 8, gain=0.5)).verdict == "promote"
    some = {"wakeup.requests_per_s": [math.log(1.3)] * 8}
    assert decide(of, rounds(of, some, 8, gain=0.5)).verdict == "revert"


def test_a_round_without_a_neighbour_s_number_promotes_nothing_and_says_so() -> None:
    of = spec("build", "wakeup")
    measured = rounds(of, {}, 8, gain=0.5)
    del measured[3].candidate["wakeup.wakeup_p99_us"]
    judged = judge(of, measured)
    assert judged.verdict == "inconclusive"
    assert any("wakeup.wakeup_p99_us is unusable: pair 3" in each for each in judged.reasons)


def test_the_verdict_names_the_neighbour() -> None:
    of = spec("build", "wakeup")
    hurt = {"wakeup.wakeup_p99_us": [math.log(3.0)] * 6}
    judged = judge(of, rounds(of, hurt, 6, gain=0.5))
    assert judged.verdict == "revert"
    assert any("Guardrail wakeup.wakeup_p99_us is violated" in each for each in judged.reasons)
