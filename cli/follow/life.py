"""What an optimization's events add up to. Pure: no bus, no terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.messages import (
    Accepted,
    Built,
    Confirmed,
    Deployed,
    Ended,
    Judged,
    Plan,
    Profiled,
    Progress,
    Remembered,
    Reverted,
    Round,
    TrialEnded,
)

if TYPE_CHECKING:
    from cli.follow.facts import Fact


@dataclass
class TrialLife:
    """One trial's rounds and what the judge said after each."""

    trial: str
    rounds: dict[int, Round] = field(default_factory=dict)
    judged: dict[int, Judged] = field(default_factory=dict)
    """By the number of pairs."""
    ended: TrialEnded | None = None

    @property
    def latest(self) -> Judged | None:
        """The judge's word on the most pairs."""
        return self.judged[max(self.judged)] if self.judged else None

    @property
    def decision(self) -> Judged | None:
        """The judge's first word that was not to go on."""
        for pairs in sorted(self.judged):
            if self.judged[pairs].verdict != "continue":
                return self.judged[pairs]
        return None


@dataclass
class Life:
    """Everything that was heard of one optimization."""

    accepted: Accepted | None = None
    phase: str = ""
    phase_text: str = ""
    phases: list[tuple[str, int]] = field(default_factory=list)
    """Phases entered, each with the time in unix_ns."""
    profiled: Profiled | None = None
    plan: Plan | None = None
    builds: dict[str, Built] = field(default_factory=dict)
    trials: dict[str, TrialLife] = field(default_factory=dict)
    deployed: dict[str, Deployed] = field(default_factory=dict)
    confirmed: dict[str, Confirmed] = field(default_factory=dict)
    reverted: list[Reverted] = field(default_factory=list)
    remembered: Remembered | None = None
    ended: Ended | None = None
    ended_unix_ns: int = 0
    facts: list[Fact] = field(default_factory=list)
    """All that was taken, in order."""
    unreadable: int = 0
    """Events that are no message of ours."""

    @property
    def pairs(self) -> int:
        """Pairs measured over all trials."""
        return sum(len(trial.rounds) for trial in self.trials.values())

    def take(self, fact: Fact) -> None:  # noqa: C901, PLR0912 - one case for each kind of event
        """One more event. Events that come again change nothing."""
        message = fact.message
        self.facts.append(fact)
        match message:
            case Accepted():
                self.accepted = message
            case Progress():
                self.phase, self.phase_text = message.phase, message.text
                self.phases.append((message.phase, fact.unix_ns))
            case Profiled():
                self.profiled = message
            case Plan():
                self.plan = message
            case Built():
                self.builds[message.policy] = message
            case Round():
                self._trial(message.trial).rounds[message.index] = message
            case Judged():
                self._trial(message.trial).judged[message.pairs] = message
            case TrialEnded():
                self._trial(message.trial).ended = message
            case Deployed():
                self.deployed[message.host] = message
            case Confirmed():
                self.confirmed[message.host] = message
            case Reverted():
                self.reverted.append(message)
            case Remembered():
                self.remembered = message
            case Ended():
                self.ended, self.ended_unix_ns = message, fact.unix_ns

    def _trial(self, trial: str) -> TrialLife:
        return self.trials.setdefault(trial, TrialLife(trial))
