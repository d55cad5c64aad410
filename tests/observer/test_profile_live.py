"""Real loads on this machine, run by the real runner and seen through the real /proc."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.observer.inventory import inventory
from services.observer.profile import profile_host, profile_workload
from services.observer.runner import WorkloadRunner
from shared.errors import WorkloadError
from shared.messages import Profile
from shared.workloads import Catalogue

OURS = Path(__file__).parent / "workloads"


async def watch(name: str, work: Path, *beside: str) -> Profile:
    catalogue = Catalogue.load(OURS)
    runner = WorkloadRunner(catalogue, work)
    others = [catalogue[each] for each in beside]
    return await profile_workload(runner, catalogue[name], 1, "here", inventory("here"), others)


async def test_hogs_are_seen_as_what_they_are(tmp_path: Path) -> None:
    profile = await watch("hogs", tmp_path)
    features = profile.features
    hogs = 2 * int(features["cpus_count"])
    assert profile.workload_class == "cpu-bound"
    assert features["job_count"] == hogs
    assert hogs / 2 < features["hog_count"] < hogs * 1.5
    assert features["hog_cpu_share"] > 0.8
    assert features["sleeper_cpu_share"] < 0.2
    assert profile.baseline == {"processes": float(hogs)}
    assert profile.cost.cpu_s > 0
    assert profile.cost.wall_s >= profile.seconds > 0
    assert f"{hogs} hogs" in profile.summary


async def test_sleepers_beside_hogs_are_told_apart(tmp_path: Path) -> None:
    profile = await watch("blinkers-beside-hogs", tmp_path)
    features = profile.features
    assert profile.workload_class == "latency-under-load"
    assert features["job_count"] == 2 * features["cpus_count"]
    assert features["sleeper_wakeups_per_s"] > 50
    assert features["sleeper_run_mean_ms"] < features["hog_run_mean_ms"]
    assert features["hog_cpu_share"] > features["sleeper_cpu_share"] > 0.01


async def test_processes_too_short_to_be_seen_still_count(tmp_path: Path) -> None:
    profile = await watch("spawners", tmp_path)
    assert profile.features["host_forks_per_s"] > 5
    assert profile.features["forks_spread_share"] > 0.3
    assert profile.features["hog_cpu_share"] < 0.5


async def test_what_only_sleeps_is_idle_on_a_busy_host_too(tmp_path: Path) -> None:
    profile = await watch("sleepers", tmp_path)
    assert profile.workload_class == "idle"
    assert profile.features["job_count"] == 0


async def test_a_load_that_alternates_is_seen_to(tmp_path: Path) -> None:
    profile = await watch("shifters", tmp_path)
    assert len(profile.phases) >= 2
    busy, idle = sorted(
        profile.phases[:2], key=lambda phase: phase.features["cpu_used_cpus"], reverse=True
    )
    assert busy.visits >= 2
    assert idle.visits >= 2
    assert busy.features["cpu_used_cpus"] > 3 * idle.features["cpu_used_cpus"]
    assert profile.features["phase_returns_count"] >= 2
    assert "It alternated between" in profile.summary


async def test_neighbours_run_beside_it_and_are_not_taken_for_it(tmp_path: Path) -> None:
    profile = await watch("sleepers", tmp_path, "hogs")
    assert profile.workload == "sleepers"
    assert profile.features["hog_count"] == 0
    assert profile.features["job_count"] == 0
    assert profile.features["cpu_used_cpus"] < 0.2
    assert profile.baseline.keys() == {"processes", "hogs.processes"}


async def test_a_workload_without_metrics_has_no_profile(tmp_path: Path) -> None:
    broken = tmp_path / "catalogue/broken/workload.toml"
    broken.parent.mkdir(parents=True)
    broken.write_text(
        'name = "broken"\nsummary = "Fails."\nclass = "idle"\nround_s = 1.0\ntimeout_s = 9.0\n'
        'command = ["false"]\n[objective]\nmetric = "none"\ndirection = "lower"\n'
    )
    catalogue = Catalogue.load(tmp_path / "catalogue")
    runner = WorkloadRunner(catalogue, tmp_path / "work")
    with pytest.raises(WorkloadError, match="exit code 1"):
        await profile_workload(runner, catalogue["broken"], 1, "here", inventory("here"))


async def test_a_profile_can_be_called_off(tmp_path: Path) -> None:
    watching = asyncio.create_task(watch("sleepers", tmp_path))
    await asyncio.sleep(1)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_a_host_can_be_watched_without_a_workload() -> None:
    profile = await profile_host(0.5, "here", inventory("here"))
    assert profile.workload == "host"
    assert profile.features["tasks_seen_count"] > 0
    assert profile.features["samples_count"] >= 2
    assert profile.baseline == {}
