"""What an outcome holds for: workload behaviour, hardware, kernel, company; not what varies.

The same workload on the same host gives the same fingerprint at every run, so nothing
measured goes in but the workload's class.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from shared.messages import Direction, Fingerprint, Hardware

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.messages import Inventory, Objective, Profile


def fingerprint(
    profile: Profile,
    inventory: Inventory,
    objective: Objective,
    *,
    beside: Iterable[str] = (),
    against: str = "",
) -> Fingerprint:
    """The fingerprint of a profiled workload on a host, under one objective.

    `beside` are its neighbours; `against` is the policy that its ratios are relative to.
    """
    return Fingerprint(
        workload_class=profile.workload_class,
        objective=objective_of(objective),
        hardware=hardware(inventory),
        kernel=inventory.kernel,
        beside=tuple(sorted(beside)),
        against=against,
    )


def objective_of(objective: Objective) -> str:
    """An objective as a fingerprint says it: metric and direction."""
    return f"{objective.metric}:{objective.direction}"


def hardware(inventory: Inventory) -> Hardware:
    """What of a host decides how a policy does, but for its kernel."""
    return Hardware(
        arch=inventory.arch,
        cpus=inventory.cpus,
        threads_per_core=inventory.threads_per_core,
        llcs=inventory.llcs,
        numa_nodes=inventory.numa_nodes,
        # Firmware pads the model's name with blanks.
        cpu_model=" ".join(inventory.cpu_model.split()),
        virtualization=inventory.virtualization,
    )


def direction(of: Fingerprint) -> Direction:
    """Which way the fingerprint's objective gets better."""
    return "higher" if of.objective.endswith(":higher") else "lower"


def key(of: Fingerprint) -> str:
    """A short stable name of a fingerprint: 16 hexadecimal digits."""
    canonical = msgspec.json.encode(of, order="deterministic")
    return hashlib.sha256(canonical).hexdigest()[:16]
