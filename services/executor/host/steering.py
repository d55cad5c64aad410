"""What this host is meant to run, and making it so.

Between trials that is what was promoted here, or nothing: then the kernel's default. The journal
says which, so that a restarted executor knows; the scheduler itself died with the old one.

Whatever is loaded needs a permit. For what is kept this host asks for one itself; while the gate
cannot be asked, the kernel's default runs and the restoration is due.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Literal

import msgspec
import structlog

from services.executor.guard.kernel import OURS
from services.executor.host import convert
from services.executor.host.books import (
    Books,
    Dropped,
    Entry,
    Kept,
    Reloaded,
    Sealed,
    TrialStopped,
    Withdrawn,
)
from services.executor.host.journal import JournalError
from services.executor.host.lifesign import NothingToGuard, Running
from services.executor.host.safeguards import Safeguards
from services.executor.host.tokens import Errand
from shared.errors import CoxswainError, MachineError, SchedulerError, TokenPendingError
from shared.files import sync_folder, write_durable
from shared.messages import Loadable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from services.executor.host.journal import Journal
    from services.executor.host.lifesign import Guardian
    from services.executor.host.permit import Permit
    from services.executor.host.scheduler import Departure, Scheduler
    from services.executor.host.tokens import Tokens
    from shared.messages import DeployCommand, ExitRecord, SchedulerState
    from shared.metrics import Metrics

TIMEOUT_MS = 10_000
"""The kernel's watchdog for our schedulers: a task that waits longer ends the policy."""

LOAD_S = 60.0
"""For how long the token of a restoration lets it load: attaching may be slow on a busy host."""

Purpose = Literal["", "trial", "deployed"]
Runs = tuple[str, Purpose, str]
"""Policy, purpose, optimization."""

log = structlog.get_logger(__name__)


def ops_name(policy: str) -> str:
    """The scheduler's name in the kernel. Its prefix tells our observers that it is ours."""
    return OURS + policy.replace("-", "_")


class Steering:
    """The host's scheduler together with what the journal says should run."""

    def __init__(
        self,
        tokens: Tokens,
        scheduler: Scheduler,
        journal: Journal[Entry],
        folder: Path,
        report: Callable[[SchedulerState], Awaitable[None]],
        guard: Guardian | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Without `guard` the scheduler is a made-up one, where nothing can hang."""
        self.host = tokens.here.host
        self.boot_id = tokens.here.boot_id
        self.scheduler = scheduler
        self._tokens = tokens
        self.books = Books()
        self._journal = journal
        self._folder = folder
        self._report = report
        self._runs: Runs = ("", "", "")
        """Policy, purpose, optimization of what was loaded last."""
        self.due = ""
        """Why what is kept must be loaded again, as long as that has not been possible."""
        self.pending = asyncio.Event()
        """What is due could not be loaded yet, because the gate gives no good token yet."""
        self.why_pending = ""
        """What kept it from that last."""
        self.owed: dict[str, tuple[str, ExitRecord | None]] = {}
        """Reverts that the fleet has not heard of: reason and exit record, by optimization."""
        self.owing = asyncio.Event()
        for entry in journal.records:
            self.books.note(entry)
        journal.compact(self.books.worth_keeping())
        self.safeguards = Safeguards(
            self.books, self.write, guard or NothingToGuard(), metrics=metrics
        )

    def write(self, entry: Entry) -> None:
        """Make a fact durable, then believe it."""
        self._journal.append(entry)
        self.books.note(entry)

    def take_to_heart(self, entry: Dropped | TrialStopped | Withdrawn) -> bool:
        """Believe what only ever takes back, even if it cannot be made durable; whether it is.

        A full disk must keep nobody from going back to the default. Nothing is loaded then anyway:
        what cannot be written down as consumed opens nothing.
        """
        try:
            self._journal.append(entry)
        except JournalError as error:
            log.warning("steering.unwritten", entry=type(entry).__name__, problem=str(error))
            self.books.note(entry)
            return False
        self.books.note(entry)
        return True

    async def permit(self, errand: Errand, *, patience_s: float) -> Permit:
        """The right to load something here. Raises TokenError, TokenPendingError."""
        return await self._tokens.permit(errand, self.books, self.write, patience_s=patience_s)

    # What runs ----------------------------------------------------------------------------

    async def load(
        self,
        permit: Permit,
        artifact: bytes,
        policy: str,
        parameters: Mapping[str, int],
        purpose: Purpose,
        optimization: str,
    ) -> int:
        """Put a candidate in charge; nothing happens if it already is. The gap in ns."""
        digest = hashlib.sha256(artifact).hexdigest()
        if await self._runs_already(digest, parameters, (policy, purpose, optimization)):
            return 0
        self.safeguards.check(digest)
        running = Running(artifact=digest, policy=policy, optimization=optimization)
        with self.safeguards.loading(running):
            attached = await self.scheduler.apply(
                artifact,
                permit,
                name=ops_name(policy),
                timeout_ms=TIMEOUT_MS,
                params=parameters,
                frame={},
            )
        self.safeguards.loaded()
        self._runs = (policy, purpose, optimization)
        await self.report()
        return attached.attach_ns + attached.gap_ns

    async def place(self, permit: Permit, artifact: bytes, command: DeployCommand) -> int:
        """Put what is to be kept in charge; see `load`."""
        return await self.load(
            permit,
            artifact,
            command.policy,
            command.parameters,
            "deployed",
            command.optimization,
        )

    async def clear(self, why: str) -> bool:
        """The kernel's default, whatever is kept; False if that ran already."""
        if await self.scheduler.revert(why) is None:
            return False
        await self.report()
        return True

    async def restore(self, why: str, *, patience_s: float = 0.0) -> None:
        """What should run between trials: the kept candidate, or the default.

        The default runs at once; what is kept follows when the gate has given a token for it. For
        `patience_s` that is waited for.
        """
        kept = self.books.kept
        if kept is None:
            await self.clear(why)
            return
        command = kept.command
        runs: Runs = (command.policy, "deployed", command.optimization)
        if await self._runs_already(command.artifact.sha256, command.parameters, runs):
            return
        await self.clear(why)
        self.due = why
        await self.restore_due(patience_s=patience_s)

    async def restore_due(self, *, patience_s: float = 0.0) -> None:
        """Try to load what is kept, if that is due; it stays due while the gate cannot be asked."""
        kept = self.books.kept
        if not self.due or kept is None:
            self.due = ""
            return
        command = kept.command
        try:
            artifact = self.cached(command.artifact.sha256)
            permit = await self.permit(deployment_errand(command, "restore"), patience_s=patience_s)
            if self.books.kept is not kept:  # taken back while the gate was asked
                return
            await self.place(permit, artifact, command)
        except TokenPendingError as error:
            log.warning("steering.restoration_due", why=self.due, problem=str(error))
            self.why_pending = str(error)
            self.pending.set()
            return
        except CoxswainError as error:
            await self.lose(f"it could not be loaded again: {error}")
        self.due = ""

    async def _runs_already(self, sha256: str, parameters: Mapping[str, int], runs: Runs) -> bool:
        try:
            state = await self.scheduler.state()
        except MachineError:  # what cannot be seen is not counted on
            return False
        return (
            state.ours is not None
            and state.ours.artifact_sha256 == sha256
            and state.ours.params == dict(parameters)
            and self._runs == runs
        )

    async def keep(self, command: DeployCommand) -> None:
        """From now on this candidate is what should run here."""
        here = self._tokens.here
        self.write(
            Kept(
                command,
                here.boot_id,
                time.time_ns(),
                here.kernel,
                here.btf_sha256,
                time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            )
        )
        self.due = ""
        await self.report()

    async def seal(self, optimization: str, tried: Loadable) -> None:
        """No planner takes back what is kept, if this is what is kept; see `books.sealed`."""
        kept = self.books.kept
        if kept is None or kept.command.optimization != optimization or self.books.sealed:
            return
        here = Loadable.of(kept.command)
        if here != tried:
            log.warning(
                "steering.not_sealed",
                optimization=optimization,
                expected=f"artifact {tried.artifact[:12]} with {tried.parameters}, as judged",
                got=f"artifact {here.artifact[:12]} with {here.parameters}",
            )
            return
        self.write(Sealed(optimization))
        await self.report()

    @property
    def kept(self) -> str:
        """The optimization whose candidate is kept here; empty if none is."""
        return self.books.kept.command.optimization if self.books.kept is not None else ""

    async def lose(self, reason: str, left: ExitRecord | None = None) -> None:
        """Drop what is kept though nobody has asked for that: the fleet is to hear of it."""
        kept = self.books.kept
        if kept is not None:
            self.owe(kept.command.optimization, reason, left)
        await self.drop(reason)

    def owe(self, optimization: str, reason: str, left: ExitRecord | None = None) -> None:
        """Have the fleet told of a revert as soon as the bus is there."""
        self.owed[optimization] = reason, left
        self.owing.set()

    def settle(self, optimization: str) -> None:
        """The fleet has heard of it."""
        self.owed.pop(optimization, None)
        if not self.owed:
            self.owing.clear()

    async def drop(self, reason: str) -> bool:
        """Nothing is kept any more; back to the default. False if that ran already."""
        reverted = await self.clear(reason)
        self.due = ""
        if (kept := self.books.kept) is not None:
            if not self.take_to_heart(Dropped(reason)):
                # The journal still says that it is kept: it must not come back with a restart.
                self._forget(kept.command.artifact.sha256)
            await self.report()
            log.warning("steering.dropped", reason=reason)
        return reverted

    async def recover(self) -> str:
        """After a start: load what is kept if it may be. Gives the reason if it was dropped."""
        kept = self.books.kept
        if kept is None:
            return ""
        here = self._tokens.here
        known = (kept.kernel, kept.btf_sha256) == (here.kernel, here.btf_sha256)
        if kept.boot_id != self.boot_id and not known:
            reason = "the host was rebooted into another kernel: a promotion holds for one"
        elif not self.books.may_reload(time.time_ns(), self.boot_id):
            reason = "it had to be loaded again too often"
        else:
            rebooted = kept.boot_id != self.boot_id
            why = "the host has booted" if rebooted else "the executor has started"
            self.reloading(why)
            await self.restore(why)
            return "" if self.books.kept is not None else self.books.why_dropped
        await self.drop(reason)
        return reason

    async def departed(self) -> Departure | None:
        """How our scheduler left if it has left by itself; None while one of ours runs."""
        state = await self.scheduler.state()
        if state.ours is not None or state.last is None or state.last.requested:
            return None
        self.safeguards.departed(state.last)
        return state.last

    def reloading(self, why: str) -> None:
        """What is kept is to be loaded once more."""
        self.write(Reloaded(time.time_ns(), self.boot_id))
        self.safeguards.reloaded(why)

    # Telling ------------------------------------------------------------------------------

    async def state(self) -> SchedulerState:
        """What runs now, from the kernel."""
        policy, purpose, optimization = self._runs
        state = convert.scheduler_state(
            await self.scheduler.state(),
            host=self.host,
            boot_id=self.boot_id,
            policy=policy,
            purpose=purpose,
            optimization=optimization,
            kept=self.kept,
            sealed=self.books.sealed,
        )
        if not state.ours:
            self.safeguards.nothing_runs()
        return msgspec.structs.replace(state, **self.safeguards.told())

    async def report(self) -> None:
        """Tell the fleet what runs now; a bus that is away must not stop the host."""
        try:
            await self._report(await self.state())
        except CoxswainError as error:
            log.warning("steering.report_failed", problem=str(error))

    # Artifacts ----------------------------------------------------------------------------

    def cache(self, data: bytes) -> None:
        """Keep an artifact's bytes here, so that loading it again needs no bus, even after a cut.

        Raises MachineError where there is no room.
        """
        digest = hashlib.sha256(data).hexdigest()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_durable(self._folder / digest, data)
        except OSError as error:
            raise MachineError(
                "an artifact cannot be kept on this host",
                expected=f"room for {len(data)} bytes in {self._folder}",
                got=str(error),
                advice="Free space on the host's disk.",
            ) from error

    def cached(self, sha256: str) -> bytes:
        """An artifact's bytes from here, checked. Raises SchedulerError, MachineError."""
        path = self._folder / sha256
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise MachineError(
                "the kept artifact cannot be read", expected=str(path), got=str(error)
            ) from error
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise SchedulerError(
                "the kept artifact is missing or altered",
                expected=sha256,
                got=actual if data else "no file",
                advice="It is dropped; the next optimization deploys a fresh one.",
            )
        return data

    def _forget(self, sha256: str) -> None:
        """Without its bytes nothing is loaded again; a full disk takes that, too."""
        try:
            (self._folder / sha256).unlink(missing_ok=True)
            sync_folder(self._folder)
        except OSError as error:
            log.warning("steering.not_forgotten", artifact=sha256, problem=str(error))


def deployment_errand(command: DeployCommand, purpose: Literal["deploy", "restore"]) -> Errand:
    """What a token for a deployment is wanted for: one load."""
    return Errand(
        purpose=purpose,
        optimization=command.optimization,
        request_sha256=command.request_sha256,
        policy=command.policy,
        parameters=command.parameters,
        artifact=command.artifact,
        max_duration_s=LOAD_S,
    )
