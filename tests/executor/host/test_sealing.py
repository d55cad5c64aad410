"""What the judge has promoted: no planner takes it back; an operator does, and so does harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from services.executor.host.books import Books, Dropped, Kept, Sealed
from services.executor.host.exits import ExitKind
from shared.messages import (
    DeployCommand,
    Deployed,
    Loadable,
    RevertCommand,
    Reverted,
    RevertRequest,
    SchedulerState,
    SealCommand,
)
from tests.eventually import eventually
from tests.executor.host.conftest import HOST, INVENTORY, Rig
from tests.executor.host.test_deployments import placed, said, send
from tests.executor.host.test_tokens import again


async def seal(rig: Rig, deploy: DeployCommand) -> None:
    command = SealCommand(optimization=deploy.optimization, tried=Loadable.of(deploy))
    await send(rig, "seal", command)
    await eventually(lambda: rig.steering.books.sealed)


async def refused(rig: Rig, optimization: str) -> None:
    """A planner's order to go back, and that it has come and gone: a later one was obeyed."""
    await send(rig, "revert", RevertCommand(optimization=optimization, reason="I want it so"))
    await send(rig, "revert", RevertCommand(optimization="o-later", reason="mark"))
    told = await said(rig, "reverted", Reverted)
    assert [each.optimization for each in told] == ["o-later"]


async def asked(rig: Rig) -> SchedulerState:
    subject = rig.bus.subjects.endpoint("executor", "revert", HOST)
    return await rig.bus.ask(subject, RevertRequest(reason="no"), SchedulerState, timeout_s=10)


async def test_a_planner_does_not_take_back_what_was_promoted(
    rig: Rig, deploy: DeployCommand
) -> None:
    await placed(rig, deploy)
    await seal(rig, deploy)
    assert rig.reports[-1].sealed
    await refused(rig, "o1")
    assert (await rig.kernel.state()).ours is not None
    assert rig.steering.kept == "o1"


async def test_an_operator_does(rig: Rig, deploy: DeployCommand) -> None:
    await placed(rig, deploy)
    await seal(rig, deploy)
    assert (await asked(rig)).state == "disabled"
    assert not rig.steering.books.sealed
    assert rig.steering.kept == ""


async def test_the_kernel_does(rig: Rig, deploy: DeployCommand) -> None:
    await placed(rig, deploy)
    await seal(rig, deploy)
    rig.kernel.lose(ExitKind.STALL)
    await said(rig, "reverted", Reverted)
    assert rig.steering.kept == ""
    assert not rig.steering.books.sealed


async def test_a_planner_takes_back_what_nobody_has_sealed(rig: Rig, deploy: DeployCommand) -> None:
    """Harm, silence, a budget that ran out: nothing waits for a judge then."""
    await placed(rig, deploy)
    await send(rig, "revert", RevertCommand(optimization="o1", reason="a cohort did worse"))
    await said(rig, "reverted", Reverted)
    assert rig.steering.kept == ""


@pytest.mark.parametrize("other", ["artifact", "parameters", "optimization"])
async def test_what_the_judge_has_not_seen_is_not_sealed(
    rig: Rig, deploy: DeployCommand, other: str
) -> None:
    """Under the name of a promoted optimization something else was deployed."""
    await placed(rig, deploy)
    judged = Loadable.of(deploy)
    command = {
        "artifact": SealCommand(optimization="o1", tried=replace(judged, artifact="f" * 64)),
        "parameters": SealCommand(optimization="o1", tried=replace(judged, parameters={})),
        "optimization": SealCommand(optimization="o2", tried=judged),
    }[other]
    await send(rig, "seal", command)
    await send(rig, "revert", RevertCommand(optimization="o1", reason="it is another one"))
    assert (await said(rig, "reverted", Reverted))[0].optimization == "o1"
    assert rig.steering.kept == ""


async def test_the_next_promotion_has_a_seal_of_its_own(rig: Rig, deploy: DeployCommand) -> None:
    await placed(rig, deploy)
    await seal(rig, deploy)
    await send(rig, "deploy", replace(deploy, optimization="o2"))
    await said(rig, "deployed", Deployed, 2)
    assert rig.steering.kept == "o2"
    assert not rig.steering.books.sealed
    await send(rig, "revert", RevertCommand(optimization="o2", reason="it did harm"))
    await said(rig, "reverted", Reverted)
    assert rig.steering.kept == ""


async def test_it_holds_over_a_restart(rig: Rig, deploy: DeployCommand, tmp_path: Path) -> None:
    await placed(rig, deploy)
    await seal(rig, deploy)
    later = await again(rig, tmp_path, INVENTORY)
    assert later.steering.books.sealed
    await refused(later, "o1")
    assert later.steering.kept == "o1"
    await later.stop()


def test_the_journal_keeps_a_seal_only_with_what_it_is_of(deploy: DeployCommand) -> None:
    books = Books()
    kept = Kept(deploy, "boot", 1)
    for entry in (Sealed("o1"), kept):
        books.note(entry)
    assert not books.sealed
    books.note(Sealed("o1"))
    replayed = Books()
    for entry in books.worth_keeping():
        replayed.note(entry)
    assert replayed.sealed
    replayed.note(Dropped("an operator's order"))
    assert not replayed.sealed
    assert not any(isinstance(entry, Sealed) for entry in replayed.worth_keeping())
