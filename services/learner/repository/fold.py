"""What is known of every policy and version: a fold over `built` and `remembered` events.

With the catalogue that ships it is all there is: nothing is stored, and every learner comes to the
same from the same events. An event counts once however often it is told, and the order of
arrival changes nothing. What no trial or gate can have told is refused, as the memory does it.

It is bounded: the newest 8,192 trials and 4,096 builds stay, 30 MB as they are told, most of it
shared with the memory. Nobody pushes the others out: an optimization has 16 trials of a version
under a fingerprint, those two have 128 in all, a version 2,048. Counts are of these.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from services.learner.memory import identity_of
from services.learner.repository.builds import identity, kept_build, unsound_build
from services.learner.repository.newest import Level, Newest
from shared import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.messages import Built, Made, Outcome
    from shared.policies import Catalogue, Manifest

OF_ONE, OF_FINGERPRINT, OF_VERSION, OF_ALL = 16, 128, 2048, 8192
"""Trials that are kept; an optimization tries up to eight candidates, each twice."""

BUILDS_OF_ONE, BUILDS_OF_POLICY, BUILDS_OF_ALL = 16, 1024, 4096

_VERSION, _ALL, _POLICY = 2, 3, 1
"""Which levels those are, of trials and of builds."""


class Version(NamedTuple):
    """A policy and its version."""

    policy: str
    version: str


class Trial(NamedTuple):
    """An outcome and its fingerprint's key."""

    outcome: Outcome
    key: str

    @property
    def version(self) -> Version:
        """Of which policy it is."""
        return Version(self.outcome.policy, self.outcome.version)


class Shipped(NamedTuple):
    """What of a catalogue's policy is asked for."""

    manifest: Manifest
    source_sha256: str
    readme: str


class Repository:
    """Policies and versions, what was built of them, and what came of it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.shipped = {
            Version(policy.name, policy.manifest.version): Shipped(
                policy.manifest, policy.source_sha256, policy.readme()
            )
            for policy in catalogue.values()
        }
        self._trials: Newest[Trial] = Newest(
            [
                Level(lambda t: (*t.version, t.key, t.outcome.optimization), OF_ONE),
                Level(lambda t: (*t.version, t.key), OF_FINGERPRINT),
                Level(lambda t: t.version, OF_VERSION),
                Level(lambda _: "all", OF_ALL),
            ],
            # Trials of one optimization are told at one time; the one with more pairs came later.
            lambda trial: (trial.outcome.unix_ns, trial.outcome.pairs),
        )
        self._builds: Newest[Built] = Newest(
            [
                Level(lambda b: (b.policy, b.optimization), BUILDS_OF_ONE),
                Level(lambda b: b.policy, BUILDS_OF_POLICY),
                Level(lambda _: "all", BUILDS_OF_ALL),
            ],
            lambda built: (built.unix_ns, 0),
        )
        self.revision = 0
        """Changes whenever something may have."""

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Take in outcomes that are sound."""
        for outcome in outcomes:
            trial = Trial(outcome, fingerprint.key(outcome.fingerprint))
            self._trials.add(identity_of(outcome), trial)
        self.revision += 1

    def built(self, event: Built) -> list[str]:
        """Take a build in. Why it was refused, if it was."""
        why = unsound_build(event, time.time_ns())
        if why:
            return [why]
        built = kept_build(event)
        self._builds.add(identity(built), built)
        self.revision += 1
        return []

    # What is known ------------------------------------------------------------------------

    def versions(self, policy: str = "") -> list[Version]:
        """All that are known, or all of a policy: by name, the newest version first."""
        known = set(self.shipped)
        known.update(trial.version for trial in self._trials)
        known.update(
            Version(built.policy, built.artifact.version)
            for built in self._builds
            if built.artifact is not None
        )
        chosen = [each for each in known if policy in {"", each.policy}]
        # By name; within a name the newest first: sorting is stable.
        chosen.sort(key=lambda each: (_parts(each.version), each.version), reverse=True)
        return sorted(chosen, key=lambda each: each.policy)

    def trials(self, version: Version | None = None) -> list[Trial]:
        """Of a version or of all, oldest first."""
        if version is None:
            return self._trials.of(_ALL, "all")
        return self._trials.of(_VERSION, version)

    def made(self, policy: str) -> Made | None:
        """The hooks of a policy that does not ship, as they were built last."""
        known = (each.made for each in reversed(self.builds(policy)))
        return next((each for each in known if each is not None), None)

    def builds(self, policy: str) -> list[Built]:
        """Of a policy's versions, oldest first."""
        return self._builds.of(_POLICY, policy)


def _parts(version: str) -> tuple[int, ...]:
    """A semantic version's numbers; what is none comes last."""
    parts = version.split(".")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts):
        # Digits without end would take their time.
        return tuple(int(part[:18]) for part in parts)
    return (-1,)
