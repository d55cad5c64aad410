"""The guard's unit on a real kernel, in a lab guest: nothing here has a bus."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from shared.microvm import Microvm, ensure_image
from tests.executor.guard.guest import PLACE, files_for_guest

pytestmark = [pytest.mark.kernel, pytest.mark.asyncio(loop_scope="session")]

SCHED_OTHER, SCHED_FIFO = 0, 1
Scenario = Callable[[str], Awaitable[dict[str, Any]]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scenario(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scenario]:
    """Runs one of in_guest.py's scenarios and returns what it saw."""
    files = files_for_guest(tmp_path_factory.mktemp("objects"))
    image = await ensure_image()
    async with Microvm(image, name="guarded", cpus=2, files=files, network=False) as guest:
        # They have no bus, and only cost time.
        await guest.run("systemctl stop cox-executor cox-observer", timeout_s=60)

        async def run(name: str) -> dict[str, Any]:
            code, output = await guest.run(
                ["python3", f"{PLACE}/in_guest.py", name, PLACE], timeout_s=300
            )
            assert code == 0, output
            facts: dict[str, Any] = json.loads(output.splitlines()[-1])
            return facts

        yield run


async def test_it_is_real_time_locked_and_without_any_capability(scenario: Scenario) -> None:
    seen = await scenario("guard_itself")
    assert (seen["policy"], seen["victim_policy"]) == (SCHED_FIFO, SCHED_OTHER)
    assert seen["oom"] == "-1000"
    assert seen["status"]["VmLck"] != "0 kB"
    assert int(seen["status"]["CapEff"], 16) == int(seen["status"]["CapBnd"], 16) == 0
    assert seen["status"]["NoNewPrivs"] == "1"


async def test_the_kernels_key_is_a_capital_s(scenario: Scenario) -> None:
    said = (await scenario("key"))["help"]
    assert "reset-sched-ext(S)" in said
    assert "sync(s)" in said


async def test_a_stopped_executor_is_killed_before_the_kernel_would_notice(
    scenario: Scenario,
) -> None:
    seen = await scenario("stopped")
    for note in seen["notes"]:
        assert (note["cause"], note["restored"]) == ("hang", True)
        assert note["steps"][0].startswith("SIGKILL")
        assert note["running"]["policy"] == "probe"
    # What the guard ended is not loaded again.
    assert seen["runs"] == "the kernel's default"


async def test_a_killed_executor_takes_its_scheduler_along(scenario: Scenario) -> None:
    assert None not in (await scenario("killed"))["back_s"]


async def test_a_policy_that_runs_nobody_is_ended_by_the_guard(scenario: Scenario) -> None:
    seen = await scenario("all_starve")
    assert seen["note"] is not None, seen
    assert seen["note"]["cause"] in {"starvation", "hang"}
    assert seen["note"]["steps"][-1] == "SysRq-S"
    assert seen["note"]["restored"] is True


async def test_the_probe_alone_is_enough(scenario: Scenario) -> None:
    seen = await scenario("probe_starves")
    assert seen["note"] is not None, seen
    assert seen["note"]["cause"] == "starvation"
    assert "under the default" in seen["note"]["reason"]
    assert seen["note"]["restored"] is True


async def test_a_killed_guard_comes_back_and_finds_its_executor(scenario: Scenario) -> None:
    seen = await scenario("guard_restarts")
    assert seen["alive"] is True
    assert "on guard" in seen["status"]["said"]
    assert "executor  pid" in seen["status"]["said"]


@pytest.mark.parametrize("way", ["guard_stays_away", "guard_is_stopped"])
async def test_without_its_guard_an_executor_lets_go_by_itself(
    scenario: Scenario, way: str
) -> None:
    seen = await scenario(way)
    assert seen["back_s"] is not None
    assert "unguarded" in seen["said"]
    assert seen.get("alive", True) is True
    assert seen.get("runs", "the kernel's default") == "the kernel's default"


async def test_root_gets_the_default_back_with_executor_and_guard_stopped(
    scenario: Scenario,
) -> None:
    seen = await scenario("both_stopped")
    assert seen["reverted"]["code"] == 0
    assert "directly" in seen["reverted"]["said"]
    assert seen["state"] == "disabled"
    assert (seen["note"]["cause"], seen["note"]["reason"]) == ("operator", "nothing answers")


async def test_root_gets_the_default_back_through_the_executor(scenario: Scenario) -> None:
    seen = await scenario("by_hand")
    assert "runs      coxswain_probe" in seen["before"]["said"]
    assert "the executor let go" in seen["reverted"]["said"]
    assert seen["state"] == "disabled"
    assert "I do not like it" in seen["said"]
    assert seen["alive"] is True
