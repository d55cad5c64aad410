"""A small index of texts: Okapi BM25 (Robertson and Zaragoza 2009) over a few hundred passages.

Everything is a dictionary in memory and is made anew when it has changed: a catalogue has tens
of policies, and no model has to be fetched to find one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SATURATION, LENGTH = 1.2, 0.75
"""BM25's k1 and b, at their usual values."""

MOST_WORDS = 32
"""Of a question."""

_WORD = re.compile(r"[^\W_]+")
_ENDINGS = ("ing", "ed", "es", "s")


class Passage(NamedTuple):
    """A sentence or a paragraph, and how many times it counts."""

    text: str
    weight: int = 1


class Match(NamedTuple):
    """A document that has some of the words."""

    score: float
    words: list[str]
    """As they were asked for."""
    excerpt: str
    """The passage that has most of them, the rarer ones first."""


class Index:
    """Documents by name, each of some passages."""

    def __init__(self, documents: Mapping[str, Sequence[Passage]]) -> None:
        self._documents = documents
        self._counts = {name: _counts(passages) for name, passages in documents.items()}
        self._lengths = {name: counts.total() for name, counts in self._counts.items()}
        self._mean = sum(self._lengths.values()) / max(1, len(documents)) or 1.0
        self._holders = Counter(word for counts in self._counts.values() for word in counts)

    def find(self, words: str) -> dict[str, Match]:
        """Documents that have any of the words, the best first."""
        asked = {stem(word): word for word in tokens(words)[:MOST_WORDS]}
        found = {}
        for name, counts in self._counts.items():
            there = [word for word in asked if counts[word]]
            if there:
                score = math.fsum(self._score(name, word) for word in there)
                excerpt = self._excerpt(name, there)
                found[name] = Match(score, [asked[word] for word in there], excerpt)
        return dict(sorted(found.items(), key=lambda pair: (-pair[1].score, pair[0])))

    def _score(self, name: str, word: str) -> float:
        count = self._counts[name][word]
        length = 1 - LENGTH + LENGTH * self._lengths[name] / self._mean
        return self._rarity(word) * count * (SATURATION + 1) / (count + SATURATION * length)

    def _rarity(self, word: str) -> float:
        """Inverse document frequency, in the form that never falls below zero."""
        holders = self._holders[word]
        return math.log1p((len(self._documents) - holders + 0.5) / (holders + 0.5))

    def _excerpt(self, name: str, words: Sequence[str]) -> str:
        def fit(passage: Passage) -> float:
            held = {stem(word) for word in tokens(passage.text)}
            return math.fsum(self._rarity(word) for word in words if word in held)

        # Of equals the longer one says more than a bare name.
        return max(self._documents[name], key=lambda each: (fit(each), len(each.text))).text


def tokens(text: str) -> list[str]:
    """A text's words in lower case; `wakeup_p99_us` is three."""
    return _WORD.findall(text.casefold())


def stem(word: str) -> str:
    """A word without its ending, as long as three letters are left: waits, waiting, waited."""
    for ending in _ENDINGS:
        if word.endswith(ending) and not word.endswith("ss") and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    return word.removesuffix("e") if len(word) > 3 else word


def _counts(passages: Sequence[Passage]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for passage in passages:
        for word in tokens(passage.text):
            counts[stem(word)] += passage.weight
    return counts
