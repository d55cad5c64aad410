"""Half a year of requests with and without a memory: how far from the best policy, at what price.

Real are the learner's memory, the embedded mind and the judge; simulated are hosts and time. What a
policy does to a class of workload is drawn around what bench/results/policies.json has measured,
per kind of host; pairs scatter as they did there. On top of that come drift (on two days a third
of all kinds is drawn anew), conflict (hosts of one kind differ) and poison (a host that tells of
promotions that never were). Both runs see the same requests, truths and noise.

Regret is ln(gain of the best candidate there is) - ln(gain of what runs after the request), so
0.10 means that 10 % were left on the table; a default that is kept has a gain of 1.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from asyncio import run
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from services.learner.judge import decide, judge
from services.learner.memory import Memory
from services.planner.machine.generations import MOST_GENERATIONS
from services.planner.machine.trying import AFRESH_PAIRS, MIN_PAIRS, ONWARD_PAIRS
from services.planner.minds import Question
from services.planner.minds.embedded import EmbeddedMind
from services.planner.minds.question import Tried
from services.planner.minds.search import STEP
from shared.classes import WorkloadClass
from shared.fingerprint import fingerprint
from shared.messages import (
    Budget,
    Candidate,
    Inventory,
    Judged,
    Objective,
    OptimizeRequest,
    Outcome,
    Plan,
    Profile,
    RecallRequest,
    Recollection,
    Round,
    TrialSpec,
    Vouched,
)
from shared.policies import Catalogue
from shared.statistics import LOOK_AGAIN

RESULTS = Path(__file__).parent / "results"
MONTH = 30
ROUNDS = 24
DAY_NS = 86_400 * 10**9
OBJECTIVE = Objective(metric="seconds", direction="lower")
WORKLOADS: dict[WorkloadClass, tuple[str, ...]] = {
    "latency-under-load": ("wakeup", "pulse"),
    "long-tail-batch": ("longtail-compress", "longtail-checksum", "longtail-etl", "longtail-spin"),
    "short-process-churn": ("build",),
}
UNKNOWN = 0.10, 0.15
"""Mean and spread of ln(ratio) of a policy that was never measured on a class: rather worse."""
KINDS_SPREAD, HOSTS_SPREAD = 0.15, 0.04
"""How kinds of hosts differ from what was measured, and hosts from their kind."""
TUNING = 0.10
"""The most that one parameter is worth."""
PAIR_SPREAD = 0.12
DRIFT_SHARE = 1 / 3
POISON_SHARE = 0.05


class Measured(msgspec.Struct, frozen=True):
    """A row of policies.json, as a factor on what should be low."""

    workload: str
    policy: str
    direction: str
    ratio: float


class Kind:
    """A class of workload on a kind of host, and what is true of it until it drifts."""

    def __init__(self, number: int, of: WorkloadClass, cpus: int, kernel: str) -> None:
        self.number = number
        self.workload_class: WorkloadClass = of
        self.inventory = Inventory(
            host="h",
            machine_id="",
            boot_id="",
            kernel=kernel,
            arch="x86_64",
            cpus=cpus,
            cpu_model="simulated",
            sched_ext=True,
        )
        self._base: dict[str, float] = {}
        self._tuning: dict[tuple[str, str], tuple[int, float]] = {}

    def draw(self, rng: random.Random, policies: Catalogue, rows: list[Measured]) -> None:
        """What is true from now on."""
        for name, policy in policies.items():
            known = [
                math.log(row.ratio if row.direction == "lower" else 1 / row.ratio)
                for row in rows
                if row.policy == name and row.workload in WORKLOADS[self.workload_class]
            ]
            middle, spread = (statistics.fmean(known), KINDS_SPREAD) if known else UNKNOWN
            self._base[name] = rng.gauss(middle, spread)
            for each in policy.manifest.parameter:
                self._tuning[name, each.name] = rng.choice([-1, 0, 1]), rng.uniform(0, TUNING)

    def effect(self, policy: str, parameters: dict[str, int], policies: Catalogue) -> float:
        """The true ln(candidate / default): below 0 is better."""
        total = self._base[policy]
        for each in policies[policy].manifest.parameter:
            best, worth = self._tuning[policy, each.name]
            steps = math.log(max(1, parameters[each.name]) / max(1, each.default), STEP)
            total += worth * (min(2.0, abs(steps - best)) - abs(best))
        return total

    def best(self, policies: Catalogue) -> float:
        """Of all there is: a policy with each of its parameters where it is worth most."""
        found = [
            self._base[name]
            - sum(
                worth * abs(best)
                for best, worth in (
                    self._tuning[name, each.name] for each in policy.manifest.parameter
                )
            )
            for name, policy in policies.items()
        ]
        return min(0.0, *found)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One request: where it ended and what it took."""

    day: int
    regret: float
    rounds: int
    harmful_rounds: int
    """Under a candidate that is truly worse than the default by more than 2 %."""
    promoted: bool
    worse: bool
    """Promoted, though truly worse than the default."""


Trial = Callable[[Candidate, str, int, int, int], Judged]
"""A candidate's trial: its stage, pairs before the first look, pairs at the most, its number."""

Think = Callable[[list[tuple[Candidate, Judged]]], Plan]
"""Has the mind plan on, from what its looks have brought."""


class Request:
    """A plan carried out without a host, as services/planner/machine/trying.py does it."""

    def __init__(self, plan: Plan, trial: Trial, think: Think) -> None:
        self.trials: list[tuple[Candidate, Judged]] = []
        self._plan, self._trial, self._think = plan, trial, think
        self._confirmed = 0

    @property
    def rounds(self) -> int:
        """What it took so far."""
        return sum(said.pairs for _, said in self.trials)

    def kept(self) -> Candidate | None:
        """What runs at the end; None for the default."""
        plan = self._planned()
        if not plan.candidates:
            return None
        if not plan.again:
            return self._searched(plan.candidates, plan.screen_pairs, plan.confirm_pairs)
        first = plan.candidates[0]
        said = self._tried(first, "confirm", LOOK_AGAIN, LOOK_AGAIN)
        left = ROUNDS - self.rounds
        if said.verdict == "promote":
            onward = plan.onward[:1]
            if not onward or left < MIN_PAIRS:
                return first
            further = self._tried(onward[0], "confirm", MIN_PAIRS, min(left, ONWARD_PAIRS))
            better = further.verdict == "promote" and further.ratio < said.ratio
            return onward[0] if better else first
        known = [] if said.verdict == "revert" else [first]
        room = (left - MIN_PAIRS) // plan.instead_pairs
        new = [each for each in plan.instead if key_of(each) != key_of(first)]
        new = new[: room if known else max(1, room)]
        screen = plan.instead_pairs if len(known) + len(new) > 1 else 0
        return self._searched([*known, *new], screen, AFRESH_PAIRS)

    def _planned(self) -> Plan:
        """The last plan: those before it are looks, from which the mind plans on."""
        plan = self._plan
        for _ in range(MOST_GENERATIONS - 1):
            if not plan.more or ROUNDS - self.rounds < MIN_PAIRS:
                break
            for each in plan.candidates:
                if ROUNDS - self.rounds - plan.screen_pairs >= MIN_PAIRS:
                    self._tried(each, "screen", plan.screen_pairs, plan.screen_pairs)
            plan = self._think(self.trials)
        return plan

    def _searched(self, candidates: list[Candidate], screen: int, confirm: int) -> Candidate | None:
        """Screen what has no estimate yet, then confirm the best."""
        tried = {key_of(each): said for each, said in self.trials}
        before = self._confirmed
        estimates: list[tuple[float, int]] = []
        for place, each in enumerate(candidates):
            said = tried.get(key_of(each))
            if said is None and screen:
                said = self._tried(each, "screen", min(MIN_PAIRS, screen), screen)
            estimates.append(
                (math.log(each.predicted_ratio if said is None else said.ratio), place)
            )
        for estimate, place in sorted(estimates):
            left = ROUNDS - self.rounds
            if left < MIN_PAIRS or (self._confirmed > before and estimate >= 0):
                return None
            said = self._tried(candidates[place], "confirm", MIN_PAIRS, min(left, confirm))
            if said.verdict == "promote":
                return candidates[place]
        return None

    def _tried(self, each: Candidate, stage: str, least: int, most: int) -> Judged:
        said = self._trial(each, stage, least, most, self._confirmed)
        self._confirmed += stage == "confirm"
        self.trials.append((each, said))
        return said


def told(question: Question, trials: list[tuple[Candidate, Judged]]) -> Question:
    """The question, once these looks were had."""
    return replace(
        question,
        tried=[
            Tried(
                candidate=each,
                pairs=said.pairs,
                ratio=said.ratio,
                low=said.low,
                high=said.high,
                harmful=said.verdict == "revert",
            )
            for each, said in trials
        ],
        rounds_used=sum(said.pairs for _, said in trials),
    )


def key_of(each: Candidate | Outcome) -> tuple[str, str, tuple[tuple[str, int], ...]]:
    """Which candidate it is."""
    return each.policy, each.version, tuple(sorted(each.parameters.items()))


class World:
    """Kinds of hosts over time, the same for every run with a seed."""

    def __init__(self, seed: int, days: int, per_day: int) -> None:
        self.policies = Catalogue.load()
        self._rng = random.Random(seed)  # noqa: S311
        rows = msgspec.json.decode((RESULTS / "policies.json").read_bytes(), type=list[Measured])
        self._rows = rows
        self._kinds = [
            Kind(number, of, cpus, kernel)
            for number, (of, cpus, kernel) in enumerate(
                (of, cpus, kernel)
                for of in WORKLOADS
                for cpus in (2, 16)
                for kernel in ("6.12.9", "7.3.4")
            )
        ]
        for kind in self._kinds:
            kind.draw(self._rng, self.policies, rows)
        self._seed, self._days, self._per_day = seed, days, per_day
        self._promoted: set[tuple[str, tuple[str, str, tuple[tuple[str, int], ...]]]] = set()
        """What a learner's own verdicts would show; no liar writes into it."""

    def live(self, *, remembering: bool) -> list[Ended]:
        """All requests of all days."""
        memory = Memory()
        ended: list[Ended] = []
        for day in range(self._days):
            if day in {self._days // 3, 2 * self._days // 3}:
                share = round(len(self._kinds) * DRIFT_SHARE)
                for kind in self._rng.sample(self._kinds, share):
                    kind.draw(self._rng, self.policies, self._rows)
            for nth in range(self._per_day):
                rng = random.Random(f"{self._seed}/{day}/{nth}")  # noqa: S311
                kind = rng.choice(self._kinds)
                host, shift = f"h{rng.randrange(4)}", rng.gauss(0, HOSTS_SPREAD)
                told = memory if remembering else None
                ended.append(self._request(kind, host, shift, day, nth, told))
                if remembering and rng.random() < POISON_SHARE:
                    memory.take(self._poison(rng, kind, day, nth))
        return ended

    def _question(self, kind: Kind, name: str, memory: Memory | None) -> Question:
        profile = Profile(
            host="h",
            workload="simulated",
            features={"kind": float(kind.number + 1), "cpus": float(kind.inventory.cpus)},
            workload_class=kind.workload_class,
            confidence=0.8,
            summary="",
        )
        of = fingerprint(profile, kind.inventory, OBJECTIVE)
        asked = RecallRequest(fingerprint=of, features=profile.features)
        return Question(
            optimization=name,
            request=OptimizeRequest(
                workload="simulated",
                budget=Budget(rounds=ROUNDS),
                # What hooks do that nobody has measured cannot be simulated.
                made=False,
            ),
            profile=profile,
            inventory=kind.inventory,
            fingerprint=of,
            objective=OBJECTIVE,
            recollection=Recollection() if memory is None else self._recalled(memory, asked),
            policies=self.policies,
        )

    def _recalled(self, memory: Memory, asked: RecallRequest) -> Recollection:
        """With what the learner vouches for."""
        found = memory.recall(asked)
        vouched = []
        for each in found.exact:
            promotions = memory.promotions(each.fingerprint, key_of(each))
            if any((of, key_of(each)) in self._promoted for of in promotions):
                vouched.append(
                    Vouched(
                        policy=each.policy,
                        version=each.version,
                        parameters=each.parameters,
                        promotions=len(promotions),
                    )
                )
        return replace(found, vouched=vouched)

    def _request(
        self, kind: Kind, host: str, shift: float, day: int, nth: int, memory: Memory | None
    ) -> Ended:
        question = self._question(kind, f"o{day}-{nth}", memory)
        plan = run(EmbeddedMind().plan(question))
        request = Request(
            plan,
            lambda each, stage, least, pairs, number: self._trial(
                each,
                kind.effect(each.policy, each.parameters, self.policies) + shift,
                f"{day}/{nth}/{stage}",
                (stage, least, pairs),
                number,
            ),
            lambda trials: run(EmbeddedMind().plan(told(question, trials))),
        )
        kept = request.kept()
        runs = 0.0 if kept is None else kind.effect(kept.policy, kept.parameters, self.policies)
        if memory is not None:
            if kept is not None:
                self._promoted.add((question.optimization, key_of(kept)))
            memory.take(
                [
                    self._outcome(
                        question, each, said, host, day, kept=kept is not None and each is kept
                    )
                    for each, said in request.trials
                ]
            )
        return Ended(
            day=day,
            regret=runs - kind.best(self.policies),
            rounds=request.rounds,
            harmful_rounds=sum(
                said.pairs
                for each, said in request.trials
                if kind.effect(each.policy, each.parameters, self.policies) + shift > math.log(1.02)
            ),
            promoted=kept is not None,
            worse=runs > 0,
        )

    def _trial(
        self,
        each: Candidate,
        true: float,
        name: str,
        asked: tuple[str, int, int],
        number: int,
    ) -> Judged:
        """Pairs as they come, judged after each as the learner does."""
        stage, least, pairs = asked
        confirming = stage == "confirm"
        spec = TrialSpec(
            objective=OBJECTIVE,
            stage="confirm" if confirming else "screen",
            min_pairs=least,
            max_pairs=pairs,
            comparisons=1 + number if confirming else 1,
        )
        parameters = sorted(each.parameters.items())
        noise = random.Random(f"{self._seed}/{name}/{each.policy}/{parameters}")  # noqa: S311
        rounds: list[Round] = []
        for index in range(pairs):
            ratio = math.exp(true + noise.gauss(0, PAIR_SPREAD))
            rounds.append(
                Round(
                    optimization="o",
                    trial=f"{name}-{number}",
                    host="h",
                    index=index,
                    order="AB" if index % 2 else "BA",
                    seed=index,
                    baseline={"seconds": 1.0},
                    candidate={"seconds": ratio},
                    spec=spec,
                )
            )
            if index + 1 >= spec.min_pairs and decide(spec, rounds).verdict != "continue":
                break
        return judge(spec, rounds)

    def _outcome(
        self,
        question: Question,
        each: Candidate,
        said: Judged,
        host: str,
        day: int,
        *,
        kept: bool,
    ) -> Outcome:
        assert said.verdict != "continue" or said.pairs
        return Outcome(
            fingerprint=question.fingerprint,
            workload="simulated",
            policy=each.policy,
            version=each.version,
            parameters=each.parameters,
            verdict="promote" if kept else "revert" if said.verdict == "revert" else "inconclusive",
            ratio=said.ratio,
            low=said.low,
            high=said.high,
            pairs=said.pairs,
            predicted_ratio=each.predicted_ratio,
            optimization=question.optimization,
            unix_ns=(day + 1) * DAY_NS,
            features=question.profile.features,
            host=host,
        )

    def _poison(self, rng: random.Random, kind: Kind, day: int, nth: int) -> list[Outcome]:
        """A host tells of a promotion of the worst policy there is."""
        question = self._question(kind, f"lie{day}-{nth}", None)
        worst = max(
            self.policies,
            key=lambda name: kind.effect(
                name, self.policies[name].manifest.defaults, self.policies
            ),
        )
        manifest = self.policies[worst].manifest
        lie = rng.uniform(0.1, 0.4)
        return [
            Outcome(
                fingerprint=question.fingerprint,
                workload="simulated",
                policy=worst,
                version=manifest.version,
                parameters=manifest.defaults,
                verdict="promote",
                ratio=lie,
                low=lie * 0.9,
                high=lie * 1.1,
                pairs=24,
                predicted_ratio=lie,
                optimization=question.optimization,
                unix_ns=(day + 1) * DAY_NS,
                features=question.profile.features,
                host="h-liar",
            )
        ]


def table(days: int, runs: dict[str, list[Ended]]) -> str:
    """Months in rows, both runs side by side."""
    titles = ["days"]
    for name in runs:
        titles += [f"{what}, {name}" for what in ("regret", "rounds", "of these harmful")]
    titles += [f"promoted, truly worse, {name}" for name in runs]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    spans = [(start, min(days, start + MONTH)) for start in range(0, days, MONTH)]
    for start, end in (*spans, (0, days)):
        cells = [f"{start + 1} to {end}"]
        of = [[each for each in ended if start <= each.day < end] for ended in runs.values()]
        for ended in of:
            cells.append(f"{statistics.fmean(each.regret for each in ended):.3f}")
            cells.append(f"{statistics.fmean(each.rounds for each in ended):.1f}")
            cells.append(f"{statistics.fmean(each.harmful_rounds for each in ended):.2f}")
        cells += [str(sum(each.worse for each in ended)) for ended in of]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Live through it twice and print the table."""
    parser = argparse.ArgumentParser(prog="cox bench learning", description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=180, help="how many (180)")
    parser.add_argument("--per-day", type=int, default=4, help="requests a day (4)")
    parser.add_argument("--seeds", type=int, default=4, help="how many half years (4)")
    options = parser.parse_args()
    began = time.monotonic()
    runs: dict[str, list[Ended]] = {"memory": [], "none": []}
    for seed in range(1, options.seeds + 1):
        means = []
        for name, ended in runs.items():
            world = World(seed, options.days, options.per_day)
            lived = world.live(remembering=name == "memory")
            means.append(f"{statistics.fmean(each.regret for each in lived):.3f} ({name})")
            ended.extend(lived)
        print(f"seed {seed}: regret {', '.join(means)}", flush=True)
    print(f"\n{table(options.days, runs)}")
    requests = options.days * options.per_day * options.seeds
    print(f"\n{requests} requests each, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
