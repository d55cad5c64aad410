"""What must hold for every trial."""

from __future__ import annotations

import math
from random import Random
from typing import Literal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.learner.judge import decide, distinct, judge
from shared.messages import Guardrail, Judged, Round, TrialSpec, decode, encode
from tests.learner.known_trials import VICTIM, pair, pairs, spec, steady

metric = st.one_of(
    st.floats(0.5, 2.0),
    st.floats(1e-3, 1e6),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0]),
)
hole = st.tuples(
    st.sampled_from(["baseline", "candidate"]),
    st.sampled_from(["time", "victim"]),
    st.sampled_from([None, math.nan, math.inf, -math.inf, 0.0, -1.0]),
)
stage: st.SearchStrategy[Literal["screen", "confirm"]] = st.sampled_from(["screen", "confirm"])


@st.composite
def sound_trials(draw: st.DrawFn) -> list[Round]:
    """Trials with every number in place, around one true ratio."""
    centre = draw(st.sampled_from([0.3, 0.7, 0.9, 1.0, 1.1, 2.0]))
    count = draw(st.integers(1, 24))
    spread = draw(st.sampled_from([1.001, 1.02, 1.1, 1.5]))
    noise = st.floats(-1, 1)
    ratios = [centre * spread ** draw(noise) for _ in range(count)]
    hurt = draw(st.sampled_from([0.9, 1.0, 1.04, 1.3]))
    victims = [hurt * 1.02 ** draw(noise) for _ in range(count)]
    return pairs(ratios, victims=victims)


@st.composite
def any_trials(draw: st.DrawFn) -> list[Round]:
    """Trials in which any number may be missing or nonsense."""
    sides = st.dictionaries(st.sampled_from(["time", "victim"]), metric)
    count = draw(st.integers(0, 26))
    return [pair(index, draw(sides), draw(sides)) for index in range(count)]


few = settings(steady, max_examples=30)
"""For what includes the bootstrap."""


def told(judged: Judged) -> tuple[str, list[str]]:
    return judged.verdict, [finding.state for finding in judged.guardrails]


@few
@given(sound_trials(), st.randoms())
def test_the_order_of_arrival_does_not_matter(rounds: list[Round], random: Random) -> None:
    shuffled = list(rounds)
    random.shuffle(shuffled)
    of = spec(guardrails=[VICTIM])
    assert judge(of, shuffled) == judge(of, rounds)


@few
@given(sound_trials(), st.lists(st.integers(0, 23)))
def test_rounds_told_twice_count_once(rounds: list[Round], again: list[int]) -> None:
    of = spec(guardrails=[VICTIM])
    repeated = [*rounds, *(rounds[index % len(rounds)] for index in again)]
    assert judge(of, repeated) == judge(of, rounds)


@few
@given(sound_trials(), st.sampled_from([1e-6, 0.125, 3.0, 1e9]))
def test_the_unit_of_a_metric_does_not_matter(rounds: list[Round], factor: float) -> None:
    of = spec(guardrails=[VICTIM])
    scaled = [
        msgspec.structs.replace(
            each,
            baseline={name: value * factor for name, value in each.baseline.items()},
            candidate={name: value * factor for name, value in each.candidate.items()},
        )
        for each in rounds
    ]
    first, second = judge(of, rounds), judge(of, scaled)
    assert told(first) == told(second)
    assert math.isclose(first.ratio, second.ratio, rel_tol=1e-9)
    assert math.isclose(first.high, second.high, rel_tol=1e-9)


@few
@given(sound_trials())
def test_a_metric_and_its_inverse_get_the_same_verdict(rounds: list[Round]) -> None:
    inverse = [
        msgspec.structs.replace(
            each,
            baseline={name: 1 / value for name, value in each.baseline.items()},
            candidate={name: 1 / value for name, value in each.candidate.items()},
        )
        for each in rounds
    ]
    upwards = Guardrail(metric="victim", direction="higher", margin=VICTIM.margin)
    down = judge(spec(direction="lower", guardrails=[VICTIM]), rounds)
    up = judge(spec(direction="higher", guardrails=[upwards]), inverse)
    assert told(down) == told(up)
    assert math.isclose(down.ratio, 1 / up.ratio, rel_tol=1e-9)
    assert math.isclose(down.sequence_low, 1 / up.sequence_high, rel_tol=1e-9)
    assert math.isclose(down.low, 1 / up.high, rel_tol=1e-9)


@settings(steady, max_examples=200)
@given(sound_trials(), stage, st.data())
def test_a_promotion_has_every_number_and_every_guardrail_clear(
    rounds: list[Round], at: Literal["screen", "confirm"], data: st.DataObject
) -> None:
    holes = data.draw(st.lists(st.tuples(st.integers(0, len(rounds) - 1), hole), max_size=2))
    for index, (side, name, nonsense) in holes:
        metrics: dict[str, float] = getattr(rounds[index], side)
        if nonsense is None:
            metrics.pop(name, None)
        else:
            metrics[name] = nonsense
    decision = decide(spec(guardrails=[VICTIM], stage=at), distinct(rounds))
    if decision.verdict == "promote":
        assert not holes
        assert at == "confirm"
        assert len(rounds) >= 8
        assert all(question.passed for _, question in decision.guardrails)


@few
@given(any_trials(), stage)
def test_every_word_of_the_judge_survives_the_wire(
    rounds: list[Round], at: Literal["screen", "confirm"]
) -> None:
    judged = judge(spec(guardrails=[VICTIM], stage=at), rounds)
    assert decode(encode(judged), Judged) == judged
    assert judged.reasons
    assert 0 < judged.sequence_low <= judged.sequence_high
    assert 0 < judged.low <= judged.ratio <= judged.high


@steady
@given(any_trials())
def test_a_trial_ends_at_its_cap(rounds: list[Round]) -> None:
    of: TrialSpec = spec(guardrails=[VICTIM], max_pairs=max(len(rounds), 1))
    assert (decide(of, rounds).verdict == "continue") == (len(rounds) == 0)
