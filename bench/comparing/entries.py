"""What came of each mind on each workload, and what all of it says. Pure.

A gain is ln of how many times better the objective is than under the kernel's default: of what was
promoted, by the median of its confirming pairs; 0 where the default was kept, for then nothing has
changed.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec
from msgspec import field

from bench.comparing.life import Lived
from shared.messages import Cost, Direction, Terminal
from shared.optimization import TrialRecord
from shared.statistics import median

MINDS: Final = ("sweep", "random", "bandit", "embedded", "llm")
"""In the order of the table's rows, after the kernel's default."""
DEFAULT: Final = "eevdf"
LEVEL: Final = 0.95
RESAMPLES: Final = 4000

End = Terminal | Literal["not-run"]
Standing = Literal["better", "level", "worse"]


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """A trial that a mind had."""

    policy: str
    parameters: dict[str, int]
    stage: Literal["screen", "confirm"]
    pairs: int
    verdict: str
    ratio: float
    low: float
    high: float


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A mind's life on a workload. `ratio` is that of what runs in the end against the default."""

    workload: str
    mind: str
    metric: str
    direction: Direction
    end: End
    workload_class: str = ""
    """As its profile was classified."""
    policy: str = ""
    version: str = ""
    parameters: dict[str, int] = field(default_factory=dict)
    made: bool = False
    """Whether a mind wrote it."""
    ratio: float = 1.0
    low: float = 1.0
    high: float = 1.0
    """95 % block-bootstrap interval of the median of the confirming pairs."""
    pairs: list[float] = field(default_factory=list)
    """ln(candidate / default) of each of them."""
    predicted: float = 0.0
    rounds: int = 0
    """Pairs over all of its trials: what the budget counts."""
    seconds: float = 0.0
    """Observing, planning, building and trying, as it took when it was measured."""
    tokens: int = 0
    dollars: float = 0.0
    why: str = ""
    declined: list[str] = field(default_factory=list)
    """Minds before the one that planned, and why they gave no plan."""
    differs: int | None = None
    """Of a conversation that was played back: answers to a question that was another one."""
    tries: list[Try] = field(default_factory=list)

    @property
    def promoted(self) -> bool:
        """Whether something else than the default runs in the end."""
        return self.end == "promoted"

    @property
    def gain(self) -> float:
        """Ln of the times better; above 0 is better."""
        return self._gain(math.log(self.ratio))

    @property
    def gains(self) -> list[float]:
        """Of each confirming pair; one 0 where the default runs."""
        return [self._gain(each) for each in self.pairs] if self.promoted else [0.0]

    @property
    def is_regression(self) -> bool:
        """Promoted, and worse than the default beyond the interval."""
        return self.promoted and max(self._gain(math.log(x)) for x in (self.low, self.high)) < 0

    @property
    def was_run(self) -> bool:
        """Whether it says anything of the mind."""
        return self.end in {"promoted", "kept-default", "rejected"}

    def _gain(self, log: float) -> float:
        return -log if self.direction == "lower" else log


def entry_of(
    lived: Lived, mind: str, differs: int | None = None, thought_s: float | None = None
) -> Entry:
    """What came of a life; `thought_s`: how long planning took, if not as long as in this one."""
    state = lived.state
    assert state.terminal is not None
    cost = sum(state.costs.values(), Cost())
    thinking = state.costs.get("plan", Cost()).wall_s
    wall_s = cost.wall_s + (0.0 if thought_s is None else thought_s - thinking)
    entry = Entry(
        workload=state.request.workload,
        mind=mind,
        metric=state.objective.metric,
        direction=state.objective.direction,
        end=state.terminal,
        workload_class=state.profile.workload_class if state.profile is not None else "",
        rounds=state.rounds_used,
        seconds=round(wall_s, 1),
        tokens=cost.tokens,
        dollars=round(cost.dollars, 4),
        why="; ".join(state.reasons),
        declined=[f"{each.mind}: {each.problem}" for each in state.plan.declined]
        if state.plan
        else [],
        differs=differs,
        tries=[_try(trial) for trial in state.trials],
    )
    winner = state.winner
    if winner is None or winner.decision is None:
        return entry
    metric = state.objective.metric
    word = winner.judged or winner.decision
    return msgspec.structs.replace(
        entry,
        policy=winner.candidate.policy,
        version=winner.candidate.version,
        parameters=winner.candidate.parameters,
        made=winner.candidate.made is not None,
        ratio=word.ratio,
        low=word.low,
        high=word.high,
        predicted=winner.candidate.predicted_ratio,
        pairs=[
            math.log(pair.candidate[metric] / pair.baseline[metric])
            for pair in lived.rounds[winner.trial]
        ],
    )


def _try(trial: TrialRecord) -> Try:
    word = trial.decision or trial.judged
    end = trial.ended.end if trial.ended is not None else "interrupted"
    broke = end not in {"completed", "stopped"}
    return Try(
        policy=trial.candidate.policy,
        parameters=trial.candidate.parameters,
        stage=trial.spec.stage,
        pairs=trial.pairs,
        verdict=end if broke or word is None else word.verdict,
        ratio=word.ratio if word else 1.0,
        low=word.low if word else 1.0,
        high=word.high if word else 1.0,
    )


def against(mine: Entry, other: Entry) -> Standing:
    """How one mind's end stands to another's: by a bootstrap of the difference of their gains.

    Level is what the pairs do not tell apart, and the same candidate in the end.
    """
    same = (mine.policy, mine.version, mine.parameters) == (
        other.policy,
        other.version,
        other.parameters,
    )
    if same and mine.promoted == other.promoted:
        return "level"
    chance = random.Random(f"{mine.workload}/{mine.mind}/{other.mind}")  # noqa: S311
    differences = sorted(
        _resampled(mine.gains, chance) - _resampled(other.gains, chance) for _ in range(RESAMPLES)
    )
    tail = (1 - LEVEL) / 2 * (RESAMPLES - 1)
    if differences[math.floor(tail)] > 0:
        return "better"
    return "worse" if differences[math.ceil(RESAMPLES - 1 - tail)] < 0 else "level"


def _resampled(values: Sequence[float], chance: random.Random) -> float:
    return median(chance.choices(values, k=len(values)))


class MindSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A mind over all workloads that it was run on."""

    mind: str
    workloads: int
    promoted: int
    mean_ratio: float
    """Geometric, of the time or rate turned so that below 1 is better."""
    rounds: float
    seconds: float
    tokens: int
    dollars: float
    regressions: list[str]
    """Workloads with something promoted that is worse than the default beyond the interval."""


class Duel(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded mind against another one, by workload."""

    other: str
    better: list[str]
    level: list[str]
    worse: list[str]
    middle_at_least: list[str]
    """Where its median alone is at least as good, however wide the intervals are."""
    middle_better: list[str]

    @property
    def workloads(self) -> int:
        """Those on which both were run."""
        return len(self.better) + len(self.level) + len(self.worse)


def summarized(entries: Iterable[Entry]) -> list[MindSummary]:
    """Every mind that was run at all."""
    by_mind: dict[str, list[Entry]] = {name: [] for name in MINDS}
    for each in entries:
        if each.was_run and each.mind in by_mind:
            by_mind[each.mind].append(each)
    return [
        MindSummary(
            mind=mind,
            workloads=len(of),
            promoted=sum(each.promoted for each in of),
            mean_ratio=math.exp(-statistics.fmean(each.gain for each in of)),
            rounds=statistics.fmean(each.rounds for each in of),
            seconds=statistics.fmean(each.seconds for each in of),
            tokens=sum(each.tokens for each in of),
            dollars=sum(each.dollars for each in of),
            regressions=[each.workload for each in of if each.is_regression],
        )
        for mind, of in by_mind.items()
        if of
    ]


def duel(entries: Iterable[Entry], mine: str = "embedded", other: str = "sweep") -> Duel:
    """One mind against another on the workloads that both were run on."""
    found = {(each.workload, each.mind): each for each in entries if each.was_run}
    standings: dict[Standing, list[str]] = {"better": [], "level": [], "worse": []}
    at_least, better = [], []
    for workload in sorted({workload for workload, _ in found}):
        if (workload, mine) not in found or (workload, other) not in found:
            continue
        first, second = found[workload, mine], found[workload, other]
        standings[against(first, second)].append(workload)
        if first.gain >= second.gain:
            at_least.append(workload)
        if first.gain > second.gain:
            better.append(workload)
    return Duel(other=other, **standings, middle_at_least=at_least, middle_better=better)
