"""A promoted candidate on one host: put there, confirmed, taken back, whatever comes late."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from msgspec.structs import replace

from services.executor.host.books import Books, Fenced, Withdrawn
from services.executor.host.exits import HOTPLUG, RESTART, ExitKind
from services.executor.host.lease import Lease
from shared.bus import Bus, connect
from shared.bus.away import AWAY
from shared.bus.provision import provision, provision_host
from shared.bus.server import NatsServer
from shared.errors import BusError
from shared.messages import (
    ConfirmCommand,
    Confirmed,
    DeployCommand,
    Deployed,
    Message,
    RevertCommand,
    Reverted,
    RevertRequest,
    SchedulerState,
    TrialEnded,
    decode,
)
from shared.subjects import Subjects
from tests.eventually import eventually
from tests.executor.host.conftest import HOST, Rig, deployable, trial_of

M = TypeVar("M", bound=Message)
_ids = itertools.count()


class OnBus(Protocol):
    """A test's host."""

    bus: Bus


async def send(rig: Rig, verb: str, message: Message) -> None:
    subject = rig.bus.subjects.command("executor", verb, HOST)
    await rig.bus.publish(subject, message, message_id=f"m{next(_ids)}")


async def said(rig: OnBus, fact: str, kind: type[M], count: int = 1, of: str = "*") -> list[M]:
    """The events of a kind, of any optimization or one, once there are so many."""
    subject = rig.bus.subjects.events("executor", fact, of)
    while True:
        found: list[M] = []
        with contextlib.suppress(*AWAY, BusError):
            found = [decode(data, kind) async for _, data in rig.bus.history("EVENTS", subject)]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.05)


async def placed(rig: Rig, deploy: DeployCommand) -> Deployed:
    await send(rig, "deploy", deploy)
    return (await said(rig, "deployed", Deployed))[0]


async def confirmed(rig: Rig) -> Confirmed:
    await send(rig, "confirm", ConfirmCommand(optimization="o1"))
    return (await said(rig, "confirmed", Confirmed))[0]


async def test_what_was_deployed_is_confirmed_with_the_kernel_s_words(
    rig: Rig, deploy: DeployCommand
) -> None:
    deployed = await placed(rig, deploy)
    assert deployed.problem is None
    assert deployed.traceparent.startswith("00-")
    answer = await confirmed(rig)
    assert answer.problem is None
    assert answer.state is not None
    assert (answer.state.state, answer.state.ops) == ("enabled", "coxswain_latency")
    assert answer.counters == {"enqueues": 7}


async def test_a_host_that_runs_nothing_of_it_says_so(rig: Rig) -> None:
    answer = await confirmed(rig)
    assert answer.problem is not None
    assert "the kernel's default" in answer.problem.got


async def test_a_stall_is_told_with_its_exit_record_and_not_confirmed(
    rig: Rig, deploy: DeployCommand
) -> None:
    await placed(rig, deploy)
    rig.kernel.lose(ExitKind.STALL)
    reverted = (await said(rig, "reverted", Reverted))[0]
    assert reverted.exit_record is not None
    assert reverted.exit_record.verdict == "fault"
    answer = await confirmed(rig)
    assert answer.problem is not None
    assert "watchdog" in answer.problem.got
    assert rig.steering.books.kept is None


async def test_a_reload_that_the_kernel_asked_for_is_no_failure(
    rig: Rig, deploy: DeployCommand
) -> None:
    await placed(rig, deploy)
    rig.kernel.lose(ExitKind.UNREG_KERN, RESTART | HOTPLUG)
    answer = await confirmed(rig)
    assert answer.problem is None
    assert rig.kernel.loads == ["coxswain_latency", "coxswain_latency"]


async def test_an_operator_s_revert_is_found_when_the_cohort_has_soaked(
    rig: Rig, deploy: DeployCommand
) -> None:
    await placed(rig, deploy)
    subject = rig.bus.subjects.endpoint("executor", "revert", HOST)
    now = await rig.bus.ask(
        subject, RevertRequest(reason="cox revert"), SchedulerState, timeout_s=10
    )
    assert now.state == "disabled"
    answer = await confirmed(rig)
    assert answer.problem is not None
    assert "cox revert" in answer.problem.got


async def test_a_deployment_that_comes_after_its_revert_does_nothing(
    rig: Rig, deploy: DeployCommand
) -> None:
    await send(rig, "revert", RevertCommand(optimization="o1", reason="cancelled"))
    await said(rig, "reverted", Reverted)
    deployed = await placed(rig, deploy)
    assert deployed.problem is not None
    assert "taken back" in deployed.problem.what
    assert rig.kernel.loads == []
    # Only that optimization's: the next one may.
    await send(rig, "deploy", replace(deploy, optimization="o2"))
    await said(rig, "deployed", Deployed, 2)
    assert rig.kernel.loads == ["coxswain_latency"]


async def test_an_earlier_owner_s_commands_do_nothing(rig: Rig, deploy: DeployCommand) -> None:
    await placed(rig, replace(deploy, fence=9))
    await send(rig, "deploy", replace(deploy, optimization="o0", fence=8))
    late = (await said(rig, "deployed", Deployed, 2))[1]
    assert late.problem is not None
    assert "earlier owner" in late.problem.what
    assert late.problem.expected.startswith("fencing token 9")
    trial = trial_of(deploy, optimization="o0", trial="o0-t1", fence=8)
    await send(rig, "trial", trial)
    ended = (await said(rig, "trial_ended", TrialEnded))[0]
    assert (ended.end, ended.pairs) == ("interrupted", 0)
    kept = rig.steering.books.kept
    assert kept is not None
    assert kept.command.optimization == "o1"
    assert rig.kernel.loads == ["coxswain_latency"]


def test_the_token_outlives_a_restart() -> None:
    books = Books()
    for fence in (3, 9, 5):
        books.note(Fenced(fence))
    again = Books()
    for entry in books.worth_keeping():
        again.note(entry)
    assert again.fence == 9


@pytest.mark.parametrize("optimization", ["", "o1"])
async def test_a_revert_in_the_middle_of_a_deployment_wins(
    rig: Rig, deploy: DeployCommand, optimization: str
) -> None:
    await send(rig, "deploy", replace(deploy, soak_s=1.0))
    await eventually(lambda: rig.kernel.loads)
    subject = rig.bus.subjects.endpoint("executor", "revert", HOST)
    request = RevertRequest(reason="now", optimization=optimization)
    now = await rig.bus.ask(subject, request, SchedulerState, timeout_s=10)
    assert now.state == "disabled"
    deployed = (await said(rig, "deployed", Deployed))[0]
    assert deployed.problem is not None
    assert rig.steering.books.kept is None
    assert (await rig.kernel.state()).ours is None


def test_a_lease_counts_from_when_the_bus_went_away() -> None:
    lease = Lease(1000.0)
    assert not lease.over(60.0, 1059.0)
    assert lease.over(60.0, 1060.0)


def test_what_was_withdrawn_is_remembered_over_restarts_but_not_for_ever() -> None:
    books = Books()
    for number in range(3000):
        books.note(Withdrawn(f"o{number}"))
    again = Books()
    for entry in books.worth_keeping():
        again.note(entry)
    assert "o2999" in again.withdrawn
    assert "o0" not in again.withdrawn
    assert len(again.withdrawn) == 1000


async def test_a_promotion_outlives_the_bus_for_its_lease_and_no_longer(tmp_path: Path) -> None:
    """The server stops: the policy stays, then goes; when it is back the fleet hears of it."""
    subjects = Subjects("lease")
    with NatsServer(tmp_path / "nats") as server:
        bus = await connect(server.url, subjects, "test", patience_s=10)
        await provision(bus.js, subjects)
        await provision_host(bus.js, subjects, HOST)
        rig = Rig(bus, tmp_path)
        await rig.start()
        deploy = replace(await deployable(rig), lease_s=3.0)
        assert (await placed(rig, deploy)).problem is None
        server.stop()
        await eventually(lambda: not bus.nc.is_connected)
        assert rig.steering.books.kept is not None
        await eventually(lambda: rig.steering.books.kept is None)
        assert (await rig.kernel.state()).ours is None
        server.start()
        reverted = (await said(rig, "reverted", Reverted))[0]
        assert "lease of 3 s" in reverted.reason
        await rig.stop()
        await bus.close()
