"""The sandbox on a real kernel: broken schedulers are found out, the repository's policies pass."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import astuple

from services.executor.gate import Accepted, BuildRequest, Workshop, build
from services.executor.gate.sandbox import Sandbox, judged
from services.executor.gate.sandbox.judge import void
from services.executor.gate.sandbox.pool import orders_for
from services.executor.loader.verified import MOST_INSTRUCTIONS
from services.executor.siege import Measured, Orders
from shared.microvm import ensure_image
from shared.policies import Catalogue
from tests.executor.sandbox.broken import BROKEN, broken, declared

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.asyncio(loop_scope="session"),
]

LONG = bool(os.environ.get("COX_LONG"))
CPUS = [2, 1, 4, 16] if LONG else [2]
FRAMES = list(BROKEN) if LONG else ["stalls", "grudges"]
POLICIES = list(Catalogue.load()) if LONG else ["latency"]
QUICK = Orders(watchdog_ms=4000)
"""Whoever is to be ended by the watchdog need not be waited for so long."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(await ensure_image()) as sandbox:
        yield sandbox


async def besieged(sandbox: Sandbox, data: bytes, orders: Orders, cpus: int) -> Measured:
    seen = await sandbox.measure(data, orders, cpus=cpus, good=lambda measured: not void(measured))
    print(seen)  # noqa: T201
    return seen


@pytest.mark.parametrize("cpus", CPUS)
@pytest.mark.parametrize("name", FRAMES)
async def test_a_broken_scheduler_is_found_out(
    sandbox: Sandbox, tmp_path: Path, name: str, cpus: int
) -> None:
    if name == "idles" and cpus == 1:
        pytest.skip("its only CPU does not idle")
    orders = QUICK if name == "stalls" else orders_for(declared(name))
    seen = await besieged(sandbox, broken(name, tmp_path), orders, cpus)
    found = judged(seen, orders, declared(name).wait_bound_ns)
    rules = {reason.rule for reason in found.reasons}
    assert BROKEN[name] in rules, (found, seen)
    # Whatever it did, the kernel took itself back.
    assert seen.state == "disabled"
    assert seen.on_default
    assert name == "storms" or "return" not in rules, (found, seen)


@pytest.mark.parametrize("cpus", CPUS)
@pytest.mark.parametrize("name", POLICIES)
async def test_a_policy_of_the_repository_passes(
    sandbox: Sandbox, tmp_path: Path, name: str, cpus: int
) -> None:
    policy = Catalogue.load()[name]
    built = build(BuildRequest.of(policy), Workshop(cache=tmp_path))
    assert isinstance(built, Accepted), built
    orders = orders_for(policy.manifest)
    seen = await besieged(sandbox, built.object, orders, cpus)
    found = judged(seen, orders, policy.manifest.wait_bound_ns)
    assert not found.reasons, (found, seen)
    assert seen.counters["runs"] > 0
    assert found.evidence["sandbox_wait_max_ns"] > 0
    # Of every program of the frame, and none of them near the verifier's limit.
    assert {"cox_op_enqueue", "cox_op_dispatch"} <= seen.verified.keys()
    for program, each in seen.verified.items():
        assert None not in astuple(each), (program, each)
    assert found.evidence["verifier_insns_most"] < MOST_INSTRUCTIONS / 10


async def test_what_the_verifier_refuses_is_a_reason_and_no_trouble(sandbox: Sandbox) -> None:
    seen = await besieged(sandbox, b"no object at all", QUICK, 2)
    found = judged(seen, QUICK, declared("none").wait_bound_ns)
    assert [reason.rule for reason in found.reasons] == ["verifier"], found
