"""Makes rounds of trials whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from hypothesis import settings

from services.learner.judge import Decision, decide
from shared import schedule
from shared.messages import Direction, Guardrail, Objective, Round, TrialSpec

steady = settings(deadline=None, derandomize=True)
"""Properties are searched the same way at every run, however slow the machine is."""

Noise = Callable[[random.Random, int], list[float]]


def spec(
    *,
    direction: Direction = "lower",
    least_effect: float = 0.02,
    guardrails: Sequence[Guardrail] = (),
    min_pairs: int = 8,
    max_pairs: int = 24,
    comparisons: int = 1,
    stage: Literal["screen", "confirm"] = "confirm",
) -> TrialSpec:
    return TrialSpec(
        objective=Objective(metric="time", direction=direction, least_effect=least_effect),
        guardrails=list(guardrails),
        min_pairs=min_pairs,
        max_pairs=max_pairs,
        comparisons=comparisons,
        stage=stage,
    )


VICTIM = Guardrail(metric="victim", direction="lower", margin=0.05)


def pair(
    index: int,
    baseline: dict[str, float],
    candidate: dict[str, float],
    *,
    trial: str = "t",
    order: Literal["AB", "BA"] | None = None,
) -> Round:
    return Round(
        optimization="o",
        trial=trial,
        host="h",
        index=index,
        order=order or schedule.order(1, trial, index),
        seed=1,
        baseline=baseline,
        candidate=candidate,
        spec=spec(),
    )


def pairs(
    ratios: Sequence[float], *, victims: Sequence[float] | None = None, trial: str = "t"
) -> list[Round]:
    """Pairs with exactly these ratios of `time`, and of `victim` if given."""
    made = []
    for index, ratio in enumerate(ratios):
        baseline, candidate = {"time": 7.0}, {"time": 7.0 * ratio}
        if victims is not None:
            baseline["victim"], candidate["victim"] = 3.0, 3.0 * victims[index]
        made.append(pair(index, baseline, candidate, trial=trial))
    return made


def around(centre: float, spread: float, count: int) -> list[float]:
    """Ratios off `centre` by the factor 1 + `spread`, up and down without a correlation."""
    turns = (1, -1, -1, 1)
    return [centre * (1 + spread) ** turns[index % 4] for index in range(count)]


def white(sigma: float) -> Noise:
    return lambda generator, count: [generator.gauss(0, sigma) for _ in range(count)]


def heavy(sigma: float) -> Noise:
    """Student's t with three degrees of freedom."""

    def draw(generator: random.Random, count: int) -> list[float]:
        return [
            sigma * generator.gauss(0, 1) / math.sqrt(generator.gammavariate(1.5, 2) / 3)
            for _ in range(count)
        ]

    return draw


def drifting(sigma: float, drift: float) -> Noise:
    """White noise on a steady drift, up or down by `drift` over the trial."""

    def draw(generator: random.Random, count: int) -> list[float]:
        slope = generator.choice((-1, 1)) * drift / count
        return [slope * position + generator.gauss(0, sigma) for position in range(count)]

    return draw


def simulated(
    of: TrialSpec, noise: Noise, count: int, *, seed: int, effect: float = 1.0
) -> Iterator[list[Round]]:
    """`count` trials whose candidate's true ratio is `effect`, in the schedule's order."""
    generator = random.Random(seed)
    for number in range(count):
        logs = noise(generator, 2 * of.max_pairs)
        made = []
        for index in range(of.max_pairs):
            order = schedule.order(seed, f"t{number}", index)
            a, b = (0, 1) if order == "AB" else (1, 0)
            made.append(
                pair(
                    index,
                    {"time": math.exp(logs[2 * index + a])},
                    {"time": effect * math.exp(logs[2 * index + b])},
                    trial=f"t{number}",
                    order=order,
                )
            )
        yield made


def end(of: TrialSpec, rounds: Sequence[Round]) -> tuple[Decision, int]:
    """The first decision other than continue, looked for after each pair, and its pairs."""
    for count in range(1, len(rounds) + 1):
        decision = decide(of, rounds[:count])
        if decision.verdict != "continue":
            return decision, count
    raise AssertionError("the judge never ended this trial")
