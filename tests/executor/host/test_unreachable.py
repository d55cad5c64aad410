"""A host whose queue of orders was deleted: nobody can tell it anything, though it is connected."""

from __future__ import annotations

import time

from msgspec.structs import replace

from shared.bus.provision import provision_host
from shared.messages import (
    DeployCommand,
    RevertCommand,
    Reverted,
    TrialEnded,
)
from tests.eventually import eventually
from tests.executor.host.conftest import HOST, Rig, trial_of
from tests.executor.host.test_deployments import placed, said, send
from tests.planner.world import SECOND


async def forget_host(rig: Rig) -> None:
    """Its shard of commands is deleted."""
    await rig.bus.js.delete_stream(rig.bus.subjects.stream("COMMANDS", HOST))


async def test_a_promotion_outlives_the_queue_for_its_lease_and_no_longer(
    rig: Rig, deploy: DeployCommand
) -> None:
    assert (await placed(rig, replace(deploy, lease_s=3.0))).problem is None
    await forget_host(rig)
    await eventually(lambda: rig.steering.books.kept is None)
    assert (await rig.kernel.state()).ours is None
    (reverted,) = await said(rig, "reverted", Reverted)
    assert "the queue of orders on the bus was away" in reverted.reason


async def test_within_its_lease_it_stays_and_orders_reach_it_again(
    rig: Rig, deploy: DeployCommand
) -> None:
    await placed(rig, replace(deploy, lease_s=3600.0))
    await forget_host(rig)
    await eventually(lambda: rig.executor._unreachable)
    await provision_host(rig.bus.js, rig.bus.subjects, HOST)
    await eventually(lambda: not rig.executor._unreachable)
    assert rig.steering.kept == "o1"
    await send(rig, "revert", RevertCommand(optimization="o1", reason="cancelled"))
    await eventually(lambda: not rig.steering.kept)
    assert rig.kernel.loads == ["coxswain_latency"]


async def test_a_trial_that_nobody_could_stop_ends(rig: Rig, deploy: DeployCommand) -> None:
    expires_unix_ns = time.time_ns() + 300 * SECOND
    trial = trial_of(deploy, washout_s=60.0, expires_unix_ns=expires_unix_ns)
    await send(rig, "trial", trial)
    # Whichever side is first: it has its token, and waits for the host to settle.
    await eventually(lambda: rig.executor._running and rig.steering.books.consumed)
    await forget_host(rig)
    (ended,) = await said(rig, "trial_ended", TrialEnded)
    assert ended.end == "interrupted"
    assert ended.problem is not None
    assert "queue of this host's orders is gone" in ended.problem.what
    assert (await rig.kernel.state()).ours is None


async def test_what_a_host_has_said_of_itself_is_said_again_when_it_was_lost(rig: Rig) -> None:
    said_before = len(rig.reports)
    await forget_host(rig)
    await provision_host(rig.bus.js, rig.bus.subjects, HOST)
    await eventually(lambda: len(rig.reports) > said_before)
