"""One policy in the kernel: opened, configured, verified, attached, read, detached.

Attaching is never believed: the kernel answers 0 even if the scheduler's own set-up fails a
moment later, so the truth is read back from sysfs and from the exit record. The link is not
pinned; it dies with this process, and the kernel is back on its default scheduler.
"""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from services.executor.host.exits import ExitRecord, diagnose, parse_exit_record
from services.executor.host.sysfs import DISABLED, ENABLED, KernelScheduler, SchedExtSysfs
from services.executor.loader import failures
from services.executor.loader.census import Ids, StowawayError, census, check_only, wait_gone
from services.executor.loader.libbpf import LibbpfError
from services.executor.loader.policy_object import PolicyObject
from shared.errors import InputError, MachineError, SchedulerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from services.executor.loader.sealed import Sealed
    from services.executor.loader.verified import Verified

# bpf_obj_name_cpy() in kernel/bpf/syscall.c; 127 characters and a NUL.
_NAME = re.compile(r"[A-Za-z0-9_.]{1,127}")
# SCX_WATCHDOG_MAX_TIMEOUT in kernel/sched/ext.
MAX_TIMEOUT_MS = 30_000

_COUNTER_PREFIX = "COX_COUNTER_"
_MAXIMUM_SUFFIX = "_MAX_NS"
_POLL_S = 0.01
_R = TypeVar("_R")


class AttachFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A confirmed attach: the kernel's count of enabled schedulers, and how long it took."""

    enable_seq: int
    attach_ns: int


class LoadedScheduler:
    """A policy's way through the kernel; use as a context manager, or `close` it.

    Order: `configure`, `load`, `attach`, any reads, `detach`, more reads, `close`. Safe to use
    from several threads; the calls block (a load for seconds on a slow machine).
    """

    def __init__(self, sealed: Sealed, *, kernel: SchedExtSysfs | None = None) -> None:
        self._kernel = kernel or SchedExtSysfs()
        self._kernel.require()
        self._lock = threading.RLock()
        self._hotplug_seq = self._kernel.hotplug_seq()
        self._policy: PolicyObject | None = PolicyObject(sealed)
        self._link: int | None = None
        self._before = Ids()
        self._ours = Ids()
        self._name = ""
        self._facts: AttachFacts | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The name the kernel shows in root/ops."""
        return self._name

    def configure(self, *, name: str, timeout_ms: int, values: Mapping[str, int]) -> None:
        """Set the scheduler's name, its watchdog's timeout, and variables in `.rodata`."""
        if not _NAME.fullmatch(name):
            raise InputError(
                "the kernel cannot take this scheduler's name",
                expected="1 to 127 letters, digits, underscores and dots",
                got=repr(name),
            )
        if not 0 < timeout_ms <= MAX_TIMEOUT_MS:
            raise InputError(
                "the watchdog's timeout is out of range",
                expected=f"1 to {MAX_TIMEOUT_MS} ms",
                got=f"{timeout_ms} ms",
            )
        with self._lock:
            policy = self._opened()
            policy.set_parameters(values)
            policy.set_ops(name=name, timeout_ms=timeout_ms, hotplug_seq=self._hotplug_seq)
            self._name = name

    def load(self) -> None:
        """Let the kernel verify the policy. `VerifierError` carries the trimmed log.

        Raises `StowawayError` if anything but the policy came into the kernel.
        """
        with self._lock:
            self._into_the_kernel(self._opened().load)

    def verify(self) -> dict[str, Verified]:
        """As `load`; what verifying each program has cost, by its name."""
        with self._lock:
            return self._into_the_kernel(self._opened().verify)

    def _into_the_kernel(self, load: Callable[[], _R]) -> _R:
        self._before = census()
        told = load()
        self._ours = self._opened().ids()
        check_only(self._before, self._ours)
        return told

    def attach(self, *, deadline_s: float = 10.0) -> AttachFacts:
        """Attach, then confirm from the kernel that this very scheduler took over.

        It may have left again by the time this returns: see `is_attached`.

        Raises `ForeignSchedulerError`, `AttachRefusedError`, `MachineError`,
        `EnableFailedError` or `StowawayError`; after any of them nothing of ours is attached.
        """
        with self._lock:
            policy = self._opened()
            if not self._name:
                raise SchedulerError(
                    "a scheduler was to be attached without a name", advice="Call configure first."
                )
            if self._facts is not None:
                raise SchedulerError(
                    f"scheduler {self._name} was attached before",
                    expected="one that was never attached: its maps and exit record are empty",
                    got="one with a past",
                    advice="Open and load the artifact again.",
                )
            before = self._kernel.read()
            if not before.is_default:
                raise failures.foreign(before.ops)
            started_ns = time.monotonic_ns()
            try:
                self._link = policy.attach()
            except LibbpfError as error:
                # EBUSY: somebody was faster.
                now = self._kernel.read()
                if not now.is_default:
                    raise failures.foreign(now.ops) from error
                raise failures.of_attach(error, self._name) from error
            self._ours = policy.ids(self._link)
            enable_seq = self._confirm(before.enable_seq, deadline_s)
            try:
                check_only(self._before, self._ours)
            except StowawayError:
                self._drop_link(deadline_s)
                raise
            self._facts = AttachFacts(
                enable_seq=enable_seq, attach_ns=time.monotonic_ns() - started_ns
            )
            return self._facts

    def _confirm(self, seq_before: int, deadline_s: float) -> int:
        """The kernel's count of enabled schedulers with this one, or `EnableFailedError`."""
        deadline = time.monotonic() + deadline_s
        while True:
            now = self._kernel.read()
            # The count rises once a scheduler has taken over. It may have left since (a bad one
            # can starve this very process until the watchdog ends it): then it left, and did
            # not fail to come; whoever watches it will hear why.
            if now.enable_seq > seq_before and now.ops in {self._name, None}:
                return now.enable_seq
            if now.state == DISABLED or time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        exit_record = self._drop_link(deadline_s)
        said = diagnose(exit_record, requested=False).words
        raise failures.EnableFailedError(
            self._name, got=f"state {now.state}: {said}", exit_record=exit_record
        )

    def is_attached(self) -> bool:
        """The kernel still runs this scheduler (two small files in sysfs are read)."""
        facts = self._facts
        if facts is None or self._link is None:
            return False
        return self._kernel.state() == ENABLED and self._kernel.enable_seq() == facts.enable_seq

    def exit_record(self) -> ExitRecord | None:
        """What the scheduler left behind, or None while it has not left."""
        with self._lock:
            policy = self._opened()
            dump = policy.read_section(".data.dump") if policy.has_map(".data.dump") else b""
            return parse_exit_record(policy.read_section(".data.exit"), dump)

    def counters(self) -> dict[str, int]:
        """The frame's counters by name in lower case, added up over CPUs.

        Of those ending in `_max_ns` the largest counts (bpf/include/cox/abi.h).
        """
        with self._lock:
            policy = self._opened()
            per_cpu = policy.read_per_cpu("cox_counters")
            names = policy.enumerators("cox_counter")
        return {
            name.removeprefix(_COUNTER_PREFIX).lower(): (
                max(per_cpu[index]) if name.endswith(_MAXIMUM_SUFFIX) else sum(per_cpu[index])
            )
            for name, index in names.items()
            if name.startswith(_COUNTER_PREFIX) and 0 <= index < len(per_cpu)
        }

    def wait_histogram(self) -> list[int]:
        """Waits of runnable tasks, summed over CPUs: bucket i counts 2^i to 2^(i+1) µs."""
        with self._lock:
            return [sum(values) for values in self._opened().read_per_cpu("cox_wait_hist")]

    def detach(self, *, deadline_s: float = 10.0) -> ExitRecord | None:
        """Detach and confirm that the kernel no longer runs this scheduler; its exit record.

        Does nothing but read the record if it was not attached. Raises `StillAttachedError`.
        """
        with self._lock:
            if self._link is None:
                return self.exit_record()
            return self._drop_link(deadline_s)

    def _drop_link(self, deadline_s: float) -> ExitRecord | None:
        link, self._link = self._link, None
        if link is not None:
            self._opened().detach(link)
        deadline = time.monotonic() + deadline_s
        while True:
            now = self._glimpse()
            if now is not None and self._has_left(now):
                return self.exit_record()
            if time.monotonic() > deadline:
                raise failures.StillAttachedError(
                    f"scheduler {self._name} is still attached",
                    expected=f"state disabled within {deadline_s} s",
                    got=f"state {now.state}, ops {now.ops}" if now else "no word of the kernel",
                    advice="Press SysRq-S (echo S > /proc/sysrq-trigger) to eject it.",
                )
            time.sleep(_POLL_S)

    def _has_left(self, now: KernelScheduler) -> bool:
        ours = now.ops == self._name and (
            self._facts is None or now.enable_seq == self._facts.enable_seq
        )
        return now.is_default or (now.state == ENABLED and not ours)

    def _glimpse(self) -> KernelScheduler | None:
        """What the kernel says now; None where it cannot be read at this moment."""
        try:
            return self._kernel.read()
        except MachineError:
            return None

    def close(self) -> Ids:
        """Detach if attached and free everything; what of it is still in the kernel, if anything.

        Again does nothing.
        """
        with self._lock:
            if self._policy is None:
                return Ids()
            try:
                if self._link is not None:
                    self._drop_link(deadline_s=10.0)
            finally:
                policy, self._policy = self._policy, None
                policy.close()
            return wait_gone(self._ours) if self._ours else Ids()

    def _opened(self) -> PolicyObject:
        if self._policy is None:
            raise SchedulerError(
                f"scheduler {self._name or '(unnamed)'} is closed",
                expected="an open one",
                got="one whose close() was called",
            )
        return self._policy
