"""What the executor makes of its guard: of what it did, of what it asks, and of its absence.

Nothing of ours runs unguarded for longer than the guard's own deadline: without it, an executor
that hangs would leave a bad policy to the kernel's watchdog alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

import structlog

from services.executor.guard.limits import BEAT_S, DEADLINE_S
from services.executor.host.lifesign import LetGo, Running
from shared.errors import CoxswainError
from shared.messages import ExitRecord
from shared.metrics import declared

if TYPE_CHECKING:
    from services.executor.guard.interventions import Intervention
    from services.executor.host.books import Kept
    from services.executor.host.lifesign import GuardLink
    from services.executor.host.steering import Steering
    from shared.metrics import Metrics

WELCOME_S = 2 * DEADLINE_S
"""How long a start waits for the guard, which may start at the same moment on a slow machine."""

log = structlog.get_logger(__name__)


class Executor(Protocol):
    """What is asked of the host role."""

    async def take_back(self, optimization: str, reason: str, *, cause: str) -> None:
        """Back to the default, at once."""
        ...


class Guarding:
    """Of one host."""

    def __init__(
        self, link: GuardLink, steering: Steering, executor: Executor, metrics: Metrics
    ) -> None:
        self._link = link
        self._steering = steering
        self._executor = executor
        self._metrics = metrics
        self._shown = False
        self._taken_in: set[tuple[int, int]] = set()
        self._telling: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._telling.set_result(None)

    async def begin(self) -> None:
        """Before anything is loaded: what the guard did while there was no executor."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WELCOME_S):
                await self._link.welcomed.wait()
        while not self._link.news.empty():
            await self._take_in(self._link.news.get_nowait())

    async def watch(self) -> None:
        """Follow it, for ever."""
        while True:
            self._link.tick()
            try:
                await self._look()
            except CoxswainError as error:  # a full disk, mostly: the next look may do better
                log.warning("guard.not_followed", problem=str(error))
            safeguards = self._steering.safeguards
            safeguards.show()
            changed = safeguards.moved or self._link.present is not self._shown
            if changed and self._telling.done():
                self._shown, safeguards.moved = self._link.present, False
                # Not waited for: a bus that is away must not keep us from looking.
                self._telling = asyncio.create_task(self._steering.report())
            await asyncio.sleep(BEAT_S)

    async def _look(self) -> None:
        while not self._link.news.empty():
            await self._take_in(self._link.news.get_nowait())
        if self._link.alone_s >= DEADLINE_S and self._link.running != Running():
            await self._end("its guard is gone", cause="unguarded")

    async def _take_in(self, news: Intervention | LetGo) -> None:
        if isinstance(news, LetGo):
            await self._end(news.reason, cause="operator")
            return
        if (news.id, news.unix_ns) in self._taken_in:  # told again on another connection
            return
        self._taken_in.add((news.id, news.unix_ns))
        reason = f"the guard ended it: {news.reason}"
        log.warning("guard.intervened", cause=news.cause, reason=news.reason, steps=news.steps)
        self._steering.safeguards.intervened(news)
        cause = "operator" if news.cause == "operator" else "guard"
        self._metrics.count(declared.REVERTS, cause=cause)
        kept = self._steering.books.kept
        if kept is None or _was_before(news, kept):
            return
        optimization = kept.command.optimization
        if cause == "guard" and news.running.get("optimization") not in {"", None, optimization}:
            return  # a trial was ended: what was promoted here has done nothing wrong
        await self._steering.lose(reason, _exit_record(news))

    async def _end(self, reason: str, *, cause: str) -> None:
        """Everything of ours, and tell of what was promoted."""
        kept = self._steering.books.kept
        await self._executor.take_back("", reason, cause=cause)
        if kept is not None:
            self._steering.owe(kept.command.optimization, reason)


def _was_before(news: Intervention, kept: Kept) -> bool:
    """Whether the guard did that before what is kept was promoted; within a boot no clock steps."""
    if news.boot_id == kept.boot_id and news.boot_ns and kept.boot_ns:
        return news.boot_ns < kept.boot_ns
    return news.unix_ns < kept.unix_ns


def _exit_record(done: Intervention) -> ExitRecord:
    """The guard's deed, in the shape of the kernel's own."""
    steps = ", ".join(done.steps) or "nothing"
    return ExitRecord(
        kind=0,
        kind_name="GUARD",
        reason=done.cause,
        message=done.reason,
        verdict="foreign" if done.cause == "operator" else "fault",
        explanation=f"the guard ended {done.ops}: {done.reason}; {steps}; "
        f"the default was back after {done.back_s:.1f} s",
    )
