"""A machine that is made up: what the host services ask of a kernel, answered without one.

Nothing is compiled into a kernel and nothing is run. A policy is in charge once it has been
applied, and a workload gets the metrics that its manifest promises: under the kernel's default
all of them are the same from run to run but for noise of a few percent, and under any policy the
objective is better by `GAIN`. So every trial has a clear winner, and every rollout its course.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from typing import TYPE_CHECKING

from bench.hosts.kernel import SimulatedKernel
from bench.hosts.ledger import Ledger
from services.executor.host.machine import Here
from shared.errors import MachineError
from shared.messages import Cost, Inventory, Measurement, Profile, Vitals
from shared.workloads import Catalogue, neighbours_metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.probes import ProbeReading

GAIN = math.log(2.0)
"""A policy halves an objective that should be low: a trial is clear after the fewest pairs."""
NOISE = 0.02


class Machine(SimulatedKernel):
    """One host's kernel and workloads. `kind` is what its hardware is called."""

    def __init__(
        self, host: str, kind: str, catalogue: Catalogue, ledger: Ledger | None = None
    ) -> None:
        super().__init__(ledger)
        self._host = host
        self._kind = kind
        self._catalogue = catalogue

    def here(self) -> Here:
        """The same, as its executor sees it."""
        known = self.inventory()
        return Here(
            host=known.host,
            machine_id=known.machine_id,
            boot_id=known.boot_id,
            kernel=known.kernel,
            btf_sha256="",
        )

    # What the observer asks: see services.observer.service.Eyes ---------------------------------

    def inventory(self) -> Inventory:
        """What the machine is."""
        return Inventory(
            host=self._host,
            machine_id=hashlib.sha256(self._host.encode()).hexdigest()[:32],
            boot_id="simulated",
            kernel="7.3.4-simulated",
            arch="x86_64",
            cpus=32,
            cpu_model=self._kind,
            threads_per_core=2,
            llcs=2,
            numa_nodes=2,
            memory_bytes=128 << 30,
            virtualization="simulated",
            sched_ext=True,
            unix_ns=time.time_ns(),
        )

    def vitals(self) -> Vitals:
        """Counters of a machine that is half busy and on which nobody waits for long."""
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return Vitals(boot_id="simulated", at_ns=now_ns, run_ns=16 * now_ns, wait_ns=now_ns)

    async def measure(
        self, workload: str, seed: int, measurement: str, beside: Sequence[str] = ()
    ) -> Measurement:
        """The metrics of one run, at once."""
        metrics = self._metrics(workload, seed, beside)
        return Measurement(measurement=measurement, metrics=metrics, seconds=0.0)

    async def profile(
        self, workload: str, seed: int, here: Inventory, beside: Sequence[str] = ()
    ) -> Profile:
        """A profile that fits the class in the workload's manifest."""
        manifest = self._catalogue[workload].manifest
        return Profile(
            host=here.host,
            workload=workload,
            # As many as a real profile has: they are what a profile weighs on the bus.
            features={f"simulated_feature_{number}": number / 3 for number in range(40)},
            workload_class=manifest.workload_class,
            confidence=0.9,
            summary=f"{workload} was not run: this host is made up, and so is its profile. "
            "It behaves as its manifest says, which is all that a planner needs to plan for it.",
            baseline=self._metrics(workload, seed, beside),
            cost=Cost(),
        )

    async def deepen(self, *_: object) -> tuple[ProbeReading, dict[str, float]]:
        """There is no kernel to probe. Raises MachineError."""
        raise MachineError("this host is made up: no probe can be attached to its kernel")

    def _metrics(self, workload: str, seed: int, beside: Sequence[str]) -> dict[str, float]:
        return self._own_metrics(workload, seed) | {
            neighbours_metric(name, metric): value
            for name in beside
            for metric, value in self._own_metrics(name, seed).items()
        }

    def _own_metrics(self, workload: str, seed: int) -> dict[str, float]:
        chosen = self._catalogue[workload]
        luck = random.Random(f"{self._host} {seed} {self._attached is None}")  # noqa: S311
        names = [measured.metric for measured in chosen.manifest.measured]
        logs = {metric: luck.gauss(0.0, NOISE) for metric in names}
        objective = chosen.objective
        if self._attached is not None:
            logs[objective.metric] += -GAIN if objective.direction == "lower" else GAIN
        return {metric: 100.0 * math.exp(log) for metric, log in logs.items()}
