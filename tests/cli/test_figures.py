from __future__ import annotations

import pytest

from cli import figures
from cli.limits import allowed_ratio, wanted_ratio
from services.learner.judge import judge
from shared.messages import Guardrail, Objective, Round, TrialSpec


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (0.4361, "0.436"),
        (3.14159, "3.14"),
        (31.4159, "31.4"),
        (314.159, "314"),
        (31415.9, "31\u2009416"),
        (float("inf"), "∞"),
    ],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert figures.number(value) == shown


def test_microseconds_become_milliseconds_where_that_reads_better() -> None:
    assert figures.quantity(6893.0, "us") == "6.89 ms"
    assert figures.quantity(120.0, "us") == "120 µs"
    assert figures.quantity(950.0, "1/s") == "950 /s"


def test_limits_are_where_the_judge_puts_them() -> None:
    """In the trial below the judge says clear just inside of the limit and not just outside."""
    guardrail = Guardrail(metric="g", direction="higher", margin=0.10)
    objective = Objective(metric="m", direction="higher", least_effect=0.05)
    for nudge, passes in ((1.001, True), (0.999, False)):
        spec = TrialSpec(objective=objective, guardrails=[guardrail])
        rounds = [
            Round(
                optimization="o",
                trial="t",
                host="h",
                index=index,
                order="AB" if index % 2 else "BA",
                seed=1,
                baseline={"m": 100.0, "g": 100.0},
                candidate={
                    "m": 100.0 * wanted_ratio(objective) * nudge,
                    "g": 100.0 * allowed_ratio(guardrail) * nudge,
                },
                spec=spec,
            )
            for index in range(10)
        ]
        judged = judge(spec, rounds)
        assert (judged.guardrails[0].state == "clear") is passes
        assert (judged.verdict == "promote") is passes


def test_a_bound_that_knows_nothing_is_said_to_be_open() -> None:
    assert figures.interval(1e-6, 1e6) == "[0, ∞]"
    assert figures.interval(0.397, 0.488) == "[0.397, 0.488]"


def test_a_change_for_the_worse_says_so() -> None:
    assert figures.change(0.43, "lower") == "57 % lower"
    assert figures.change(0.43, "higher") == "57 % lower (worse)"
    assert figures.change(1.021, "higher") == "2.1 % higher"


def test_the_strip_shows_where_a_ratio_lies() -> None:
    strip = figures.strip(0.5, 0.4, 0.7, better="lower").plain
    middle = len(strip) // 2
    assert strip[middle] == "│"
    assert strip.index("●") < middle
    assert "─" in strip[:middle]
    beyond = figures.strip(100.0, 0.0, float("inf"), better="lower").plain
    assert beyond.endswith("●")
    assert len(beyond) == len(strip)


@pytest.mark.parametrize(
    ("share", "full"), [(0.0, 0), (0.5, 5), (0.94, 9), (1.0, 10), (7.0, 10), (-1.0, 0)]
)
def test_a_bar_is_as_full_as_what_it_shows_without_colours_too(share: float, full: int) -> None:
    text = figures.bar(share, 10).plain
    assert (len(text), text.count("━")) == (10, full)
