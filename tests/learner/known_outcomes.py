"""Makes profiles, hosts and outcomes for the learner's memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal

import msgspec

from services.learner.memory import Memory
from services.learner.repository import Repository
from shared.fingerprint import fingerprint
from shared.messages import Built, Fingerprint, Inventory, Objective, Outcome, Profile, Remembered
from shared.outcomes import sound
from shared.policies import Catalogue

INVENTORY = Inventory(
    host="lab-1",
    machine_id="m1",
    boot_id="b1",
    kernel="7.3.4-cloud-amd64",
    arch="x86_64",
    cpus=2,
    cpu_model="QEMU Virtual CPU",
    virtualization="qemu",
)
PROFILE = Profile(
    host="lab-1",
    workload="wakeup",
    features={"wakeups_per_s": 900.0, "run_length_us": 80.0},
    workload_class="latency",
    confidence=0.9,
    summary="Many short runs.",
)
OBJECTIVE = Objective(metric="p99_ms", direction="lower")
HERE = fingerprint(PROFILE, INVENTORY, OBJECTIVE)


def elsewhere(
    *,
    kernel: str = HERE.kernel,
    cpus: int = 2,
    arch: str = "x86_64",
    workload_class: str = "latency",
    objective: str = HERE.objective,
    beside: tuple[str, ...] = (),
    against: str = "",
) -> Fingerprint:
    return msgspec.structs.replace(
        HERE,
        kernel=kernel,
        workload_class=workload_class,
        objective=objective,
        beside=beside,
        against=against,
        hardware=msgspec.structs.replace(HERE.hardware, cpus=cpus, arch=arch),
    )


def outcome(
    policy: str = "latency",
    verdict: Literal["promote", "revert", "inconclusive"] = "promote",
    ratio: float = 0.5,
    *,
    pairs: int = 8,
    at: int = 1,
    optimization: str = "o1",
    of: Fingerprint = HERE,
    slice_ns: int = 1_000_000,
    features: dict[str, float] | None = None,
    host: str = "lab-1",
) -> Outcome:
    return Outcome(
        fingerprint=of,
        workload="wakeup",
        policy=policy,
        version="1",
        parameters={"slice_ns": slice_ns},
        verdict=verdict,
        ratio=ratio,
        low=ratio * 0.9,
        high=ratio * 1.1,
        pairs=pairs,
        predicted_ratio=0.6,
        optimization=optimization,
        unix_ns=at,
        features=PROFILE.features if features is None else features,
        host=host,
    )


def told(*outcomes: Outcome) -> Remembered:
    return Remembered(optimization=outcomes[0].optimization, outcomes=list(outcomes))


def take(into: Memory | Repository, *events: Remembered) -> list[str]:
    """What is sound is taken in, as by the service. What was refused, and why."""
    refused = []
    for event in events:
        outcomes, why = sound(event, time.time_ns())
        into.take(outcomes)
        refused += why
    return refused


def memory_of(*events: Remembered) -> Memory:
    memory = Memory()
    take(memory, *events)
    return memory


def repository_of(*outcomes: Outcome, builds: Iterable[Built] = ()) -> Repository:
    repository = Repository(Catalogue.load())
    take(repository, *(told(each) for each in outcomes))
    for build in builds:
        repository.built(build)
    return repository
