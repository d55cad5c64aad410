"""The frame's promise on a real kernel: adversarial hooks, a heavy load, a victim."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import pytest_asyncio

from services.executor.gate import Accepted, BuildRequest, Workshop, build
from services.executor.host.exits import HOTPLUG, RESTART, ExitKind
from services.executor.siege import Measured, Orders
from shared.microvm import Microvm, ensure_image
from tests.bpf.fixtures.policies import manifest
from tests.proofs.adversaries import ADVERSARIES

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.asyncio(loop_scope="session"),
]

IN_GUEST = "tests/proofs"
LONG = bool(os.environ.get("COX_LONG"))
CPUS = [2, 1, 4] if LONG else [2]
SECONDS = 30 if LONG else 5
Siege = Callable[..., Awaitable[Measured]]


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=CPUS)
async def siege(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Siege]:
    """Besieges an adversary's policy, in a guest that all tests here share."""
    folder = tmp_path_factory.mktemp("adversaries")
    workshop = Workshop(cache=folder)
    files = {}
    for name, source in ADVERSARIES.items():
        built = build(BuildRequest(manifest=manifest(name), source=source), workshop)
        assert isinstance(built, Accepted), built
        (folder / f"{name}.o").write_bytes(built.object)
        files[f"{IN_GUEST}/{name}.o"] = folder / f"{name}.o"
    async with Microvm(
        await ensure_image(), name="siege", cpus=request.param, files=files, network=False
    ) as guest:

        async def run(adversary: str, *, hotplug: bool = False) -> Measured:
            orders = msgspec.json.encode(Orders(seconds=SECONDS, hotplug=hotplug)).decode()
            artifact = f"/opt/coxswain/src/{IN_GUEST}/{adversary}.o"
            code, output = await guest.run(
                ["python3", "-m", "services.executor.siege", artifact, orders],
                timeout_s=300 + 4 * SECONDS,
            )
            assert code == 0, output
            facts = output.splitlines()[-1]
            print(f"{request.param} CPUs, {adversary}: {facts}")  # noqa: T201
            return msgspec.json.decode(facts, type=Measured)

        yield run


@pytest.mark.parametrize("adversary", ADVERSARIES)
async def test_the_promise_holds_under_siege(siege: Siege, adversary: str) -> None:
    facts = await siege(adversary)
    assert facts.attached, facts
    assert facts.exit is not None
    assert facts.exit.kind == ExitKind.UNREG, facts
    assert facts.counters["wait_max_ns"] < manifest(adversary).wait_bound_ns
    assert facts.crowd is not None
    # Nobody starves. Its cgroup's weight entitles the victim to more than any hog gets; whatever
    # hooks do, half of a hog's share is left to it; in three seconds, which are a handful of turns
    # on an emulated machine, a quarter.
    hogs = [used for name, used in facts.crowd.used_s.items() if not name.startswith("victim")]
    (victim,) = (used for name, used in facts.crowd.used_s.items() if name.startswith("victim"))
    assert all(used > 0 for used in hogs), facts
    assert victim > sum(hogs) / len(hogs) * (0.5 if LONG else 0.25), facts
    assert facts.state == "disabled"
    assert facts.on_default


@pytest.mark.parametrize("siege", [cpus for cpus in CPUS if cpus > 1], indirect=True)
async def test_a_cpu_that_leaves_under_siege_is_a_benign_reload(siege: Siege) -> None:
    facts = await siege("random", hotplug=True)
    assert facts.left_at_hotplug, facts
    assert facts.exit is not None
    assert facts.exit.kind == ExitKind.UNREG_KERN, facts
    assert facts.exit.code & (RESTART | HOTPLUG) == RESTART | HOTPLUG
    assert facts.state == "disabled"
    assert facts.came_again
