"""How often the judge errs, against the usual ways to compare two schedulers.

    python bench/judge.py [--trials 1500]

Simulates trials whose truth is known and prints six tables (Markdown, as in
docs/judging.md). The judge is the real one, asked after every pair as in a trial.
The same trials come out at every run: each scenario has a seed of its own.
"""

from __future__ import annotations

import argparse
import math
import statistics as plain
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from services.learner.judge import decide
from services.learner.question import WATCH_FROM, about_objective
from shared import schedule
from shared.messages import Guardrail, Objective, Round, TrialSpec
from shared.statistics import LOOK_AGAIN

Values = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Values]
"""Logs of a machine's speed at `n` measurements in time order."""

ALPHA = 0.05
FIRST = 8
Z = 1.6448536269514722
"""The normal's 95 % quantile: every method here asks one-sided, at the same alpha."""


def white(sigma: float) -> Noise:
    """Independent normal noise."""
    return lambda generator, count: generator.normal(0, sigma, count)


def heavy(sigma: float) -> Noise:
    """Student's t with three degrees of freedom: now and then a measurement is far off."""
    return lambda generator, count: sigma * generator.standard_t(3, count)


def ramp(sigma: float, drift: float) -> Noise:
    """White noise on a steady drift up or down over the trial."""
    return lambda generator, count: (
        generator.normal(0, sigma, count) + generator.choice([-1, 1]) * np.linspace(0, drift, count)
    )


def wander(sigma: float, step: float) -> Noise:
    """White noise on a random walk."""
    return lambda generator, count: (
        generator.normal(0, sigma, count) + np.cumsum(generator.normal(0, step, count))
    )


def spikes(sigma: float) -> Noise:
    """White noise, and one measurement in ten disturbed to up to three times its value."""
    return lambda generator, count: (
        generator.normal(0, sigma, count)
        + (generator.random(count) < 0.1) * generator.uniform(0, math.log(3), count)
    )


@dataclass(frozen=True)
class Trial:
    """One simulated trial: pairs as the judge sees them, and the same machine's before/after."""

    pairs: list[Round]
    before: Values
    after: Values

    @property
    def baseline(self) -> Values:
        """Logs of the baseline's times."""
        return np.log([pair.baseline["time"] for pair in self.pairs])

    @property
    def candidate(self) -> Values:
        """Logs of the candidate's times."""
        return np.log([pair.candidate["time"] for pair in self.pairs])


def trials(
    name: str,
    spec: TrialSpec,
    noise: Noise,
    count: int,
    *,
    effect: float = 0.0,
    hurt: float = 0.0,
    follow: float = 0.0,
) -> Iterator[Trial]:
    """Trials whose candidate takes exp(effect) times as long and hurts the victim exp(hurt).

    With `follow`, the candidate carries something over from pair to pair: noise of 5 % whose
    lag-1 autocorrelation is `follow`.
    """
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    for number in range(count):
        machine = noise(generator, 2 * spec.max_pairs)
        victim = noise(generator, 2 * spec.max_pairs)
        carried = 0.0
        pairs = []
        for index in range(spec.max_pairs):
            if follow:
                kick = generator.normal(0, 0.05 * (math.sqrt(1 - follow**2) if index else 1))
                carried = follow * carried + kick
            order = schedule.order(1, f"{name}-{number}", index)
            a, b = (2 * index, 2 * index + 1) if order == "AB" else (2 * index + 1, 2 * index)
            pairs.append(
                Round(
                    optimization="bench",
                    trial=f"{name}-{number}",
                    host="simulated",
                    index=index,
                    order=order,
                    seed=0,
                    baseline={"time": math.exp(machine[a]), "victim": math.exp(victim[a])},
                    candidate={
                        "time": math.exp(machine[b] + effect + carried),
                        "victim": math.exp(victim[b] + hurt),
                    },
                    spec=spec,
                )
            )
        half = spec.max_pairs
        yield Trial(pairs=pairs, before=machine[:half], after=machine[half:] + effect)


# --- The usual ways, each telling after how many pairs it promotes -------------------------------


def mann_whitney(old: Values, new: Values) -> bool:
    """Whether `new` is smaller, by the normal approximation of Mann and Whitney's U."""
    n, m = len(old), len(new)
    above = float(np.sum(old[:, None] > new[None, :]))
    return (above - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12) > Z


def wilcoxon(differences: Values) -> bool:
    """Whether differences are below zero, by the normal approximation of the signed ranks."""
    n = len(differences)
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    below = float(np.sum(ranks[differences < 0]))
    return (below - n * (n + 1) / 4) / math.sqrt(n * (n + 1) * (2 * n + 1) / 24) > Z


def asymptotic(differences: Values) -> bool:
    """The asymptotic confidence sequence, one-sided (Waudby-Smith and others 2024, eq. 2.5)."""
    n = len(differences)
    rho2 = (-2 * math.log(ALPHA) + math.log(-2 * math.log(ALPHA) + 1)) / (2 * FIRST)
    scale = n * rho2 + 1
    width = math.sqrt(2 * scale / (n * n * rho2) * math.log(1 + math.sqrt(scale) / (2 * ALPHA)))
    return float(np.mean(differences) + np.std(differences) * width) < 0


def looking(test: Callable[[Values], bool], differences: Values) -> int | None:
    """The first look, from the eighth pair on, at which a test promotes."""
    return next((n for n in range(FIRST, len(differences) + 1) if test(differences[:n])), None)


def sequence(spec: TrialSpec, pairs: Sequence[Round]) -> int | None:
    """The judge's own bound, without giving up early."""
    return next(
        (n for n in range(FIRST, len(pairs) + 1) if about_objective(spec, pairs[:n]).passed), None
    )


@dataclass(frozen=True)
class Ending:
    """How a trial ended, and after how many pairs."""

    verdict: str
    pairs: int


def ending(spec: TrialSpec, pairs: Sequence[Round]) -> Ending:
    """The real judge's first word other than continue."""
    for n in range(1, len(pairs) + 1):
        verdict = decide(spec, pairs[:n]).verdict
        if verdict != "continue":
            return Ending(verdict, n)
    raise AssertionError("a trial of max_pairs ends")


# --- The tables ---------------------------------------------------------------------------------


def against_the_usual(count: int) -> None:
    """False promotions and power, 40 pairs, slow drift of 4 %, white noise of 2 %."""
    spec = TrialSpec(
        objective=Objective(metric="time", direction="lower", least_effect=0.0),
        max_pairs=40,
        alpha=ALPHA,
    )
    noise = ramp(0.02, 0.04)
    methods: dict[str, Callable[[Trial], int | None]] = {
        "before/after, Mann-Whitney": lambda t: 40 if mann_whitney(t.before, t.after) else None,
        "interleaved, unpaired, Mann-Whitney": lambda t: (
            40 if mann_whitney(t.baseline, t.candidate) else None
        ),
        "interleaved, paired, Wilcoxon": lambda t: (
            40 if wilcoxon(t.candidate - t.baseline) else None
        ),
        "the same, looking after each pair": lambda t: looking(wilcoxon, t.candidate - t.baseline),
        "paired, asymptotic confidence sequence, each pair": lambda t: looking(
            asymptotic, t.candidate - t.baseline
        ),
        "paired, Lai's confidence sequence, each pair": lambda t: sequence(spec, t.pairs),
        "**the judge, as it is**": lambda t: promoted(ending(spec, t.pairs)),
    }
    print("| method | promotes when nothing differs | finds a true 2 % | pairs until it does |")
    print("|---|---|---|---|")
    null = list(trials("null", spec, noise, count))
    true = list(trials("true", spec, noise, count, effect=math.log(0.98)))
    for name, method in methods.items():
        false = [method(trial) for trial in null]
        found = [n for n in map(method, true) if n is not None]
        wrong = sum(n is not None for n in false) / count
        print(
            f"| {name} | {wrong:.1%} | {len(found) / count:.0%} "
            f"| {plain.median(found) if found else '-':g} |",
            flush=True,
        )


def promoted(end: Ending) -> int | None:
    """After how many pairs it promoted."""
    return end.pairs if end.verdict == "promote" else None


SLIGHT = "drift of 4 % over the trial"
"""Of no account in six pairs."""

NOISES = {
    "normal, 2 %": (white(0.02), 0.0),
    "normal, 20 %": (white(0.2), 0.0),
    "Student's t with 3 degrees of freedom": (heavy(0.05), 0.0),
    "one in ten disturbed, up to 3 x": (spikes(0.05), 0.0),
    SLIGHT: (ramp(0.02, 0.04), 0.0),
    "drift of 40 % over the trial": (ramp(0.02, 0.40), 0.0),
    "random walk as large as the noise": (wander(0.02, 0.02), 0.0),
    "neighbouring pairs correlated by 0.2": (white(0.0), 0.2),
    "neighbouring pairs correlated by 0.4": (white(0.0), 0.4),
}
"""What disturbs a pair, and how far pairs follow the one before."""


def noises(count: int) -> None:
    """Nothing differs: wrong promotions, wrong reverts, and how often a bound itself is wrong."""
    spec = TrialSpec(
        objective=Objective(metric="time", direction="lower", least_effect=0.0), alpha=ALPHA
    )
    print(
        "| A/A noise, up to 24 pairs | promotes | reverts "
        "| promoting bound ever wrong | reverting bound ever wrong |"
    )
    print("|---|---|---|---|---|")
    for name, (noise, follow) in NOISES.items():
        simulated = list(trials(f"noise {name}", spec, noise, count, follow=follow))
        ends = [ending(spec, trial.pairs).verdict for trial in simulated]
        low = high = 0
        for trial in simulated:
            asked = [
                about_objective(spec, trial.pairs[:n])
                for n in range(WATCH_FROM, spec.max_pairs + 1)
            ]
            low += any(question.low > 0 for question in asked)
            high += any(question.high < 0 for question in asked)
        print(
            f"| {name} | {ends.count('promote') / count:.1%} | {ends.count('revert') / count:.1%} "
            f"| {low / count:.1%} | {high / count:.1%} |",
            flush=True,
        )


def power(count: int) -> None:
    """What a trial with the defaults ends in: least effect 2 %, a guardrail of 5 %, 24 pairs."""
    spec = TrialSpec(
        objective=Objective(metric="time", direction="lower"),
        guardrails=[Guardrail(metric="victim", direction="lower")],
        alpha=ALPHA,
    )
    print("| truth | noise of a measurement | promote | revert | inconclusive | pairs (median) |")
    print("|---|---|---|---|---|---|")
    for truth, effect, hurt in (
        ("nothing differs", 1.0, 1.0),
        ("2 % better, just the least effect", 0.98, 1.0),
        ("10 % better", 0.90, 1.0),
        ("50 % better", 0.50, 1.0),
        ("50 % worse", 1.50, 1.0),
        ("50 % better, victim 5 % worse, just the margin", 0.50, 1.05),
        ("50 % better, victim 30 % worse", 0.50, 1.30),
    ):
        for sigma in (0.02, 0.05, 0.10):
            name = f"power {truth} {sigma}"
            ends = [
                ending(spec, trial.pairs)
                for trial in trials(
                    name, spec, white(sigma), count, effect=math.log(effect), hurt=math.log(hurt)
                )
            ]
            shares = " | ".join(
                f"{sum(end.verdict == verdict for end in ends) / count:.1%}"
                for verdict in ("promote", "revert", "inconclusive")
            )
            pairs = plain.median(end.pairs for end in ends)
            print(f"| {truth} | {sigma:.0%} | {shares} | {pairs:g} |", flush=True)


def giving_up(count: int) -> None:
    """What stopping a hopeless trial early costs and saves: noise 5 %, least effect 2 %."""
    print("| pairs at most | truth | promotes | would, never giving up | pairs used (mean) |")
    print("|---|---|---|---|---|")
    for most in (16, 24, 40):
        spec = TrialSpec(
            objective=Objective(metric="time", direction="lower"), max_pairs=most, alpha=ALPHA
        )
        for effect in (1.0, 0.95, 0.93, 0.90):
            simulated = list(
                trials(f"hope {most} {effect}", spec, white(0.05), count, effect=math.log(effect))
            )
            ends = [ending(spec, trial.pairs) for trial in simulated]
            patient = sum(sequence(spec, trial.pairs) is not None for trial in simulated)
            found = sum(end.verdict == "promote" for end in ends)
            used = plain.fmean(end.pairs for end in ends)
            print(
                f"| {most} | {1 - effect:.0%} better | {found / count:.1%} "
                f"| {patient / count:.1%} | {used:.1f} |",
                flush=True,
            )


def again(count: int) -> None:
    """A remembered winner, which has drifted to no gain or never had one: six fresh pairs."""
    objective = Objective(metric="time", direction="lower", least_effect=0.0)
    fresh = TrialSpec(objective=objective, min_pairs=LOOK_AGAIN, max_pairs=LOOK_AGAIN, alpha=ALPHA)
    usual = TrialSpec(objective=objective, alpha=ALPHA)
    print(
        "| nothing differs any more | six fresh pairs promote | reverts "
        "| six, and ten remembered ones 20 % better, pooled | the usual trial promotes |"
    )
    print("|---|---|---|---|---|")
    for name, (noise, follow) in NOISES.items():
        if name == SLIGHT:
            continue
        simulated = list(trials(f"again {name}", usual, noise, count, follow=follow))
        ends = [ending(fresh, trial.pairs[:LOOK_AGAIN]).verdict for trial in simulated]
        earlier = trials(f"earlier {name}", usual, noise, count, effect=math.log(0.8))
        pooled = sum(
            about_objective(
                replace(fresh, max_pairs=16), [*then.pairs[:10], *now.pairs[:LOOK_AGAIN]]
            ).passed
            for then, now in zip(earlier, simulated, strict=True)
        )
        full = sum(ending(usual, trial.pairs).verdict == "promote" for trial in simulated)
        print(
            f"| {name} | {ends.count('promote') / count:.1%} | {ends.count('revert') / count:.1%} "
            f"| {pooled / count:.1%} | {full / count:.1%} |",
            flush=True,
        )


def again_finds(count: int) -> None:
    """A remembered winner that still is one: least effect 2 %, six pairs at the most."""
    print("| truth | noise of a measurement | six pairs promote | with a guardrail of 5 % |")
    print("|---|---|---|---|")
    guard = [Guardrail(metric="victim", direction="lower")]
    for truth, effect in (("10 % better", 0.9), ("20 % better", 0.8), ("50 % better", 0.5)):
        for sigma in (0.02, 0.05, 0.10):
            shares = []
            for guardrails in ([], guard):
                spec = TrialSpec(
                    objective=Objective(metric="time", direction="lower"),
                    guardrails=guardrails,
                    min_pairs=LOOK_AGAIN,
                    max_pairs=LOOK_AGAIN,
                    alpha=ALPHA,
                )
                made = trials(
                    f"found {truth} {sigma}", spec, white(sigma), count, effect=math.log(effect)
                )
                found = sum(ending(spec, each.pairs).verdict == "promote" for each in made)
                shares.append(f"{found / count:.1%}")
            print(f"| {truth} | {sigma:.0%} | {' | '.join(shares)} |", flush=True)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=1500, help="simulated trials a scenario")
    count = parser.parse_args().trials
    began = time.monotonic()
    for table in (against_the_usual, noises, power, giving_up, again, again_finds):
        print(f"\n{(table.__doc__ or '').strip()}\n")
        table(count)
    print(f"\n{count} trials a row, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
