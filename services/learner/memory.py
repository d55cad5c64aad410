"""What was learned from trials: a fold over Remembered events, asked by fingerprint.

The events are the memory; this is only its index, rebuilt at every start. An outcome counts
once however often it is told, and the order of arrival changes nothing.

Nobody outvotes the others: of a candidate an optimization has one outcome, a host the latest few,
and no host fills what is told of a policy. All of it is a hint, never a reason to load.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

from services.learner.similarity import Similarity
from shared import fingerprint
from shared.messages import Fingerprint, Outcome, RecallRequest, Recollection
from shared.outcomes import EXACT_LIMIT, NEAR_LIMIT

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

MOST_OUTCOMES = 32
"""Of one optimization: it tries up to eight candidates, each twice."""

HOST_OUTCOMES = 3
"""The latest of a host that count for a candidate."""

HOST_TOLD = 5
"""Successes of a host that are told of a policy, and as many failures."""

NEAR_ENOUGH = 0.3
"""Similarity (0 to 1) below which a fingerprint has nothing to teach another."""

DOUBT_PAIRS = 8
"""Pairs at which an estimate is believed by half: it is shrunk by n / (n + this)."""

HALF_LIFE_NS = 45 * 86_400 * 10**9
"""An outcome counts half after so long: machines, kernels and loads do not stay what they were."""

Key = tuple[str, str, tuple[tuple[str, int], ...]]
"""A candidate: policy, version, parameters."""


class Memory:
    """Outcomes by fingerprint."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome] = {}
        self._by_fingerprint: dict[str, set[str]] = defaultdict(set)
        self._by_optimization: dict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._outcomes)

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Take in what is sound; an outcome that was seen before changes nothing."""
        for outcome in outcomes:
            self._take(outcome)

    def _take(self, outcome: Outcome) -> None:
        identity = identity_of(outcome)
        known = self._outcomes.get(identity)
        if known is None or outcome.unix_ns < known.unix_ns:
            self._outcomes[identity] = outcome
        self._by_fingerprint[fingerprint.key(outcome.fingerprint)].add(identity)
        told = self._by_optimization[outcome.optimization]
        told.add(identity)
        if len(told) > MOST_OUTCOMES:
            self._forget(max(told, key=lambda each: _age(self._outcomes[each])))

    def _forget(self, identity: str) -> None:
        outcome = self._outcomes.pop(identity)
        self._by_optimization[outcome.optimization].discard(identity)
        key = fingerprint.key(outcome.fingerprint)
        self._by_fingerprint[key].discard(identity)
        if not self._by_fingerprint[key]:
            del self._by_fingerprint[key]

    def recall(self, request: RecallRequest) -> Recollection:
        """What is known, best first and failures last, one outcome for each candidate.

        A candidate is worth trying unless its outcome's verdict is revert: whatever it once
        achieved, it is told as a failure if the latest evidence is one. What failed under
        this very fingerprint is not told again as near.
        """
        asked = fingerprint.key(request.fingerprint)
        exact = self._candidates(asked)
        failed = {candidate(each[-1]) for each in exact if each[-1].verdict == "revert"}
        similarity = Similarity(request, list(self._outcomes.values()))
        now_ns = max((each.unix_ns for each in self._outcomes.values()), default=0)
        near = [
            (merit(evidence, now_ns) * likeness, evidence)
            for other in self._by_fingerprint
            if other != asked
            for evidence in self._candidates(other)
            if candidate(evidence[-1]) not in failed
            and (likeness := similarity.to(evidence[-1])) >= NEAR_ENOUGH
        ]
        return Recollection(
            exact=_ranked([(merit(each, now_ns), each) for each in exact])[:EXACT_LIMIT],
            near=_ranked(near)[:NEAR_LIMIT],
        )

    def outcomes(self) -> Iterable[Outcome]:
        """All of them, in no order."""
        return self._outcomes.values()

    def promotions(self, at: Fingerprint, of: Key) -> list[str]:
        """Optimizations that are remembered to have promoted a candidate here, oldest first."""
        known = (
            self._outcomes[identity]
            for identity in self._by_fingerprint.get(fingerprint.key(at), ())
        )
        told = [each for each in known if candidate(each) == of and each.verdict == "promote"]
        return list(dict.fromkeys(each.optimization for each in sorted(told, key=_age)))

    def promoted_with(self, parameters: dict[str, int], policies: Container[str]) -> list[Outcome]:
        """What is remembered as promoted with these parameters, one outcome of a fingerprint."""
        told = {
            fingerprint.key(each.fingerprint): each
            for each in self._outcomes.values()
            if each.verdict == "promote"
            and each.policy in policies
            and each.parameters == parameters
        }
        return list(told.values())

    def _candidates(self, at: str) -> list[list[Outcome]]:
        """The evidence that counts for each candidate under one fingerprint, oldest first."""
        groups: dict[Key, list[Outcome]] = defaultdict(list)
        known = (self._outcomes[identity] for identity in self._by_fingerprint.get(at, ()))
        for outcome in known:
            groups[candidate(outcome)].append(outcome)
        return [counted(group) for group in groups.values()]


def counted(evidence: Iterable[Outcome]) -> list[Outcome]:
    """One outcome of each optimization, and the latest few of each host; oldest first.

    Of what one optimization says a failure counts, else what rests on most pairs.
    """
    said: dict[str, Outcome] = {}
    for outcome in evidence:
        known = said.get(outcome.optimization)
        if known is None or _weight(outcome) > _weight(known):
            said[outcome.optimization] = outcome
    seen: Counter[str] = Counter()
    counting = []
    for outcome in sorted(said.values(), key=_age, reverse=True):
        seen[outcome.host] += 1
        if seen[outcome.host] <= HOST_OUTCOMES:
            counting.append(outcome)
    return counting[::-1]


def _weight(outcome: Outcome) -> tuple[bool, int, tuple[int, int, str]]:
    return outcome.verdict == "revert", outcome.pairs, _age(outcome)


def merit(evidence: Sequence[Outcome], now_ns: int = 0) -> float:
    """What a candidate can be expected to gain, as a log, from its outcomes, oldest first.

    Only what came after the last revert counts, and each pair for less the older it is: by
    `now_ns`, the moment of the newest outcome that is known, or of the candidate's own. The mean
    over all pairs is shrunk for few pairs, and a gain is halved that no trial has confirmed. A
    loss is not shrunk: doubt is no credit.
    """
    now_ns = max(now_ns, evidence[-1].unix_ns)
    standing = [each for each in _standing(evidence) if each.ratio > 0]
    sign = 1 if fingerprint.direction(evidence[-1].fingerprint) == "higher" else -1
    weights = [each.pairs * 0.5 ** ((now_ns - each.unix_ns) / HALF_LIFE_NS) for each in standing]
    pairs = math.fsum(weights)
    if not pairs:
        return 0.0
    logs = [math.log(each.ratio) for each in standing]
    gain = sign * math.fsum(map(math.prod, zip(weights, logs, strict=True))) / pairs
    if gain <= 0:
        return gain
    confirmed = any(each.verdict == "promote" for each in standing)
    return gain * pairs / (pairs + DOUBT_PAIRS) * (1.0 if confirmed else 0.5)


def spokesman(evidence: Sequence[Outcome]) -> Outcome:
    """The outcome that speaks for a candidate.

    A revert if it is the latest evidence; else since the last revert the latest promotion, or
    the latest of all if there is none.
    """
    return max(_standing(evidence), key=lambda each: (each.verdict == "promote", _age(each)))


def _standing(evidence: Sequence[Outcome]) -> Sequence[Outcome]:
    """The latest revert alone, if nothing came after it; else what came after the last."""
    since = 0
    for position, outcome in enumerate(evidence[:-1]):
        if outcome.verdict == "revert":
            since = position + 1
    return evidence[-1:] if evidence[-1].verdict == "revert" else evidence[since:]


def _ranked(candidates: Iterable[tuple[float, list[Outcome]]]) -> list[Outcome]:
    told = [(worth, spokesman(evidence)) for worth, evidence in candidates]
    told.sort(key=lambda pair: (pair[1].verdict == "revert", -pair[0], identity_of(pair[1])))
    heard: Counter[tuple[str, str, bool]] = Counter()
    ranked = []
    for _, outcome in told:
        teller = outcome.host, outcome.policy, outcome.verdict == "revert"
        heard[teller] += 1
        if heard[teller] <= HOST_TOLD:
            ranked.append(outcome)
    return ranked


def candidate(outcome: Outcome) -> Key:
    """Which candidate an outcome is of."""
    return outcome.policy, outcome.version, tuple(sorted(outcome.parameters.items()))


def _age(outcome: Outcome) -> tuple[int, int, str]:
    """Later is larger; of two at the same time the one with more pairs came later."""
    return outcome.unix_ns, outcome.pairs, identity_of(outcome)


def identity_of(outcome: Outcome) -> str:
    """What an outcome says, but for when: a planner that resumes may tell it again."""
    content = msgspec.structs.replace(outcome, unix_ns=0)
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()
