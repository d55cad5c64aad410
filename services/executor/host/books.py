"""What this host's executor must still know after a crash, as journal records."""

from __future__ import annotations

import msgspec

from services.executor.host.breaker import Breaker
from services.executor.host.quarantine import Held
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
    """A promoted candidate is kept on this host, in later boots of this very kernel too."""

    command: DeployCommand
    boot_id: str
    unix_ns: int
    kernel: str = ""
    btf_sha256: str = ""
    boot_ns: int = 0
    """The same moment since that boot; 0 if that was not noted."""


class Sealed(msgspec.Struct, frozen=True, tag="sealed"):
    """The judge's word came that what is kept for this optimization was promoted."""

    optimization: str


class Reloaded(msgspec.Struct, frozen=True, tag="reloaded"):
    """The kept candidate was loaded once more, after the executor or the kernel let it go."""

    unix_ns: int
    boot_id: str = ""


class Redeemed(msgspec.Struct, frozen=True, tag="redeemed"):
    """A token was consumed, which comes before its load: it never counts again."""

    nonce: str
    epoch: int


class Dropped(msgspec.Struct, frozen=True, tag="dropped"):
    """Nothing is kept any more: the kernel's default is what should run."""

    reason: str


class Withdrawn(msgspec.Struct, frozen=True, tag="withdrawn"):
    """Nothing of this optimization may run here any more, whatever command comes late."""

    optimization: str


class Fenced(msgspec.Struct, frozen=True, tag="fenced"):
    """An owner of this host has begun; commands of earlier owners are void."""

    fence: int


class BreakerIs(msgspec.Struct, frozen=True, tag="breaker"):
    """What the breaker remembers from here on."""

    breaker: Breaker


class QuarantineIs(msgspec.Struct, frozen=True, tag="quarantine"):
    """An artifact is held, or held no longer."""

    held: Held


class GuardHeard(msgspec.Struct, frozen=True, tag="guard_heard"):
    """The guard's interventions up to this number have been taken in."""

    number: int


Entry = (
    RoundDone
    | TrialOver
    | TrialStopped
    | Kept
    | Sealed
    | Reloaded
    | Dropped
    | Withdrawn
    | Fenced
    | Redeemed
    | BreakerIs
    | QuarantineIs
    | GuardHeard
)

WITHDRAWALS = 1000
"""Remembered at a start, the newest: a command is not older than the stream keeps it, a day."""

HELD = 200
"""Artifacts in quarantine that are remembered at a start, the newest."""

NONCES = 1000
"""Remembered at a start, the newest: a token is worth nothing after minutes anyway."""

MAX_RELOADS = 3
RELOAD_WINDOW_NS = 600 * 1_000_000_000
"""More reloads than that in ten minutes are a crash loop, and end the deployment."""

MAX_BOOTS = 3
BOOT_WINDOW_NS = 86_400 * 1_000_000_000
"""A policy that was loaded in more boots than that in a day may be why the host reboots."""


class Books:
    """The journal's records, folded: pure, so that replaying them is all there is to recovery."""

    def __init__(self) -> None:
        self.rounds: dict[str, dict[int, Round]] = {}
        self.over: dict[str, TrialEnded] = {}
        self.stopped: dict[str, str] = {}
        self.kept: Kept | None = None
        self.sealed = False
        """Whether no planner may take back what is kept."""
        self.reloads: list[Reloaded] = []
        self.withdrawn: dict[str, None] = {}
        self.why_dropped = ""
        self.fence = 0
        self.breaker = Breaker()
        self.held: dict[tuple[str, str, str], Held] = {}
        self.guard_heard = 0
        self.epoch = 0
        """The highest of a token that was redeemed here."""
        self.consumed: dict[str, None] = {}
        """Nonces of tokens, the oldest first."""

    def note(self, entry: Entry) -> None:
        """Take one record in."""
        match entry:
            case RoundDone(round=done):
                self.rounds.setdefault(done.trial, {})[done.index] = done
            case TrialOver(ended=ended):
                self.over[ended.trial] = ended
            case TrialStopped(trial=trial, reason=reason):
                self.stopped.setdefault(trial, reason)
            case Kept() | Sealed() | Reloaded() | Dropped():
                self._note_kept(entry)
            case Fenced(fence=fence):
                self.fence = max(self.fence, fence)
            case Withdrawn(optimization=optimization):
                self.withdrawn[optimization] = None
            case Redeemed(nonce=nonce, epoch=epoch):
                self.consumed[nonce] = None
                self.epoch = max(self.epoch, epoch)
            case _:
                self._note_safeguards(entry)

    def _note_kept(self, entry: Kept | Sealed | Reloaded | Dropped) -> None:
        match entry:
            case Kept():
                self.kept = entry
                self.sealed = False
                self.reloads = []
            case Sealed(optimization=optimization):
                kept = self.kept
                self.sealed = kept is not None and kept.command.optimization == optimization
            case Reloaded():
                self.reloads.append(entry)
            case Dropped(reason=reason):
                self.kept = None
                self.sealed = False
                self.reloads = []
                self.why_dropped = reason

    def _note_safeguards(self, entry: BreakerIs | QuarantineIs | GuardHeard) -> None:
        match entry:
            case BreakerIs(breaker=breaker):
                self.breaker = breaker
            case QuarantineIs(held=held) if held.times:
                self.held[held.key] = held
            case QuarantineIs(held=held):
                self.held.pop(held.key, None)
            case GuardHeard(number=number):
                self.guard_heard = number

    def may_reload(self, now_unix_ns: int, boot_id: str) -> bool:
        """Whether the kept candidate may be loaded again, or has been too often."""

        def since(window_ns: int) -> list[Reloaded]:
            return [each for each in self.reloads if now_unix_ns - each.unix_ns < window_ns]

        boots = {each.boot_id for each in since(BOOT_WINDOW_NS)} | {boot_id}
        if self.kept is not None:
            boots -= {self.kept.boot_id}
        return len(since(RELOAD_WINDOW_NS)) < MAX_RELOADS and len(boots) <= MAX_BOOTS

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
        entries += [BreakerIs(self.breaker), GuardHeard(self.guard_heard)]
        entries += [QuarantineIs(each) for each in list(self.held.values())[-HELD:]]
        entries += [Redeemed(nonce, self.epoch) for nonce in list(self.consumed)[-NONCES:]]
        if self.kept is not None:
            entries.append(self.kept)
            if self.sealed:
                entries.append(Sealed(self.kept.command.optimization))
            entries += self.reloads
        return entries
