"""What stands between an artifact and this host's kernel: the guard, the breaker, the quarantine.

Asked before each load, told of each harm; what they remember is in the journal.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, ClassVar

from services.executor.host import breaker, quarantine
from services.executor.host.books import BreakerIs, GuardHeard, QuarantineIs
from services.executor.host.exits import ExitClass
from services.executor.host.lifesign import Running
from services.executor.host.quarantine import Place
from services.executor.loader.failures import EnableFailedError
from shared.errors import SchedulerError, VerifierError
from shared.metrics import Metrics, declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.executor.guard.interventions import Intervention
    from services.executor.host.books import Books, Entry
    from services.executor.host.lifesign import Guardian
    from services.executor.host.scheduler import Departure
    from shared.messages import TrialEnd


class HeldBackError(SchedulerError):
    """A load that is refused on this host for now; `end` is what it makes of a trial."""

    end: ClassVar[TrialEnd] = "interrupted"


class UnguardedError(HeldBackError):
    """No guard answers here."""


class BreakerOpenError(HeldBackError):
    """There was too much trouble here."""


class QuarantinedError(HeldBackError):
    """That artifact did harm here."""

    end = "fault"


class Safeguards:
    """Of one host. `write` makes an entry durable and notes it in the books."""

    def __init__(
        self,
        books: Books,
        write: Callable[[Entry], None],
        guard: Guardian,
        *,
        metrics: Metrics | None = None,
        here: Callable[[], Place] = Place.here,
    ) -> None:
        self.guard = guard
        self.metrics = metrics if metrics is not None else Metrics()
        self._books = books
        self._write = write
        self._here = here
        self._loading = False
        self._noted_seq = 0
        """The last departure that was taken in, by the kernel's count of schedulers."""
        self.moved = False
        """What is held, and until when, is not what was told: the clock was set back."""

    # Before a load ------------------------------------------------------------------------

    def check(self, artifact: str) -> None:
        """Raise HeldBackError if the artifact may not be loaded here now."""
        now = self._now()
        if not self.guard.present:
            raise UnguardedError(
                "this host has no guard",
                expected="cox-guard to answer: without it nobody ends a policy when we hang",
                got="silence",
                advice="On the host: systemctl status cox-guard.",
            )
        stands = self._books.breaker
        if breaker.phase(stands, now) == "open":
            raise BreakerOpenError(
                "the breaker of this host is open",
                expected="a load after it has closed again",
                got=f"{stands.why}; it stays open for {_span(stands.until_unix_ns - now)}",
                advice="`cox hosts reset HOST` closes it once the cause is known.",
            )
        held = self._books.held.get((artifact, *_place(self._here())))
        if held is not None and now < held.until_unix_ns:
            raise QuarantinedError(
                f"artifact {artifact[:12]} is in quarantine on this host",
                expected="one that did no harm here",
                got=f"{held.why}; held for {_span(held.until_unix_ns - now)}",
                advice="Change the policy, or `cox hosts reset HOST` once the cause is known.",
            )

    # What happened ------------------------------------------------------------------------

    @contextlib.contextmanager
    def loading(self, running: Running) -> Iterator[None]:
        """The guard is told before the kernel is, so that what it ends then has a name."""
        before = self.guard.running
        self._loading = True
        self.guard.says(running)
        try:
            yield
        except BaseException as error:
            self.guard.says(before)
            if isinstance(error, VerifierError | EnableFailedError):
                fault = isinstance(error, EnableFailedError)
                self.harmed(running.artifact, str(error), fault=fault)
            raise
        finally:
            self._loading = False

    def nothing_runs(self) -> None:
        """By the kernel's word."""
        if not self._loading:
            self.guard.says(Running())

    def loaded(self) -> None:
        """A policy is in charge."""
        now = self._now()
        self._set(breaker.loaded(self._books.breaker, now))

    def reloaded(self, why: str) -> None:
        """What is kept had to be loaded again."""
        now = self._now()
        self._set(breaker.troubled(self._books.breaker, "reload", why, now))

    def harmed(
        self, artifact: str, why: str, *, fault: bool = True, at_unix_ns: int | None = None
    ) -> None:
        """The artifact did harm; with `fault` to the host, else it was only refused in time."""
        now = self._now()
        at = now if at_unix_ns is None else min(at_unix_ns, now)
        place = self._here()
        before = self._books.held.get((artifact, *_place(place)))
        self._write(QuarantineIs(quarantine.hold(before, artifact, place, why, at)))
        if fault:
            self._set(breaker.troubled(self._books.breaker, "fault", why, at))
        self.show()

    def departed(self, departure: Departure) -> None:
        """A scheduler of ours left; asked as often as one likes."""
        attached, diagnosis = departure.attached, departure.diagnosis
        if diagnosis.exit_class is not ExitClass.FAULT or attached.enable_seq == self._noted_seq:
            return
        self._noted_seq = attached.enable_seq
        self.harmed(attached.artifact_sha256, diagnosis.words)

    def intervened(self, done: Intervention) -> None:
        """The guard ended something of ours, perhaps before we were started again."""
        if done.cause != "operator":
            why = f"the guard ended it: {done.reason}"
            artifact = done.running.get("artifact")
            if artifact:
                self.harmed(artifact, why, at_unix_ns=done.unix_ns)
            else:
                at = min(done.unix_ns, self._now())
                self._set(breaker.troubled(self._books.breaker, "fault", why, at))
        self._write(GuardHeard(done.id))

    def reset(self) -> None:
        """An operator knows the cause: the breaker closes, the quarantine ends."""
        self._set(breaker.Breaker())
        for held in list(self._books.held.values()):
            self._write(QuarantineIs(quarantine.released(held)))
        self.show()

    # Telling ------------------------------------------------------------------------------

    def told(self) -> dict[str, object]:
        """The fields of a SchedulerState that are ours."""
        now = self._now()
        stands = self._books.breaker
        phase = breaker.phase(stands, now)
        return {
            "guarded": self.guard.present,
            "breaker": phase,
            "breaker_until_unix_ns": stands.until_unix_ns if phase == "open" else 0,
            "breaker_why": stands.why if phase != "closed" else "",
            "quarantined": self._quarantined(now),
        }

    def show(self) -> None:
        """The same as metrics."""
        now = self._now()
        phase = breaker.phase(self._books.breaker, now)
        for each in declared.BREAKER.labels["state"]:
            self.metrics.set(declared.BREAKER, float(each == phase), state=each)
        self.metrics.set(declared.GUARDED, float(self.guard.present))
        self.metrics.set(declared.QUARANTINED, len(self._quarantined(now)))

    def _quarantined(self, now: int) -> list[str]:
        place = _place(self._here())
        return sorted(
            held.artifact
            for held in self._books.held.values()
            if now < held.until_unix_ns and held.key[1:] == place
        )

    def _now(self) -> int:
        """Wall time, with the books such that nothing in them lasts longer for a clock's sake.

        In memory alone: a full disk must not keep anybody from looking.
        """
        now = time.time_ns()
        stands = breaker.settled(self._books.breaker, now)
        held = [quarantine.settled(each, now) for each in self._books.held.values()]
        if stands != self._books.breaker or held != list(self._books.held.values()):
            self._books.note(BreakerIs(stands))
            for each in held:
                self._books.note(QuarantineIs(each))
            self.moved = True
        return now

    def _set(self, stands: breaker.Breaker) -> None:
        if stands != self._books.breaker:
            self._write(BreakerIs(stands))


def _place(place: Place) -> tuple[str, str]:
    return place.kernel, place.topology


def _span(ns: int) -> str:
    """A time that is left, in words."""
    seconds = max(0, ns) // 1_000_000_000
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
