"""The frame's promises on a real kernel, under shipped policies and under hooks made to hurt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.executor.gate import Accepted, BuildRequest, Workshop, build
from shared.microvm import Microvm, ensure_image
from shared.policies import Catalogue
from tests.bpf.fixtures.policies import HARMLESS, manifest

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.asyncio(loop_scope="session"),
]

HERE = Path(__file__).parent
IN_GUEST = "tests/bpf"
UNREGISTERED = 64  # SCX_EXIT_UNREG
Run = Callable[[str, str, float], Awaitable[dict[str, Any]]]

REQUESTS = {name: BuildRequest.of(policy) for name, policy in Catalogue.load().items()} | {
    name: BuildRequest(manifest=manifest(name), source=source) for name, source in HARMLESS.items()
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    """Runs a scenario of in_guest.py under a policy, in a guest that all tests here share."""
    folder = tmp_path_factory.mktemp("policies")
    workshop = Workshop(cache=folder)
    files = {f"{IN_GUEST}/in_guest.py": HERE / "in_guest.py"}
    for name, request in REQUESTS.items():
        built = build(request, workshop)
        assert isinstance(built, Accepted), built
        (folder / f"{name}.o").write_bytes(built.object)
        files[f"{IN_GUEST}/{name}.o"] = folder / f"{name}.o"
    async with Microvm(await ensure_image(), name="bpf", files=files, network=False) as guest:

        async def scenario(name: str, policy: str, seconds: float) -> dict[str, Any]:
            there = f"/opt/coxswain/src/{IN_GUEST}"
            code, output = await guest.run(
                ["python3", f"{there}/in_guest.py", name, f"{there}/{policy}.o", str(seconds)],
                timeout_s=240,
            )
            assert code == 0, output
            facts: dict[str, Any] = json.loads(output.splitlines()[-1])
            assert facts["attached"], facts
            assert facts["exit"]["kind"] == UNREGISTERED, facts
            assert facts["state"] == "disabled"
            return facts

        yield scenario


@pytest.mark.parametrize("policy", list(Catalogue.load()))
async def test_a_policy_runs_a_mixed_load_and_leaves_cleanly(run: Run, policy: str) -> None:
    facts = await run("mixed", policy, 3)
    counters = facts["counters"]
    assert counters["runs"] > 100
    assert counters["direct"] + counters["enqueue_shared"] + counters["enqueue_cpu"] > 100
    assert counters["yields"] > 0
    assert counters["stateless"] == 0
    assert sum(facts["histogram"]) == counters["runs"]


@pytest.mark.parametrize("policy", list(HARMLESS))
async def test_no_hook_makes_a_task_wait_beyond_the_bound(run: Run, policy: str) -> None:
    facts = await run("crowd", policy, 6)
    assert facts["counters"]["wait_max_ns"] < REQUESTS[policy].manifest.wait_bound_ns
    # Every third of the run every victim got on: nobody is still waiting at the end.
    assert all(ticks > 0 for part in facts["progress"] for ticks in part), facts["progress"]


async def test_the_frame_clamps_what_hostile_hooks_answer(run: Run) -> None:
    counters = (await run("crowd", "favours", 2))["counters"]
    assert counters["rank_clamped"] > 0
    assert counters["slice_clamped"] > 0
    assert counters["preempt_outranked"] > 0


async def test_a_storm_of_preemptions_is_capped(run: Run) -> None:
    facts = await run("crowd", "storm", 4)
    counters = facts["counters"]
    assert counters["preemptions"] > 0
    assert counters["preempt_too_soon"] + counters["preempt_outranked"] > 0


# Under longtail a job keeps its CPU for more than a second: shares show over many such turns.
@pytest.mark.parametrize(("policy", "seconds"), [("fair", 6), ("latency", 6), ("longtail", 40)])
async def test_cgroups_share_by_weight_whatever_the_policy(
    run: Run, policy: str, seconds: float
) -> None:
    used = (await run("weights", policy, seconds))["used"]
    assert 2.2 < used["heavy"] / used["light"] < 7, used


@pytest.mark.parametrize("policy", ["fifo", "throughput", "storm"])
async def test_affinity_is_respected_and_pinned_tasks_run(run: Run, policy: str) -> None:
    facts = await run("affinity", policy, 2)
    assert facts["seen"][:4] == [[0], [0], [1], [1]]
    assert all(ticks > 0 for ticks in facts["ticks"])


@pytest.mark.parametrize("policy", ["fifo", "throughput"])
async def test_no_cpu_idles_beside_a_task_that_could_run_there(run: Run, policy: str) -> None:
    facts = await run("idle_cpus", policy, 3)
    assert all(ticks > 0 for ticks in facts["ticks"])
    # CPUs, of two: both hogs on one of them would leave the other idle, and this at 1.
    assert facts["idle"] < 0.25, facts
