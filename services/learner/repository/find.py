"""Finding policies: by words, by what they were tried on, or by both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.learner.repository.answers import about
from services.learner.repository.room import fitting
from services.learner.repository.words import Index, Match, Passage
from services.learner.similarity import Similarity
from shared.errors import InputError
from shared.messages import RecallRequest
from shared.plain import plain
from shared.repository import PolicyHit, PolicyHits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.learner.repository.fold import Repository, Version
    from shared.repository import PolicySearchRequest

HITS_BYTES = 256 * 1024
EXCERPT_CHARS = 300

MOST_REASONS = 256
"""Of a version's trials, different ones, the newest first."""


class Finder:
    """Answers searches of one repository; the index is made anew once something has changed."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._index = Index({})
        self._revision = -1

    def find(self, request: PolicySearchRequest) -> PolicyHits:
        """The best first. With words, only what has any of them. Raises InputError without both."""
        if not request.words.strip() and request.fingerprint is None:
            raise InputError(
                "nothing is looked for", expected="words, or a fingerprint", got="neither"
            )
        matches = self._matches(request.words) if request.words.strip() else None
        alike = _alike(self._repository, request) if request.fingerprint is not None else None
        versions = {
            each: index
            for index, each in enumerate(self._repository.versions())
            if (matches is None or each in matches) and (alike is None or each in alike)
        }
        hits = []
        for version, index in versions.items():
            match = matches[version] if matches is not None else Match(1.0, [], "")
            likeness, key = alike[version] if alike is not None else (0.0, "")
            score = match.score * (likeness if alike is not None else 1.0)
            hits.append((-score, index, version, match, likeness, key))
        hits.sort(key=lambda hit: hit[:2])
        found, more = fitting(
            (
                PolicyHit(
                    about=about(self._repository, version),
                    score=-score,
                    words=match.words,
                    excerpt=plain(match.excerpt, EXCERPT_CHARS),
                    likeness=likeness,
                    fingerprint=key,
                )
                for score, _, version, match, likeness, key in hits
            ),
            request.limit,
            HITS_BYTES,
        )
        return PolicyHits(hits=found, more=more)

    def _matches(self, words: str) -> dict[Version, Match]:
        if self._revision != self._repository.revision:
            self._index = Index(
                {
                    "\n".join(version): passages(self._repository, version)
                    for version in self._repository.versions()
                }
            )
            self._revision = self._repository.revision
        found = self._index.find(words)
        return {
            version: found[name]
            for version in self._repository.versions()
            if (name := "\n".join(version)) in found
        }


def passages(repository: Repository, version: Version) -> list[Passage]:
    """What is said of a version: its name, its manifest and README, what came of its trials."""
    said = [Passage(version.policy, 3)]
    shipped = repository.shipped.get(version)
    if shipped is not None:
        manifest = shipped.manifest
        said.append(Passage(manifest.summary, 2))
        said.append(Passage(f"good for {', '.join(manifest.good_for) or 'reference'}", 2))
        said += [Passage(f"{each.name}: {each.summary}") for each in manifest.parameter]
        said += [Passage(each) for each in _paragraphs(shipped.readme)]
    if (made := repository.made(version.policy)) is not None:
        said += [Passage(made.summary, 2), Passage(f"made from {made.parent} by {made.mind}")]
    trials = repository.trials(version)[::-1]
    tried = (
        f"tried on {each.workload} ({each.fingerprint.workload_class}) for "
        f"{each.fingerprint.objective}: {each.verdict}"
        for each in (trial.outcome for trial in trials)
    )
    reasons = (reason for trial in trials for reason in trial.outcome.reasons)
    said += [Passage(each) for each in _different(tried)]
    said += [Passage(each) for each in _different(reasons)]
    return said


def _alike(
    repository: Repository, request: PolicySearchRequest
) -> dict[Version, tuple[float, str]]:
    """Of each version that was tried on something like it: how like, and its fingerprint's key."""
    assert request.fingerprint is not None
    trials = repository.trials()
    asked = RecallRequest(fingerprint=request.fingerprint, features=request.features)
    similarity = Similarity(asked, [trial.outcome for trial in trials])
    found: dict[Version, tuple[float, str]] = {}
    for trial in trials:
        likeness = similarity.to(trial.outcome)
        if likeness > 0:
            found[trial.version] = max(found.get(trial.version, (0.0, "")), (likeness, trial.key))
    return found


def _paragraphs(text: str) -> list[str]:
    """A README's paragraphs, each on one line; a heading and a table's row are one of their own."""
    found = [""]
    for line in text.splitlines():
        said = line.strip("|- ")
        if line.startswith(("#", "|")) or not said:
            found += [said.strip("# "), ""]
        else:
            found[-1] = f"{found[-1]} {said}".strip()
    return [each for each in found if each]


def _different(lines: Iterable[str]) -> list[str]:
    """Each once, the first of them."""
    found: dict[str, None] = {}
    for line in lines:
        found.setdefault(line)
        if len(found) == MOST_REASONS:
            break
    return list(found)
