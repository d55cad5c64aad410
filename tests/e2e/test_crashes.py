"""Whoever is killed, whenever: one terminal state, and the kernel runs what it says."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from shared.bus import Bus
from shared.messages import Budget, Ended, OptimizeRequest
from shared.optimization import Optimization
from tests.e2e.fleet import (
    HOST,
    Fleet,
    ask,
    facts,
    pulse_comes_to,
    scheduler,
    until,
    wait_for_phase,
)

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(1800),
]


@pytest.mark.parametrize(
    ("victim", "phase"),
    [
        ("planner", "profiling"),
        ("planner", "trying"),
        ("gate", "building"),
        ("learner", "trying"),
        ("learner", "remembering"),
        ("observer", "profiling"),
        ("observer", "trying"),
        ("executor", "trying"),
        ("executor", "deploying"),
        ("nats", "profiling"),
        ("nats", "trying"),
        ("nats", "deploying"),
    ],
)
async def test_a_kill_ends_in_a_terminal_state(fleet: Fleet, victim: str, phase: str) -> None:
    await fleet.ready()
    async with fleet.bus() as bus:
        identity = await pulse_comes_to(bus, phase)
        if victim in {"observer", "executor"}:
            await fleet.kill_on(HOST, victim)
        else:
            fleet.kill(victim)
        state = await wait_for_phase(bus, identity, "ended")
        assert state.terminal is not None
        await holds(bus, state)
        ends = await facts(bus, "planner", "ended", state.id, Ended)
        assert len(ends) == 1


async def holds(bus: Bus, state: Optimization) -> None:
    """The host's kernel is on the promoted policy, or on its default."""

    async def as_recorded() -> bool:
        now = await scheduler(bus, HOST)
        if state.terminal == "promoted":
            return now.state == "enabled" and now.ours and now.optimization == state.id
        earlier_promotion = now.purpose == "deployed" and now.optimization != state.id
        return now.state == "disabled" or earlier_promotion

    await until(as_recorded, 60.0)


async def test_with_the_bus_gone_the_host_goes_back_by_itself(fleet: Fleet) -> None:
    """The server is stopped, not killed: it answers nobody, and nobody starts it again."""
    await fleet.ready()
    fleet.cox("revert", "--all")
    async with fleet.bus() as bus:
        request = OptimizeRequest(
            workload="pulse",
            hosts=[HOST],
            policies=["latency"],
            budget=Budget(rounds=40, seconds=900),
        )
        reply = await ask(bus, request)

        async def steered() -> bool:
            return (await scheduler(bus, HOST)).state == "enabled"

        await wait_for_phase(bus, reply.optimization, "trying")
        await until(steered, 120.0)
    server = next(member for member in fleet.state.members if member.name == "nats")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        async with fleet.guest(HOST) as guest:

            async def default() -> bool:
                done = await guest.run("cat /sys/kernel/sched_ext/state", timeout_s=30)
                return done.output.strip() == "disabled"

            await until(default, 240.0)
            # Not for a moment between two rounds: it stays there while the bus is away.
            for _ in range(10):
                assert await default()
                await asyncio.sleep(0.5)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await fleet.ready()
    async with fleet.bus() as bus:
        state = await wait_for_phase(bus, reply.optimization, "ended")
        await holds(bus, state)
