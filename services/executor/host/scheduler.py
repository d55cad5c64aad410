"""The one place on a host that owns what is attached now.

The kernel cannot swap schedulers: between two of ours its default runs. So the new policy is
opened and verified first, while the old one still runs, and only then comes detach, default,
attach; the gap is measured. A policy the verifier rejects therefore disturbs nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

import msgspec
import structlog

from services.executor.host.exits import Diagnosis, ExitClass, ExitKind, ExitRecord, diagnose
from services.executor.host.sysfs import KernelScheduler, SchedExtSysfs
from services.executor.loader import LoadedScheduler, Sealed
from services.executor.loader.failures import foreign
from shared.errors import (
    AttachError,
    CoxswainError,
    ForeignSchedulerError,
    InputError,
    MachineError,
    TokenError,
    UnsupportedKernelError,
    VerifierError,
)
from shared.metrics import Metrics, declared

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from services.executor.host.permit import Permit
    from services.executor.loader import AttachFacts

FRAME_PREFIX = "frame_"
_POLL_S = 0.1

_log = structlog.get_logger(__name__)
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """One of our schedulers, in charge of this host.

    `gap_ns`: for how long the kernel's default ran between the scheduler before and this one
    (0 if there was none of ours); `load_ns`: opening and verifying; `attach_ns`: the kernel's
    own switch-over.
    """

    name: str
    artifact_sha256: str
    params: dict[str, int]
    frame: dict[str, int]
    timeout_ms: int
    enable_seq: int
    load_ns: int
    attach_ns: int
    gap_ns: int


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduler of ours that left, with its last figures; `requested` tells if we asked."""

    attached: Attached
    requested: bool
    why: str
    diagnosis: Diagnosis
    exit_record: ExitRecord | None = None
    counters: dict[str, int] = {}
    wait_histogram: list[int] = []
    detach_ns: int = 0


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """What runs now, by our books and by the kernel's, and what left last."""

    kernel: KernelScheduler
    ours: Attached | None = None
    last: Departure | None = None


class Scheduler(Protocol):
    """What the host role needs of a machine. `HostScheduler` is the one that steers a kernel."""

    async def apply(
        self,
        artifact: bytes,
        permit: Permit,
        *,
        name: str,
        timeout_ms: int,
        params: Mapping[str, int],
        frame: Mapping[str, int],
    ) -> Attached:
        """Put a policy in charge, as far as the permit allows."""
        ...

    async def revert(self, why: str) -> Departure | None:
        """Give the host back to the kernel's default; None if nothing of ours ran."""
        ...

    async def state(self) -> HostState:
        """What runs now."""
        ...

    async def counters(self) -> dict[str, int]:
        """The running policy's counters."""
        ...

    def watch(self) -> AsyncIterator[Departure]:
        """Each scheduler of ours that leaves unasked."""
        ...

    async def close(self) -> None:
        """Revert."""
        ...


class HostScheduler:
    """Applies and reverts schedulers, one at a time, and tells when one leaves by itself.

    Blocking calls run in a thread and are never abandoned half-way: a cancelled `apply` first
    finishes, then takes its scheduler back. `close` reverts.
    """

    def __init__(self, kernel: SchedExtSysfs | None = None, metrics: Metrics | None = None) -> None:
        self._metrics = metrics if metrics is not None else Metrics()
        self._kernel = kernel or SchedExtSysfs()
        self._turn = asyncio.Lock()
        self._loaded: LoadedScheduler | None = None
        self._attached: Attached | None = None
        self._last: Departure | None = None
        self._unannounced: list[Departure] = []
        self._watchers: set[asyncio.Queue[Departure]] = set()

    async def apply(
        self,
        artifact: bytes,
        permit: Permit,
        *,
        name: str,
        timeout_ms: int,
        params: Mapping[str, int],
        frame: Mapping[str, int],
    ) -> Attached:
        """Put a policy in charge of this host, in place of the kernel's default or of ours.

        Nothing comes into the kernel without a permit. Raises `TokenError`, `InputError`,
        `VerifierError`, `ForeignSchedulerError` (what ran still runs), or `AttachError` (the
        kernel's default runs).
        """
        _check_names(params, frame)
        begun = time.monotonic()
        async with self._turn:
            await self._notice()
            try:
                attached = await _to_the_end(
                    self._apply, artifact, permit, name, timeout_ms, dict(params), dict(frame)
                )
            except asyncio.CancelledError:
                await _to_the_end(self._revert, "the request was cancelled", requested=True)
                raise
            except CoxswainError as error:
                self._metrics.count(declared.LOAD_FAILURES, reason=_said_no(error))
                raise
            except MemoryError as error:
                self._metrics.count(declared.LOAD_FAILURES, reason="other")
                raise MachineError(
                    "this host has too little memory to load a policy",
                    expected="some megabytes for the executor",
                    got="none",
                    advice="Free memory and try again.",
                ) from error
        self._metrics.count(declared.LOADS)
        self._metrics.observe(declared.LOADING, time.monotonic() - begun)
        _log.info(
            "scheduler.attached",
            scheduler=attached.name,
            artifact=attached.artifact_sha256,
            load_ns=attached.load_ns,
            attach_ns=attached.attach_ns,
            gap_ns=attached.gap_ns,
        )
        return attached

    def _apply(
        self,
        artifact: bytes,
        permit: Permit,
        name: str,
        timeout_ms: int,
        params: dict[str, int],
        frame: dict[str, int],
    ) -> Attached:
        self._refuse_foreign()
        started_ns = time.monotonic_ns()
        sealed = Sealed(artifact)
        permit.use(sealed.sha256, params)
        loaded = LoadedScheduler(sealed, kernel=self._kernel)
        try:
            loaded.configure(name=name, timeout_ms=timeout_ms, values={**params, **frame})
            loaded.load()
            loaded_ns = time.monotonic_ns()
            facts, gap_ns = self._switch(loaded)
        except BaseException:
            loaded.close()
            raise
        attached = Attached(
            name=name,
            artifact_sha256=sealed.sha256,
            params=params,
            frame=frame,
            timeout_ms=timeout_ms,
            enable_seq=facts.enable_seq,
            load_ns=loaded_ns - started_ns,
            attach_ns=facts.attach_ns,
            gap_ns=gap_ns,
        )
        self._loaded, self._attached = loaded, attached
        return attached

    def _switch(self, fresh: LoadedScheduler) -> tuple[AttachFacts, int]:
        """Detach what is ours, attach `fresh`; the old one's figures are read after the gap."""
        if self._loaded is None:
            return fresh.attach(), 0
        started_ns = time.monotonic_ns()
        self._loaded.detach()
        detach_ns = time.monotonic_ns() - started_ns
        try:
            facts = fresh.attach()
            return facts, time.monotonic_ns() - started_ns
        finally:
            self._collect(f"replaced by {fresh.name}", detach_ns, requested=True)

    def _refuse_foreign(self) -> None:
        """Say so before the work of a load; the attach would refuse anyway."""
        if self._loaded is None and self._kernel.supported:
            now = self._kernel.read()
            if not now.is_default:
                raise foreign(now.ops)

    async def revert(self, why: str) -> Departure | None:
        """Give the host back to the kernel's default scheduler; None if nothing of ours ran."""
        async with self._turn:
            # Where nobody can look, what may still be there is taken down all the same.
            with contextlib.suppress(MachineError):
                await self._notice()
            departure = await _to_the_end(self._revert, why, requested=True)
        if departure is not None:
            _log.info(
                "scheduler.reverted",
                scheduler=departure.attached.name,
                why=why,
                detach_ns=departure.detach_ns,
            )
        return departure

    def _revert(self, why: str, *, requested: bool) -> Departure | None:
        if self._loaded is None:
            return None
        started_ns = time.monotonic_ns()
        self._loaded.detach()
        return self._collect(why, time.monotonic_ns() - started_ns, requested=requested)

    def _collect(self, why: str, detach_ns: int, *, requested: bool) -> Departure | None:
        """Read the last figures of our detached scheduler, free it, and note its departure."""
        loaded, attached = self._loaded, self._attached
        if loaded is None or attached is None:
            return None
        self._loaded = self._attached = None
        try:
            exit_record = loaded.exit_record()
            departure = Departure(
                attached=attached,
                requested=requested,
                why=why,
                diagnosis=diagnose(exit_record, requested=requested),
                exit_record=exit_record,
                counters=loaded.counters(),
                wait_histogram=loaded.wait_histogram(),
                detach_ns=detach_ns,
            )
        finally:
            left = loaded.close()
            if left:
                _log.error("scheduler.left_behind", scheduler=attached.name, left=str(left))
        self._last = departure
        if departure.diagnosis.exit_class is not ExitClass.REQUESTED:
            self._unannounced.append(departure)
        return departure

    async def state(self) -> HostState:
        """What runs now. A scheduler that has left by itself is noticed here, too."""
        self._kernel.require()
        async with self._turn:
            await self._notice()
            return HostState(kernel=self._kernel.read(), ours=self._attached, last=self._last)

    async def counters(self) -> dict[str, int]:
        """The running policy's counters, summed over CPUs; empty if none of ours runs."""
        async with self._turn:
            loaded = self._loaded
            return {} if loaded is None else await _to_the_end(loaded.counters)

    async def wait_histogram(self) -> list[int]:
        """The running policy's waits: bucket i counts 2^i to 2^(i+1) µs; empty if none runs."""
        async with self._turn:
            loaded = self._loaded
            return [] if loaded is None else await _to_the_end(loaded.wait_histogram)

    async def watch(self) -> AsyncGenerator[Departure, None]:
        """Yield each scheduler of ours that leaves unasked, within about 0.1 s.

        Goes on where the kernel's state cannot be read for a while.
        """
        departures: asyncio.Queue[Departure] = asyncio.Queue()
        self._watchers.add(departures)
        blind = False
        try:
            while True:
                try:
                    async with self._turn:
                        await self._notice()
                    blind = False
                except MachineError as error:
                    if not blind:
                        _log.warning("scheduler.not_seen", problem=str(error))
                    blind = True
                while not departures.empty():
                    yield departures.get_nowait()
                await asyncio.sleep(_POLL_S)
        finally:
            self._watchers.discard(departures)

    async def _notice(self) -> None:
        """Collect what is left of a scheduler that the kernel has ended. The turn is ours."""
        if self._loaded is not None and not self._loaded.is_attached():
            await _to_the_end(self._revert, "it left by itself", requested=False)
        # From a list, not from the call above: that may have been cancelled after it did its work.
        while self._unannounced:
            departure = self._unannounced.pop(0)
            self._count(departure)
            _log.warning(
                "scheduler.left",
                scheduler=departure.attached.name,
                exit_class=departure.diagnosis.exit_class.value,
                at_fault=departure.diagnosis.at_fault,
                words=departure.diagnosis.words,
            )
            for watcher in self._watchers:
                watcher.put_nowait(departure)

    def _count(self, departure: Departure) -> None:
        exit_class = departure.diagnosis.exit_class.value
        self._metrics.count(declared.EXITS, exit_class=exit_class)
        record = departure.exit_record
        if record is not None and record.kind == ExitKind.STALL:
            self._metrics.count(declared.STALLS)

    async def close(self) -> None:
        """Revert; the object may be used again."""
        await self.revert("the executor is stopping")


def _said_no(error: CoxswainError) -> str:
    """Whose no it was, for the metrics."""
    match error:
        case VerifierError():
            return "verifier"
        case AttachError():
            return "attach"
        case ForeignSchedulerError():
            return "foreign"
        case TokenError():
            return "token"
        case UnsupportedKernelError():
            return "unsupported"
        case _:
            return "other"


def _check_names(params: Mapping[str, int], frame: Mapping[str, int]) -> None:
    """A policy's parameters and the frame's tunables share `.rodata`, not their names."""
    misplaced = [n for n in params if n.startswith(FRAME_PREFIX)]
    misplaced += [n for n in frame if not n.startswith(FRAME_PREFIX)]
    if misplaced:
        raise InputError(
            "parameters of the policy and tunables of the frame are mixed up",
            expected=f"names with {FRAME_PREFIX} among the frame's tunables and nowhere else",
            got=", ".join(misplaced),
        )


async def _to_the_end(function: Callable[_P, _R], *arguments: _P.args, **options: _P.kwargs) -> _R:
    """Run a blocking call in a thread; if cancelled, still wait until it has ended."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **options))
    cancelled: asyncio.CancelledError | None = None
    while not call.done():
        try:
            await asyncio.wait([call])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        call.exception()  # retrieved, so that nobody complains about it later
        raise cancelled
    return call.result()
