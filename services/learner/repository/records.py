"""What came of a version: by fingerprint, and by candidate below that."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from services.learner.memory import candidate, counted
from services.learner.repository.combine import combine, conflicting
from services.learner.repository.room import fitting
from shared import fingerprint
from shared.repository import Best, FingerprintRecord, Newest, Tally, Tried

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.learner.repository.fold import Trial
    from shared.messages import Outcome

MOST_TRIED, TRIED_BYTES = 4, 64 * 1024
"""Candidates that are told of a fingerprint."""

MOST_HOSTS, MOST_WORKLOADS = 6, 6


def tally(outcomes: Iterable[Outcome]) -> Tally:
    """Trials by verdict."""
    verdicts = Counter(each.verdict for each in outcomes)
    return Tally(
        promoted=verdicts["promote"],
        reverted=verdicts["revert"],
        inconclusive=verdicts["inconclusive"],
    )


def records(trials: Sequence[Trial]) -> list[FingerprintRecord]:
    """Of one version's trials, oldest first: a record of each fingerprint, the newest first."""
    by_fingerprint: dict[str, list[Outcome]] = defaultdict(list)
    for trial in trials:
        # What comes later goes to the end.
        by_fingerprint[trial.key] = [*by_fingerprint.pop(trial.key, []), trial.outcome]
    return [_record(key, by_fingerprint[key]) for key in reversed(by_fingerprint)]


def best(trials: Sequence[Trial]) -> Best | None:
    """Of one version's trials, oldest first; chosen by the worse end of the interval."""
    found = []
    for (key, _), evidence in _candidates(trials).items():
        told = _tried(evidence)
        if told.combined is None or not told.tally.promoted or told.newest.verdict == "revert":
            continue
        of = evidence[-1].fingerprint
        higher = fingerprint.direction(of) == "higher"
        worth = math.log(told.combined.low) if higher else -math.log(told.combined.high)
        one = Best(
            combined=told.combined,
            objective=of.objective,
            fingerprint=key,
            parameters=told.parameters,
            conflicting=told.conflicting,
        )
        found.append((worth, key, sorted(told.parameters.items()), one))
    return max(found, key=lambda each: each[:3])[-1] if found else None


def _candidates(trials: Sequence[Trial]) -> dict[tuple[str, object], list[Outcome]]:
    found: dict[tuple[str, object], list[Outcome]] = defaultdict(list)
    for trial in trials:
        found[trial.key, candidate(trial.outcome)].append(trial.outcome)
    return found


def _record(key: str, outcomes: Sequence[Outcome]) -> FingerprintRecord:
    groups: dict[object, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[candidate(outcome)].append(outcome)
    told = [_tried(group) for group in groups.values()]
    told.sort(key=lambda each: (-each.pairs, -each.newest.unix_ns, sorted(each.parameters.items())))
    tried, more = fitting(told, MOST_TRIED, TRIED_BYTES)
    return FingerprintRecord(
        fingerprint=outcomes[-1].fingerprint,
        key=key,
        workloads=sorted({each.workload for each in outcomes})[:MOST_WORKLOADS],
        tally=tally(outcomes),
        tried=tried,
        tried_more=more,
    )


def _tried(evidence: Sequence[Outcome]) -> Tried:
    """One candidate under one fingerprint. Every trial is told, and each host has its few votes."""
    latest = evidence[-1]
    hosts = sorted({each.host for each in evidence})
    return Tried(
        parameters=latest.parameters,
        tally=tally(evidence),
        pairs=sum(each.pairs for each in evidence),
        newest=Newest(
            verdict=latest.verdict,
            ratio=latest.ratio,
            low=latest.low,
            high=latest.high,
            pairs=latest.pairs,
            optimization=latest.optimization,
            host=latest.host,
            unix_ns=latest.unix_ns,
        ),
        combined=combine(counted(evidence)),
        conflicting=conflicting(evidence),
        hosts=hosts[:MOST_HOSTS],
        hosts_more=max(0, len(hosts) - MOST_HOSTS),
        first_unix_ns=evidence[0].unix_ns,
    )
