"""What this host's executor must still know after a crash, as journal records."""

from __future__ import annotations

import msgspec

from shared.messages import DeployCommand, Round, TrialEnded


class RoundDone(msgspec.Struct, frozen=True, tag="round"):
    """A pair was measured."""

    round: Round


class TrialOver(msgspec.Struct, frozen=True, tag="trial_over"):
    """A trial ended; it is not run again."""

    ended: TrialEnded


class TrialStopped(msgspec.Struct, frozen=True, tag="trial_stopped"):
    """Somebody asked for a trial's end, perhaps before it began."""

    trial: str
    reason: str


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """A promoted candidate is kept on this host, for this boot."""

    command: DeployCommand
    boot_id: str
    unix_ns: int


class Reloaded(msgspec.Struct, frozen=True, tag="reloaded"):
    """The kept candidate was loaded once more, after the executor or the kernel let it go."""

    unix_ns: int


class Dropped(msgspec.Struct, frozen=True, tag="dropped"):
    """Nothing is kept any more: the kernel's default is what should run."""

    reason: str


class Withdrawn(msgspec.Struct, frozen=True, tag="withdrawn"):
    """Nothing of this optimization may run here any more, whatever command comes late."""

    optimization: str


class Fenced(msgspec.Struct, frozen=True, tag="fenced"):
    """An owner of this host has begun; commands of earlier owners are void."""

    fence: int


Entry = RoundDone | TrialOver | TrialStopped | Kept | Reloaded | Dropped | Withdrawn | Fenced

WITHDRAWALS = 1000
"""Remembered at a start, the newest: a command is not older than the stream keeps it, a day."""

MAX_RELOADS = 3
RELOAD_WINDOW_NS = 600 * 1_000_000_000
"""More reloads than that in ten minutes are a crash loop, and end the deployment."""


class Books:
    """The journal's records, folded: pure, so that replaying them is all there is to recovery."""

    def __init__(self) -> None:
        self.rounds: dict[str, dict[int, Round]] = {}
        self.over: dict[str, TrialEnded] = {}
        self.stopped: dict[str, str] = {}
        self.kept: Kept | None = None
        self.reloads: list[int] = []
        self.withdrawn: dict[str, None] = {}
        self.why_dropped = ""
        self.fence = 0

    def note(self, entry: Entry) -> None:
        """Take one record in."""
        match entry:
            case RoundDone(round=done):
                self.rounds.setdefault(done.trial, {})[done.index] = done
            case TrialOver(ended=ended):
                self.over[ended.trial] = ended
            case TrialStopped(trial=trial, reason=reason):
                self.stopped.setdefault(trial, reason)
            case Kept():
                self.kept = entry
                self.reloads = []
            case Reloaded(unix_ns=unix_ns):
                self.reloads.append(unix_ns)
            case Dropped(reason=reason):
                self.kept = None
                self.reloads = []
                self.why_dropped = reason
            case Fenced(fence=fence):
                self.fence = max(self.fence, fence)
            case Withdrawn(optimization=optimization):
                self.withdrawn[optimization] = None

    def may_reload(self, now_unix_ns: int) -> bool:
        """Whether the kept candidate may be loaded again, or has been too often."""
        recent = [at for at in self.reloads if now_unix_ns - at < RELOAD_WINDOW_NS]
        return len(recent) < MAX_RELOADS

    def worth_keeping(self) -> list[Entry]:
        """What a compacted journal holds: without the rounds of trials that are over."""
        entries: list[Entry] = [
            RoundDone(done)
            for trial, rounds in self.rounds.items()
            if trial not in self.over
            for done in rounds.values()
        ]
        entries += [TrialOver(ended) for ended in self.over.values()]
        entries += [TrialStopped(trial, reason) for trial, reason in self.stopped.items()]
        if self.fence:
            entries.append(Fenced(self.fence))
        entries += [Withdrawn(each) for each in list(self.withdrawn)[-WITHDRAWALS:]]
        if self.kept is not None:
            entries.append(self.kept)
            entries += [Reloaded(at) for at in self.reloads]
        return entries
