"""The judge's word on small trials that can be followed by hand."""

from __future__ import annotations

import math

import pytest

from services.learner.judge import distinct, judge
from services.learner.question import RATIO_BOUND
from shared.messages import Guardrail, Judged, Objective, TrialSpec, decode, encode
from tests.learner.known_trials import VICTIM, around, pair, pairs, spec


def test_a_clear_gain_is_promoted_at_the_eighth_pair_and_not_before() -> None:
    ratios = around(0.5, 0.05, 8)
    early = judge(spec(), pairs(ratios[:7]))
    assert early.verdict == "continue"
    assert early.pairs == 7
    assert early.sequence_low < 0.5 < early.sequence_high == RATIO_BOUND
    judged = judge(spec(), pairs(ratios))
    assert judged.verdict == "promote"
    assert judged.pairs == 8
    assert judged.ratio == pytest.approx(0.5)
    assert judged.sequence_low < judged.low <= judged.ratio <= judged.high < judged.sequence_high
    assert "time is better: at worst 0.52" in judged.reasons[1]
    assert "at most 0.980 is needed" in judged.reasons[1]


def test_a_gain_below_the_least_useful_effect_is_not_promoted() -> None:
    rounds = pairs(around(0.95, 0.01, 24))
    assert judge(spec(least_effect=0.02), rounds).verdict == "promote"
    judged = judge(spec(least_effect=0.05), rounds)
    assert judged.verdict == "inconclusive"
    assert judged.reasons[-1] == "All 24 pairs are used up."


def test_nothing_is_good_enough_for_a_least_effect_of_everything() -> None:
    judged = judge(spec(least_effect=1.0), pairs(around(0.01, 0.01, 24)))
    assert judged.verdict == "inconclusive"


def test_harm_reverts_from_the_fourth_pair() -> None:
    ratios = around(1.5, 0.02, 4)
    assert judge(spec(), pairs(ratios[:3])).verdict == "continue"
    judged = judge(spec(), pairs(ratios))
    assert judged.verdict == "revert"
    assert "time got worse: at best 1.4" in judged.reasons[1]


def test_no_difference_is_given_up_early_with_the_reason() -> None:
    judged = judge(spec(), pairs(around(1.0, 0.05, 8)))
    assert judged.verdict == "inconclusive"
    assert judged.reasons[-1] == "time can hardly pass 0.980 within 24 pairs any more."


def test_higher_is_better_when_the_objective_says_so() -> None:
    rounds = pairs(around(2.0, 0.05, 8))
    assert judge(spec(direction="higher"), rounds).verdict == "promote"
    assert judge(spec(direction="lower"), rounds).verdict == "revert"


def test_comparisons_share_alpha() -> None:
    rounds = pairs(around(0.93, 0.04, 8))
    alone, among = judge(spec(), rounds), judge(spec(comparisons=10), rounds)
    assert alone.verdict == "promote"
    assert among.verdict == "continue"
    assert among.sequence_high > alone.sequence_high


def test_a_gain_waits_for_an_open_guardrail_and_says_so() -> None:
    rounds = pairs(around(0.5, 0.05, 8), victims=around(1.0, 0.055, 8))
    judged = judge(spec(guardrails=[VICTIM]), rounds)
    assert judged.verdict == "continue"
    assert [finding.state for finding in judged.guardrails] == ["open"]
    assert "Guardrail victim is open: at worst 1.06" in judged.reasons[2]
    assert "at most 1.050 is allowed" in judged.reasons[2]


def test_a_clear_guardrail_lets_a_gain_through() -> None:
    rounds = pairs(around(0.5, 0.05, 8), victims=around(1.0, 0.01, 8))
    judged = judge(spec(guardrails=[VICTIM]), rounds)
    assert judged.verdict == "promote"
    [finding] = judged.guardrails
    assert (finding.metric, finding.state, finding.margin) == ("victim", "clear", 0.05)
    assert 0.98 < finding.low < finding.ratio < finding.high < 1.05


def test_a_violated_guardrail_reverts_whatever_the_gain() -> None:
    rounds = pairs(around(0.1, 0.05, 4), victims=around(1.3, 0.01, 4))
    judged = judge(spec(guardrails=[VICTIM]), rounds)
    assert judged.verdict == "revert"
    assert judged.guardrails[0].state == "violated"
    assert "Guardrail victim is violated: at best 1.2" in judged.reasons[1]


def test_a_guardrail_that_got_worse_within_its_margin_is_clear() -> None:
    rounds = pairs(around(0.5, 0.05, 8), victims=around(1.03, 0.002, 8))
    assert judge(spec(guardrails=[VICTIM]), rounds).verdict == "promote"


def test_a_guardrail_where_higher_is_better_is_watched_downwards() -> None:
    rate = Guardrail(metric="victim", direction="higher", margin=0.05)
    fallen = pairs(around(0.5, 0.05, 8), victims=around(0.8, 0.01, 8))
    risen = pairs(around(0.5, 0.05, 8), victims=around(1.3, 0.01, 8))
    assert judge(spec(guardrails=[rate]), fallen).verdict == "revert"
    assert judge(spec(guardrails=[rate]), risen).verdict == "promote"


def test_guardrails_share_alpha() -> None:
    rounds = pairs(around(0.5, 0.05, 8), victims=around(1.0, 0.02, 8))
    one = judge(spec(guardrails=[VICTIM]), rounds).guardrails[0]
    two = judge(spec(guardrails=[VICTIM, VICTIM]), rounds).guardrails[0]
    assert two.low < one.low
    assert two.high > one.high


def test_a_guardrail_that_cannot_become_clear_ends_the_trial() -> None:
    rounds = pairs(around(0.5, 0.05, 8), victims=around(1.1, 0.2, 8))
    judged = judge(spec(guardrails=[VICTIM]), rounds)
    assert judged.verdict == "inconclusive"
    assert judged.reasons[-1] == "victim can hardly pass 1.050 within 24 pairs any more."


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, 0.0, -1.0])
@pytest.mark.parametrize("side", ["baseline", "candidate"])
@pytest.mark.parametrize("metric", ["time", "victim"])
def test_one_unusable_number_forbids_the_promotion(
    bad: float | None, side: str, metric: str
) -> None:
    rounds = pairs(around(0.5, 0.05, 12), victims=around(1.0, 0.01, 12))
    assert judge(spec(guardrails=[VICTIM]), rounds).verdict == "promote"
    metrics: dict[str, float] = getattr(rounds[3], side)
    if bad is None:
        del metrics[metric]
    else:
        metrics[metric] = bad
    judged = judge(spec(guardrails=[VICTIM]), rounds)
    assert judged.verdict == "inconclusive"
    assert judged.reasons[1].startswith(f"{metric} is unusable: pair 3 has ")
    assert "missing evidence never promotes" in judged.reasons[1]
    assert judged.guardrails[0].state == ("open" if metric == "victim" else "clear")
    assert decode(encode(judged), Judged) == judged


def test_harm_is_seen_among_unusable_numbers() -> None:
    rounds = pairs([math.nan, *around(1.5, 0.02, 4)])
    assert judge(spec(), rounds).verdict == "revert"


def test_a_metric_nobody_measured_is_said_to_be_missing() -> None:
    rounds = [pair(index, {}, {}) for index in range(3)]
    judged = judge(spec(), rounds)
    assert judged.verdict == "inconclusive"
    assert judged.reasons[0] == "No pair says anything about time."
    assert "no number for the baseline and no number for the candidate" in judged.reasons[1]
    assert "(and 2 pairs more)" in judged.reasons[1]
    assert (judged.ratio, judged.low, judged.high) == (1.0, 1 / RATIO_BOUND, RATIO_BOUND)


def test_without_rounds_it_goes_on() -> None:
    judged = judge(spec(), [])
    assert (judged.verdict, judged.pairs) == ("continue", 0)
    assert decode(encode(judged), Judged) == judged


def test_pairs_that_all_ran_in_one_order_do_not_promote() -> None:
    rounds = [
        pair(index, {"time": 2.0}, {"time": ratio}, order="AB")
        for index, ratio in enumerate(around(1.0, 0.05, 8))
    ]
    judged = judge(spec(), rounds)
    assert judged.verdict == "inconclusive"
    assert "All 8 pairs ran in the order AB" in judged.reasons[1]


def test_rounds_of_two_trials_are_not_judged_as_one() -> None:
    rounds = pairs(around(0.5, 0.05, 6)) + pairs(around(0.5, 0.05, 6), trial="other")
    judged = judge(spec(), rounds)
    assert judged.verdict == "inconclusive"
    assert "Rounds of 2 trials are mixed" in judged.reasons[1]


def test_a_screening_estimates_and_never_promotes() -> None:
    ratios = around(0.5, 0.05, 12)
    screen = spec(stage="screen", max_pairs=12)
    words = [judge(screen, pairs(ratios[:count])).verdict for count in range(1, 13)]
    assert words == ["continue"] * 11 + ["inconclusive"]
    assert judge(screen, pairs(ratios)).ratio == pytest.approx(0.5)


def test_a_screening_stops_at_harm() -> None:
    screen = spec(stage="screen", max_pairs=6)
    assert judge(screen, pairs(around(1.5, 0.02, 4))).verdict == "revert"


def test_a_cap_below_the_first_look_ends_inconclusive() -> None:
    judged = judge(spec(max_pairs=5), pairs(around(0.5, 0.05, 5)))
    assert judged.verdict == "inconclusive"
    assert "no bound before pair 8" in judged.reasons[1]


def test_correlated_neighbours_are_reported_and_widen_the_bounds() -> None:
    ratios = [0.5 * 1.02**step for step in range(-8, 8)]
    shuffled = [ratios[position * 7 % 16] for position in range(16)]
    rising, mixed = judge(spec(), pairs(ratios)), judge(spec(), pairs(shuffled))
    assert rising.autocorrelation > 0.5
    assert "lag-1 +0.8" in rising.reasons[-1]
    assert not any("lag-1" in reason for reason in mixed.reasons)
    assert "the bounds are widened" in rising.reasons[-1]
    assert rising.sequence_high > mixed.sequence_high


def test_of_two_reports_of_one_pair_the_same_one_always_stays() -> None:
    rounds = pairs([0.5, 0.6, 0.7])
    again = pair(1, {"time": 7.0}, {"time": 3.0})
    kept = distinct([*rounds, again])
    assert len(kept) == 3
    assert kept == distinct([again, *reversed(rounds)])


def test_identical_ratios_leave_no_doubt() -> None:
    assert judge(spec(), pairs([0.5] * 8)).verdict == "promote"
    assert judge(spec(), pairs([1.0] * 8)).verdict == "inconclusive"
    assert judge(spec(least_effect=0.0), pairs([1.0] * 8)).verdict == "inconclusive"


def test_extreme_metrics_stay_numbers_on_the_wire() -> None:
    tiny, huge = 5e-324, 1.7e308
    rounds = [pair(index, {"time": huge}, {"time": tiny * (1 + index)}) for index in range(8)]
    judged = judge(spec(), rounds)
    assert decode(encode(judged), Judged) == judged
    assert judged.ratio == 1 / RATIO_BOUND


def test_the_defaults_of_a_trial_are_fit_to_judge() -> None:
    default = TrialSpec(objective=Objective(metric="time", direction="lower"))
    assert judge(default, pairs(around(0.5, 0.05, 8))).verdict == "promote"
