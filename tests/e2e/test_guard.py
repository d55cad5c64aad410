"""An executor that hangs with a candidate in charge: its guard, a real kernel, the whole fleet."""

from __future__ import annotations

import pytest

from tests.e2e.fleet import HOST, Fleet, pulse_comes_to, scheduler, until, wait_for_phase

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(1800)]

STOP_UNDER_A_CANDIDATE = """
executor='[p]ython3 -m services.executor --role host'
enabled() { [ "$(cat /sys/kernel/sched_ext/state)" = enabled ]; }
while :; do
    if enabled; then
        pkill --signal STOP -f "$executor"
        if enabled; then exit 0; fi
        pkill --signal CONT -f "$executor"
    fi
    sleep 0.05
done
"""
"""A trial runs the default half of the time."""


async def test_a_hung_executor_is_ended_and_what_it_ran_is_not_loaded_again(fleet: Fleet) -> None:
    await fleet.ready()
    async with fleet.bus() as bus:
        identity = await pulse_comes_to(bus, "trying")
        async with fleet.guest(HOST) as guest:
            stopped = await guest.run(STOP_UNDER_A_CANDIDATE, timeout_s=240)
            assert stopped.exit_code == 0, stopped.output

        async def told() -> bool:
            return (await scheduler(bus, HOST)).quarantined != []

        # Its guard has ended it, systemd has started it, and it has heard why.
        await until(told, 240.0)
        now = await scheduler(bus, HOST)
        assert (now.ours, now.guarded) == (False, True)
        state = await wait_for_phase(bus, identity, "ended")
        assert state.terminal == "kept-default"
        (trial,) = state.trials
        assert trial.ended is not None
        assert trial.ended.end == "fault"
        assert "the guard ended it" in str(trial.ended.problem)
    reset = fleet.cox("hosts", "reset", HOST)
    assert reset.returncode == 0, reset.stderr
