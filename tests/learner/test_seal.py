"""Only what the judge has promoted is sealed, whatever a planner says."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from services.learner.judge import judge
from services.learner.seal import promoted
from shared.messages import Judged, Loadable, Round, Weighed
from tests.learner.known_trials import VICTIM, pair, spec

SPEC = spec(guardrails=[VICTIM])
TRIED = Loadable(artifact="a" * 64, parameters={"slice_us": 500})
BETTER = {"time": 50.0, "victim": 100.0}
SAME = {"time": 100.0, "victim": 100.0}


def rounds(count: int = 10, tried: Loadable | None = TRIED, trial: str = "t") -> list[Round]:
    made = [pair(index, SAME, BETTER, trial=trial) for index in range(count)]
    return [replace(each, spec=SPEC, tried=tried) for each in made]


def word(of: list[Round]) -> Judged:
    """The judge's own, of these rounds."""
    return judge(SPEC, of)


def weighed(verdict: Any) -> Weighed:
    return Weighed(optimization="o", cohort=1, verdict=verdict)


def test_a_confirmation_that_promoted_says_what_it_was() -> None:
    told = rounds()
    assert word(told).verdict == "promote"
    assert promoted([word(told)], [], told) == TRIED
    assert promoted([word(told)], [weighed("not-worse"), weighed("untold")], told) == TRIED


def test_a_step_that_did_harm_ends_it() -> None:
    told = rounds()
    assert promoted([word(told)], [weighed("worse")], told) is None


def test_nobody_else_s_rounds_say_what_it_was() -> None:
    told = rounds()
    other = Loadable(artifact="b" * 64, parameters={"slice_us": 500})
    strangers = [replace(each, host="elsewhere", tried=other) for each in told]
    screened = rounds(tried=other, trial="t0")
    assert promoted([word(told)], [], [*screened, *told, *strangers]) == TRIED
    assert promoted([word(told)], [], strangers) is None


def test_two_candidates_in_one_trial_are_none() -> None:
    told = rounds()
    mixed = [*told[1:], replace(told[0], tried=replace(TRIED, parameters={"slice_us": 501}))]
    assert promoted([word(told)], [], mixed) is None
    assert promoted([word(told)], [], rounds(tried=None)) is None


WEAK = {
    "no verdict": {"verdict": "continue"},
    "inconclusive": {"verdict": "inconclusive"},
    "few pairs": {"pairs": 7},
    "no question": {"spec": None},
    "a screening": {"spec": replace(SPEC, stage="screen")},
    "asked to be easy": {"spec": replace(SPEC, min_pairs=1)},
    "asked to believe anything": {"spec": replace(SPEC, alpha=0.4)},
    "a guardrail left out": {"guardrails": []},
}


@pytest.mark.parametrize("what", WEAK)
def test_a_weaker_word_is_none(what: str) -> None:
    told = rounds()
    assert promoted([replace(word(told), **WEAK[what])], [], told) is None


def test_a_guardrail_that_is_not_clear_is_none() -> None:
    told = rounds()
    good = word(told)
    hurt = [replace(finding, state="unclear") for finding in good.guardrails]
    assert hurt
    assert promoted([replace(good, guardrails=hurt)], [], told) is None


def test_an_early_look_is_for_what_was_promoted_before() -> None:
    early = replace(SPEC, min_pairs=6, max_pairs=6)
    told = [replace(each, spec=early) for each in rounds(6)]
    said = judge(early, told)
    assert (said.verdict, said.pairs) == ("promote", 6)
    assert promoted([said], [], told) is None
    assert promoted([said], [], told, pairs=6) == TRIED


def test_of_two_that_were_promoted_the_better_one_is_kept() -> None:
    first, then = rounds(trial="t1"), rounds(tried=replace(TRIED, artifact="b" * 64), trial="t2")
    worse = [replace(each, candidate={"time": 80.0, "victim": 100.0}) for each in then]
    assert promoted([word(first), word(worse)], [], [*first, *worse]) == TRIED
    assert promoted([word(worse), word(first)], [], [*first, *worse]) == TRIED
