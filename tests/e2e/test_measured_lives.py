"""Pairs for `cox bench compare`: measured once on a real host, known from then on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.comparing.hosts import BrokenTrialError
from bench.comparing.lab import LabHost, machine, read_profile
from bench.comparing.rounds import Ledger
from shared.messages import BuildCommand, Inventory, TrialCommand, TrialSpec
from shared.policies import Catalogue as Policies
from shared.workloads import Catalogue as Workloads
from tests.e2e.fleet import Fleet

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet of its own, as a bench has it: on another one, planners have claimed the host."""
    with Fleet(tmp_path_factory.mktemp("fleet")).up(1) as fleet:
        yield fleet


async def test_a_pair_is_measured_once_and_a_broken_trial_is_told(
    fleet: Fleet, tmp_path: Path
) -> None:
    workloads, policy = Workloads.load(), Policies.load()["latency"]
    ledger, profiles = tmp_path / "rounds.jsonl", tmp_path / "profiles"
    async with fleet.bus() as bus:
        kept = await (await bus.records("hosts", Inventory)).get("lab-1.inventory")
        assert kept is not None
        here = machine(kept.value)

        def opened() -> LabHost:
            return LabHost(bus, kept.value, workloads, Ledger(ledger, here), profiles)

        host = opened()
        profiled = await host.profile("pulse")
        assert profiled.profile is not None
        built = await host.build(BuildCommand(optimization="o1", policy=policy.name))
        assert built.artifact is not None, built
        command = TrialCommand(
            optimization="o1",
            trial="o1-t1",
            policy=policy.name,
            version=policy.manifest.version,
            parameters=policy.manifest.defaults,
            artifact=built.artifact,
            workload="pulse",
            spec=TrialSpec(objective=workloads["pulse"].objective, stage="screen", max_pairs=1),
            seed=1,
        )
        first = [each async for each in host.rounds(command, 0)]
        again = opened()
        second = [each async for each in again.rounds(command, 0)]
        unloadable = TrialCommand(
            **{
                **{name: getattr(command, name) for name in command.__struct_fields__},
                "parameters": dict.fromkeys(policy.manifest.defaults, 0),
            }
        )
        with pytest.raises(BrokenTrialError):
            await anext(again.rounds(unloadable, 0))
    assert (len(first), host.measured, again.measured) == (1, 1, 0)
    assert second == first
    assert first[0].baseline.keys() == first[0].candidate.keys() == workloads["pulse"].units.keys()
    on_disk = read_profile(profiles / "pulse.json")
    assert on_disk is not None
    assert on_disk.profiled.profile == profiled.profile
    assert on_disk.profiled.inventory is not None
    assert on_disk.profiled.inventory.machine_id == ""
