"""A host short of disk, descriptors or memory goes back to the default, and nobody dies of it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.executor.host import lifesign
from services.executor.host.exits import ExitKind
from services.executor.host.journal import JournalError
from services.executor.host.lifesign import GuardLink
from services.executor.host.scheduler import HostScheduler
from services.executor.loader import failures
from services.executor.loader.libbpf import LibbpfError
from services.executor.loader.policy_object import PolicyObject
from shared import files
from shared.bus import Bus
from shared.errors import MachineError
from shared.messages import (
    DeployCommand,
    RevertCommand,
    Reverted,
    RevertRequest,
    SchedulerState,
)
from shared.tasks import end
from tests.eventually import eventually
from tests.executor.host.conftest import HOST, Rig
from tests.executor.host.test_deployments import placed, said, send
from tests.executor.tokens import free_permit

Full = Callable[[], None]

# The disk ----------------------------------------------------------------------------------------


@pytest.fixture
def full(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Full:
    """Call it, and the disk takes no more."""

    def fill() -> None:
        def append(_: object) -> None:
            raise JournalError("the journal cannot be written", got="No space left on device")

        def fsync(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(rig.steering._journal, "append", append)
        monkeypatch.setattr(files.os, "fsync", fsync)

    return fill


@pytest.mark.parametrize("how", ["everything", "by name", "by the planner"])
async def test_a_full_disk_keeps_nobody_from_going_back(
    rig: Rig, deploy: DeployCommand, full: Full, how: str
) -> None:
    assert (await placed(rig, deploy)).problem is None
    full()
    if how == "by the planner":
        await send(rig, "revert", RevertCommand(optimization="o1", reason="cancelled"))
        await said(rig, "reverted", Reverted)
    else:
        subject = rig.bus.subjects.endpoint("executor", "revert", HOST)
        request = RevertRequest(reason="now", optimization="" if how == "everything" else "o1")
        now = await rig.bus.ask(subject, request, SchedulerState, timeout_s=10)
        assert now.state == "disabled"
    assert (await rig.kernel.state()).ours is None
    assert rig.steering.books.kept is None


async def test_what_was_taken_back_on_a_full_disk_does_not_come_back_with_a_restart(
    rig: Rig, deploy: DeployCommand, full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await placed(rig, deploy)).problem is None
    full()
    await send(rig, "revert", RevertCommand(optimization="o1", reason="cancelled"))
    await said(rig, "reverted", Reverted)
    monkeypatch.undo()
    rig.steering._journal.close()
    again = Rig(rig.bus, rig.folder)
    kept = again.steering.books.kept
    assert kept is not None  # as far as the journal knows
    assert "missing" in await again.steering.recover()
    assert again.kernel.loads == []
    assert again.steering.books.kept is None
    await again.stop()


async def test_a_full_disk_refuses_a_deployment_by_name(
    rig: Rig, deploy: DeployCommand, full: Full
) -> None:
    full()
    problem = (await placed(rig, deploy)).problem
    assert problem is not None
    assert (problem.kind, problem.advice) == ("MachineError", "Free space on the host's disk.")
    assert rig.kernel.loads == []
    assert list((rig.folder / "artifacts").iterdir()) == []


async def test_a_policy_that_leaves_on_a_full_disk_is_dropped_and_told(
    rig: Rig, deploy: DeployCommand, full: Full
) -> None:
    assert (await placed(rig, deploy)).problem is None
    full()
    rig.kernel.lose(ExitKind.STALL)
    reverted = (await said(rig, "reverted", Reverted))[0]
    assert "it left" in reverted.reason
    assert rig.steering.books.kept is None
    assert not any(task.done() for task in rig._tasks)


def test_a_durable_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a journal that survives a power cut would speak of a file that does not."""
    synced: list[tuple[str, bool]] = []
    genuine = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name, (tmp_path / "kept").exists()))
        genuine(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)
    files.write_durable(tmp_path / "kept", b"bytes")
    assert synced == [("kept.new", False), (tmp_path.name, True)]
    assert (tmp_path / "kept").read_bytes() == b"bytes"


# Descriptors -------------------------------------------------------------------------------------


class Unseen:
    """A scheduler of ours of whose state nothing can be read."""

    name = "coxswain_fifo"
    detached = False
    blind = True
    looks = 0

    def is_attached(self) -> bool:
        self.looks += 1
        if self.blind:
            raise MachineError("the kernel cannot be read", got="Too many open files")
        return not self.detached

    def detach(self) -> None:
        self.detached = True

    def close(self) -> str:
        return ""

    def exit_record(self) -> None:
        return None

    def counters(self) -> dict[str, int]:
        return {}

    def wait_histogram(self) -> list[int]:
        return []


def holding(unseen: Unseen) -> HostScheduler:
    from services.executor.host.scheduler import Attached

    scheduler = HostScheduler()
    scheduler._loaded = unseen  # type: ignore[assignment]
    scheduler._attached = Attached(
        name=unseen.name, artifact_sha256="a", params={}, frame={}, timeout_ms=1, enable_seq=1,
        load_ns=1, attach_ns=1, gap_ns=0,
    )  # fmt: skip
    return scheduler


async def test_what_cannot_be_looked_at_is_taken_down_all_the_same() -> None:
    unseen = Unseen()
    departure = await holding(unseen).revert("now")
    assert departure is not None
    assert unseen.detached


async def test_a_host_that_cannot_look_for_a_while_looks_again_later() -> None:
    unseen = Unseen()
    scheduler = holding(unseen)
    watching = scheduler.watch()
    departure = asyncio.create_task(anext(watching))
    await eventually(lambda: unseen.looks > 2 or departure.done())
    assert not departure.done()
    unseen.blind, unseen.detached = False, True
    assert (await departure).attached.name == unseen.name
    await watching.aclose()


async def test_without_a_descriptor_for_its_socket_the_guard_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def no_socket(*_: object) -> None:
        tried.append(1)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    stub = SimpleNamespace(
        socket=no_socket, AF_UNIX=socket.AF_UNIX, SOCK_SEQPACKET=socket.SOCK_SEQPACKET
    )
    monkeypatch.setattr(lifesign, "socket", stub)
    keeping = asyncio.create_task(GuardLink(tmp_path / "guard.sock").keep(lambda: 0))
    await eventually(lambda: len(tried) > 1 or keeping.done())
    assert not keeping.done()
    await end([keeping])


async def test_a_part_that_should_go_on_for_ever_is_missed_when_it_ends(bus: Bus) -> None:
    """A host without its watch over leases would keep what it should not."""

    async def breaks() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    task = bus.forever(breaks())
    with pytest.raises(OSError, match="Too many"):
        await bus.failed()
    await end([task])


# Memory ------------------------------------------------------------------------------------------


async def test_a_load_for_which_there_is_no_memory_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = HostScheduler()

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(scheduler, "_apply", no_memory)
    with pytest.raises(MachineError, match="too little memory"):
        await scheduler.apply(b"o", free_permit(b"o"), name="x", timeout_ms=1, params={}, frame={})


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_a_lack_of_the_machine_is_not_laid_at_the_policys_door(code: int) -> None:
    """The verifier may have said something before its memory ended."""
    policy = PolicyObject.__new__(PolicyObject)
    policy._log = SimpleNamespace(value=b"func#0 @0\n0: R1=ctx() R10=fp0\n")  # type: ignore[assignment]
    policy._pointer = None
    error = policy._load_failure(LibbpfError(code, "bpf_object__load", ["failed to load"]))
    assert type(error) is MachineError
    assert failures.SCARCE[code][0] in error.expected
