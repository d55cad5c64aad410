"""The observer on the bus: profiles a workload, runs and measures it, says what its host is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Protocol

import structlog
from msgspec.structs import replace

from services.observer.deepening import PREPARE_S, READ_S, deepened_by, reading_in_words
from services.observer.inventory import inventory
from services.observer.profile import profile_workload
from services.observer.runner import WorkloadRunner
from services.observer.vitals import vitals
from shared import attributes as names
from shared.errors import CoxswainError
from shared.expiry import expired
from shared.messages import (
    Cost,
    Deepened,
    DeepenRequest,
    Inventory,
    Measurement,
    MeasureRequest,
    PreparedProbe,
    PrepareProbe,
    ProbeCommand,
    Probed,
    ProbeRun,
    Profile,
    ProfileCommand,
    Profiled,
    RunProbe,
    Vitals,
)
from shared.metrics import declared
from shared.workloads import Catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from services.observer.deepening import Watch
    from shared.bus import Bus, Delivery
    from shared.probes import ProbeReading
    from shared.settings import Settings
    from shared.telemetry import Telemetry

INVENTORY_S = 30.0
"""How often a host looks at what it is: kernels are changed and CPUs taken away."""
RETELL_S = 600.0
"""How often it says so without news: somebody may have removed what it said."""

log = structlog.get_logger(__name__)


class Eyes(Protocol):
    """What the observer needs of a machine. `HostEyes` looks at the one that it runs on."""

    def inventory(self) -> Inventory:
        """What the host is now."""
        ...

    def vitals(self) -> Vitals | None:
        """The kernel's counters now; None where they cannot be read."""
        ...

    async def measure(
        self, workload: str, seed: int, measurement: str, beside: Sequence[str] = ()
    ) -> Measurement:
        """Run a workload once, with its neighbours, and measure all of them."""
        ...

    async def profile(
        self, workload: str, seed: int, here: Inventory, beside: Sequence[str] = ()
    ) -> Profile:
        """Run a workload once and say how it behaves beside these. Raises CoxswainError."""
        ...

    async def deepen(
        self, workload: str, seed: int, watch: Watch, beside: Sequence[str] = ()
    ) -> tuple[ProbeReading, dict[str, float]]:
        """Run a workload once with a probe attached: what it saw, and the workload's metrics.

        `watch` attaches it to a control group for a while. Raises CoxswainError.
        """
        ...


class HostEyes:
    """Looks at this machine, and runs workloads on it."""

    def __init__(self, host: str, state_dir: Path, labels: Mapping[str, str]) -> None:
        self._host = host
        self._labels = labels
        self._catalogue = Catalogue.load()
        self._runner = WorkloadRunner(self._catalogue, state_dir / "workloads")

    def inventory(self) -> Inventory:
        """What this machine is now."""
        return inventory(self._host, labels=self._labels)

    def vitals(self) -> Vitals | None:
        """The kernel's counters now; None where they cannot be read."""
        return vitals()

    async def measure(
        self, workload: str, seed: int, measurement: str, beside: Sequence[str] = ()
    ) -> Measurement:
        """Run a workload once, with its neighbours, and measure all of them."""
        return await self._runner.measure(workload, seed, measurement, beside)

    async def profile(
        self, workload: str, seed: int, here: Inventory, beside: Sequence[str] = ()
    ) -> Profile:
        """Run a workload once and say how it behaves beside these. Raises CoxswainError."""
        main, *others = (self._catalogue[name] for name in (workload, *beside))
        return await profile_workload(self._runner, main, seed, self._host, here, others)

    async def deepen(
        self, workload: str, seed: int, watch: Watch, beside: Sequence[str] = ()
    ) -> tuple[ProbeReading, dict[str, float]]:
        """Run a workload once with a probe attached: what it saw, and the workload's metrics."""
        main, *others = (self._catalogue[name] for name in (workload, *beside))
        return await deepened_by(watch, self._runner, main, seed, others)


class Observer:
    """One host's observer on the bus."""

    def __init__(self, host: str, bus: Bus, telemetry: Telemetry, eyes: Eyes) -> None:
        self._host = host
        self._bus = bus
        self._telemetry = telemetry
        self._eyes = eyes

    async def start(self) -> None:
        """Serve this host."""
        self._telemetry.metrics.expose(*declared.OBSERVER)
        subjects = self._bus.subjects
        await self._bus.serve(
            subjects.endpoint("observer", "measure", self._host),
            MeasureRequest,
            self._measure,
            queue=self._host,
        )
        await self._bus.serve(
            subjects.endpoint("observer", "deepen", self._host),
            DeepenRequest,
            self._deepen,
            queue=self._host,
        )
        self._bus.consume(
            "COMMANDS",
            subjects.consumer("observer", "host", self._host),
            {"profile": (ProfileCommand, self._profile), "probe": (ProbeCommand, self._probe)},
            host=self._host,
            concurrency=2,
        )

    async def _measure(self, request: MeasureRequest) -> Measurement:
        done = await self._eyes.measure(
            request.workload, request.seed, request.measurement, request.beside
        )
        outcome = "measured" if done.problem is None else "failed"
        self._telemetry.metrics.count(declared.MEASUREMENTS, outcome=outcome)
        return done

    async def _deepen(self, request: DeepenRequest) -> Deepened:
        """The executor loads the probe, for it alone may; we run what it is to watch."""
        began_s = time.monotonic()
        with self._telemetry.span(
            "deepen",
            of=request.probe,
            attributes={
                names.OPTIMIZATION_ID: request.optimization,
                names.WORKLOAD_NAME: request.workload,
                names.WORKLOAD_BESIDE: request.beside,
                names.PROBE_NAME: request.probe,
                names.SEED: request.seed,
            },
        ) as span:
            if (late := expired(request.expires_unix_ns)) is not None:
                raise late
            subjects = self._bus.subjects
            prepared = await self._bus.ask(
                subjects.endpoint("executor", "prepare", self._host),
                PrepareProbe(probe=request.probe),
                PreparedProbe,
                timeout_s=PREPARE_S,
            )

            async def watch(cgroup: str, seconds: float) -> ProbeReading:
                run = await self._bus.ask(
                    subjects.endpoint("executor", "probe", self._host),
                    RunProbe(session=prepared.session, cgroup=cgroup, seconds=seconds),
                    ProbeRun,
                    timeout_s=seconds + READ_S,
                )
                return run.reading

            reading, metrics = await self._eyes.deepen(
                request.workload, request.seed, watch, request.beside
            )
            summary = reading_in_words(reading)
            cost = Cost(
                wall_s=time.monotonic() - began_s,
                cpu_s=reading.cost.cpu_s + reading.cost.kernel_s,
            )
            span.set(
                {
                    names.DECISION_WHY: summary,
                    names.COST_WALL_S: cost.wall_s,
                    names.COST_CPU_S: cost.cpu_s,
                }
            )
        return Deepened(
            optimization=request.optimization,
            host=self._host,
            workload=request.workload,
            reading=reading,
            summary=summary,
            metrics=metrics,
            cost=cost,
        )

    async def _probe(self, command: ProbeCommand, _delivery: Delivery) -> None:
        """The kernel's counters now; a moment that is over cannot be looked at."""
        late = expired(command.expires_unix_ns) is not None
        probed = Probed(
            optimization=command.optimization,
            host=self._host,
            mark=command.mark,
            vitals=None if late else self._eyes.vitals(),
        )
        await self._bus.publish(
            self._bus.subjects.event("observer", "probed", command.optimization, self._host),
            probed,
            message_id=f"{command.optimization}-probed-{command.mark}-{self._host}",
        )

    async def _profile(self, command: ProfileCommand, delivery: Delivery) -> None:
        with self._telemetry.span(
            "observe",
            of=self._host,
            attributes={
                names.OPTIMIZATION_ID: command.optimization,
                names.WORKLOAD_NAME: command.workload,
                names.WORKLOAD_BESIDE: command.beside,
                names.SEED: command.seed,
                names.DELIVERIES: delivery.deliveries,
            },
        ) as span:
            here = self._eyes.inventory()
            try:
                if (late := expired(command.expires_unix_ns)) is not None:
                    raise late
                profile = await self._eyes.profile(
                    command.workload, command.seed, here, command.beside
                )
            except CoxswainError as error:
                span.fail(str(error), kind=type(error).__name__)
                profiled = Profiled(
                    optimization=command.optimization,
                    host=self._host,
                    inventory=here,
                    problem=error.problem,
                )
            else:
                span.set(
                    {
                        names.HOST_KERNEL: here.kernel,
                        names.WORKLOAD_CLASS: profile.workload_class,
                        names.WORKLOAD_CLASS_CONFIDENCE: profile.confidence,
                        names.DECISION_WHY: profile.summary,
                        names.COST_WALL_S: profile.cost.wall_s,
                        names.COST_CPU_S: profile.cost.cpu_s,
                    }
                )
                profiled = Profiled(
                    optimization=command.optimization,
                    host=self._host,
                    inventory=here,
                    profile=profile,
                )
        outcome = "profiled" if profiled.problem is None else "failed"
        self._telemetry.metrics.count(declared.PROFILES, outcome=outcome)
        await self._bus.publish(
            self._bus.subjects.event("observer", "profiled", command.optimization, self._host),
            profiled,
            message_id=f"{command.optimization}-profiled-{self._host}",
        )


@contextlib.asynccontextmanager
async def observer(
    settings: Settings, bus: Bus, telemetry: Telemetry, eyes: Eyes | None = None
) -> AsyncIterator[None]:
    """Observe this host while the context is open.

    `eyes` look at another machine than this one (bench/hosts).
    """
    records = await bus.records("hosts", Inventory)
    eyes = eyes or HostEyes(settings.host, settings.state_dir, settings.labels)

    said: Inventory | None = None
    said_s = 0.0

    def forget() -> None:
        nonlocal said
        said = None

    async def introduce() -> None:
        nonlocal said, said_s
        while True:
            now = replace(eyes.inventory(), unix_ns=0)
            # Little but news: it is kept on a disk, by each server of a cluster.
            if now != said or time.monotonic() - said_s >= RETELL_S:
                try:
                    await records.put(
                        f"{settings.host}.inventory", replace(now, unix_ns=time.time_ns())
                    )
                    said, said_s = now, time.monotonic()
                except Exception as error:  # noqa: BLE001 - the bus may be away; the next time counts
                    log.warning("inventory.not_sent", problem=repr(error))
            await asyncio.sleep(INVENTORY_S)

    # It may be another server that we are connected to then, which knows nothing of us.
    bus.on_return(forget)
    # And it may be another bucket that does not.
    bus.footing.on_change(forget)
    await Observer(settings.host, bus, telemetry, eyes).start()
    introducing = asyncio.create_task(introduce())
    try:
        yield
    finally:
        bus.on_return(forget, no_more=True)
        bus.footing.on_change(forget, no_more=True)
        introducing.cancel()
        await asyncio.gather(introducing, return_exceptions=True)
