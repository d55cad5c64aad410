"""Each workload classified by who has seen all the others, and never this one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Final

import msgspec

from bench.classifying.recorded import Recorded
from bench.classifying.ways import Way

BINS: Final = (0.0, 0.25, 0.5, 0.75, 1.01)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a way has said of one profile of a workload that it never saw."""

    workload: str
    host: str
    seed: int
    expected: str
    found: str
    confidence: float
    in_view: bool

    @property
    def right(self) -> bool:
        """Whether it is what the manifest states."""
        return self.found == self.expected


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that were about as sure, and how many of them were right."""

    least: float
    count: int
    confidence: float
    right: float


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How good a set of answers is. Each workload counts once, however often it was recorded."""

    workloads: int
    profiles: int
    right: float
    """Share of its profiles that were classified right, mean over the workloads."""
    brier: float
    """Mean square of what confidence was off being right or not: 0 is perfect, 0.25 is a coin."""
    bins: list[Bin]


def held_out(entries: Sequence[Recorded], way: Way) -> list[Answer]:
    """An answer for each profile, by what was made without its workload."""
    answers = []
    for name in dict.fromkeys(each.workload for each in entries):
        ask = way([each for each in entries if each.workload != name])
        for each in (entry for entry in entries if entry.workload == name):
            found, confidence = ask(each.features)
            answers.append(
                Answer(
                    workload=name,
                    host=each.host,
                    seed=each.seed,
                    expected=each.expected,
                    found=found,
                    confidence=confidence,
                    in_view=each.in_view,
                )
            )
    return answers


def score(answers: Sequence[Answer]) -> Score:
    """How good these are."""
    by_workload: dict[str, list[Answer]] = defaultdict(list)
    for each in answers:
        by_workload[each.workload].append(each)

    def mean(of: Mapping[str, list[Answer]], what: str) -> float:
        if not of:
            return 0.0
        parts = {
            "right": lambda a: float(a.right),
            "brier": lambda a: (a.confidence - a.right) ** 2,
        }
        return fmean(fmean(parts[what](a) for a in own) for own in of.values())

    bins = []
    for low, high in pairwise(BINS):
        own = [each for each in answers if low <= each.confidence < high]
        if own:
            bins.append(
                Bin(
                    least=low,
                    count=len(own),
                    confidence=fmean(each.confidence for each in own),
                    right=fmean(each.right for each in own),
                )
            )
    return Score(
        workloads=len(by_workload),
        profiles=len(answers),
        right=mean(by_workload, "right"),
        brier=mean(by_workload, "brier"),
        bins=bins,
    )
