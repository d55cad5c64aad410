"""What this host is meant to run, and making it so.

Between trials that is what was promoted here, or nothing: then the kernel's default. The journal
says which, so that a restarted executor knows; the scheduler itself died with the old one.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Literal

import structlog

from services.executor.host import convert
from services.executor.host.books import Books, Dropped, Entry, Kept, Reloaded
from shared.errors import CoxswainError, SchedulerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from services.executor.host.journal import Journal
    from services.executor.host.scheduler import Departure, Scheduler
    from shared.messages import DeployCommand, SchedulerState

TIMEOUT_MS = 10_000
"""The kernel's watchdog for our schedulers: a task that waits longer ends the policy."""

Purpose = Literal["", "trial", "deployed"]

log = structlog.get_logger(__name__)


def ops_name(policy: str) -> str:
    """The scheduler's name in the kernel. Its prefix tells our observers that it is ours."""
    return "coxswain_" + policy.replace("-", "_")


class Steering:
    """The host's scheduler together with what the journal says should run."""

    def __init__(
        self,
        host: str,
        boot_id: str,
        scheduler: Scheduler,
        journal: Journal[Entry],
        folder: Path,
        report: Callable[[SchedulerState], Awaitable[None]],
    ) -> None:
        self.host = host
        self.boot_id = boot_id
        self.scheduler = scheduler
        self.books = Books()
        self._journal = journal
        self._folder = folder
        self._report = report
        self._runs: tuple[str, Purpose, str] = ("", "", "")
        """Policy, purpose, optimization of what was loaded last."""
        for entry in journal.records:
            self.books.note(entry)
        journal.compact(self.books.worth_keeping())

    def write(self, entry: Entry) -> None:
        """Make a fact durable, then believe it."""
        self._journal.append(entry)
        self.books.note(entry)

    # What runs ----------------------------------------------------------------------------

    async def load(
        self,
        artifact: bytes,
        policy: str,
        parameters: Mapping[str, int],
        purpose: Purpose,
        optimization: str,
    ) -> int:
        """Put a candidate in charge; nothing happens if it already is. The gap in ns."""
        state = await self.scheduler.state()
        digest = hashlib.sha256(artifact).hexdigest()
        same = (
            state.ours is not None
            and state.ours.artifact_sha256 == digest
            and state.ours.params == dict(parameters)
            and self._runs == (policy, purpose, optimization)
        )
        if same:
            return 0
        attached = await self.scheduler.apply(
            artifact,
            name=ops_name(policy),
            timeout_ms=TIMEOUT_MS,
            params=parameters,
            frame={},
        )
        self._runs = (policy, purpose, optimization)
        await self.report()
        return attached.attach_ns + attached.gap_ns

    async def clear(self, why: str) -> bool:
        """The kernel's default, whatever is kept; False if that ran already."""
        if await self.scheduler.revert(why) is None:
            return False
        await self.report()
        return True

    async def restore(self, why: str) -> None:
        """What should run between trials: the kept candidate, or the default."""
        kept = self.books.kept
        if kept is None:
            await self.clear(why)
            return
        command = kept.command
        try:
            await self.load(
                self.cached(command.artifact.sha256),
                command.policy,
                command.parameters,
                "deployed",
                command.optimization,
            )
        except CoxswainError as error:
            await self.drop(f"it could not be loaded again: {error}")

    async def keep(self, command: DeployCommand) -> None:
        """From now on this candidate is what should run here, for this boot."""
        self.write(Kept(command, self.boot_id, time.time_ns()))

    async def drop(self, reason: str) -> bool:
        """Nothing is kept any more; back to the default. False if that ran already."""
        reverted = await self.clear(reason)
        if self.books.kept is not None:
            self.write(Dropped(reason))
            log.warning("steering.dropped", reason=reason)
        return reverted

    async def recover(self) -> str:
        """After a start: load what is kept if it may be. Gives the reason if it was dropped."""
        kept = self.books.kept
        if kept is None:
            return ""
        if kept.boot_id != self.boot_id:
            reason = "the host was rebooted: a promotion holds for one boot"
        elif not self.books.may_reload(time.time_ns()):
            reason = "it had to be loaded again too often"
        else:
            self.write(Reloaded(time.time_ns()))
            await self.restore("the executor has started")
            return "" if self.books.kept is not None else "it could not be loaded again"
        await self.drop(reason)
        return reason

    async def departed(self) -> Departure | None:
        """How our scheduler left if it has left by itself; None while one of ours runs."""
        state = await self.scheduler.state()
        if state.ours is not None or state.last is None or state.last.requested:
            return None
        return state.last

    # Telling ------------------------------------------------------------------------------

    async def state(self) -> SchedulerState:
        """What runs now, from the kernel."""
        policy, purpose, optimization = self._runs
        return convert.scheduler_state(
            await self.scheduler.state(),
            host=self.host,
            boot_id=self.boot_id,
            policy=policy,
            purpose=purpose,
            optimization=optimization,
        )

    async def report(self) -> None:
        """Tell the fleet what runs now; a bus that is away must not stop the host."""
        try:
            await self._report(await self.state())
        except CoxswainError as error:
            log.warning("steering.report_failed", problem=str(error))

    # Artifacts ----------------------------------------------------------------------------

    def cache(self, data: bytes) -> None:
        """Keep an artifact's bytes here, so that loading it again needs no bus."""
        self._folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        fresh = path.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.replace(path)

    def cached(self, sha256: str) -> bytes:
        """An artifact's bytes from here, checked. Raises SchedulerError."""
        path = self._folder / sha256
        data = path.read_bytes() if path.exists() else b""
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise SchedulerError(
                "the kept artifact is missing or altered",
                expected=sha256,
                got=actual if data else "no file",
                advice="It is dropped; the next optimization deploys a fresh one.",
            )
        return data
