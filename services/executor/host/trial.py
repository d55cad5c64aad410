"""One trial: paired rounds, a candidate against the kernel's default, one run at a time.

The executor switches the scheduler, the observer runs and measures the workload. Each pair is
journaled before it is published, so that a restarted executor goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

import structlog

from services.executor.host import convert
from services.executor.host.books import RoundDone
from services.executor.loader.failures import EnableFailedError
from shared import attributes as names
from shared.errors import (
    AttachError,
    CoxswainError,
    ForeignSchedulerError,
    VerifierError,
    WorkloadError,
)
from shared.messages import (
    Cost,
    ExitRecord,
    Measurement,
    MeasureRequest,
    Round,
    TrialCommand,
    TrialEnd,
    TrialEnded,
)
from shared.schedule import order, workload_seed
from shared.telemetry import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.executor.host.steering import Steering

log = structlog.get_logger(__name__)

Side = Literal["A", "B"]


class Stopped(Exception):  # noqa: N818 - not an error
    """Somebody asked for the trial's end."""


class Trial:
    """A trial while it runs on this host."""

    def __init__(
        self,
        command: TrialCommand,
        steering: Steering,
        measure: Callable[[MeasureRequest], Awaitable[Measurement]],
        tell: Callable[[Round], Awaitable[None]],
        attempt: int,
    ) -> None:
        self.command = command
        self._steering = steering
        self._measure = measure
        self._tell = tell
        # A run that was cut off in an earlier attempt may have seen two schedulers: the observer
        # must not answer with it.
        self._attempt = attempt
        self._stop = asyncio.Event()
        self._gap_ns = 0

    def stop(self) -> None:
        """End after what runs now has been taken down; the current pair is thrown away."""
        self._stop.set()

    async def run(self, artifact: bytes) -> TrialEnded:
        """Run what is left of the trial; the host is back on what it kept, whatever happened."""
        started = time.monotonic()
        end: TrialEnd = "completed"
        problem: CoxswainError | None = None
        log_text = ""
        exit_record: ExitRecord | None = None
        books = self._steering.books
        try:
            done = books.rounds.get(self.command.trial, {})
            for pair in sorted(done):
                await self._tell(done[pair])
            for index in range(len(done), self.command.spec.max_pairs):
                self._check_stop()
                await self._pair(index, artifact)
        except Stopped:
            end = "stopped"
        except VerifierError as error:
            end, problem, log_text = "verifier", error, error.log
        except ForeignSchedulerError as error:
            end, problem = "foreign", error
        except EnableFailedError as error:
            end, problem = "attach", error
            exit_record = convert.exit_record(error.exit_record)
        except AttachError as error:
            end, problem = "attach", error
        except FaultError as error:
            end, problem, exit_record = "fault", error, error.exit_record
        except WorkloadError as error:
            end, problem = "workload", error
        finally:
            await self._steering.restore("the trial is over")
        return TrialEnded(
            optimization=self.command.optimization,
            trial=self.command.trial,
            host=self._steering.host,
            end=end,
            pairs=len(books.rounds.get(self.command.trial, {})),
            problem=problem.problem if problem is not None else None,
            exit_record=exit_record,
            verifier_log=log_text,
            cost=Cost(wall_s=time.monotonic() - started),
        )

    async def _pair(self, index: int, artifact: bytes) -> None:
        command = self.command
        started = time.monotonic()
        sequence = order(command.seed, command.trial, index)
        seed = workload_seed(command.seed, command.trial, index)
        measured: dict[Side, dict[str, float]] = {}
        counters: dict[str, int] = {}
        for side in sequence:
            metrics, counted = await self._side("A" if side == "A" else "B", index, seed, artifact)
            measured["A" if side == "A" else "B"] = metrics
            if side == "B":
                counters = counted
        done = Round(
            optimization=command.optimization,
            trial=command.trial,
            host=self._steering.host,
            index=index,
            order=sequence,
            seed=seed,
            baseline=measured["A"],
            candidate=measured["B"],
            counters=counters,
            gap_ns=self._gap_ns,
            seconds=time.monotonic() - started,
            spec=command.spec,
        )
        self._steering.write(RoundDone(done))
        await self._tell(done)
        metric = command.spec.objective.metric
        baseline, candidate = done.baseline[metric], done.candidate[metric]
        ratio = candidate / baseline if baseline else 0.0
        event(
            "round.measured",
            {
                names.ROUND_INDEX: index,
                names.ROUND_ORDER: sequence,
                names.ROUND_BASELINE: baseline,
                names.ROUND_CANDIDATE: candidate,
                names.ROUND_RATIO: ratio,
            },
        )
        log.info("trial.round_measured", trial=command.trial, index=index, ratio=round(ratio, 4))

    async def _side(
        self, side: Side, index: int, seed: int, artifact: bytes
    ) -> tuple[dict[str, float], dict[str, int]]:
        """One side of a pair: switch, let the host settle, measure."""
        command = self.command
        before: dict[str, int] = {}
        if side == "A":
            await self._steering.clear(f"baseline of pair {index}")
        else:
            self._gap_ns = await self._steering.load(
                artifact, command.policy, command.parameters, "trial", command.optimization
            )
            before = await self._steering.scheduler.counters()
        await self._pause(command.washout_s)
        measurement = await self._measure(
            MeasureRequest(
                workload=command.workload,
                seed=seed,
                measurement=f"{command.trial}-{index}-{side}-{self._attempt}",
            )
        )
        counters: dict[str, int] = {}
        if side == "B":
            after = await self._steering.scheduler.counters()
            # A largest value stays one; everything else counts what this run added.
            counters = {
                name: value if name.endswith("_max_ns") else value - before.get(name, 0)
                for name, value in after.items()
            }
            await self._check_still_there()
        self._check_stop()
        if measurement.problem is not None:
            under = command.policy if side == "B" else "the kernel's default"
            raise WorkloadError(
                f"{command.workload} failed under {under}: {measurement.problem}",
                advice="Run it by hand on the host: `cox lab shell`.",
            )
        if command.spec.objective.metric not in measurement.metrics:
            raise WorkloadError(
                f"{command.workload} did not measure the objective",
                expected=command.spec.objective.metric,
                got=", ".join(measurement.metrics) or "nothing",
            )
        return measurement.metrics, counters

    async def _check_still_there(self) -> None:
        departure = await self._steering.departed()
        if departure is not None:
            raise FaultError(
                f"the kernel let go of {self.command.policy}: {departure.diagnosis.words}",
                convert.departure(departure),
            )

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped

    async def _pause(self, seconds: float) -> None:
        """The washout after a switch; a stop ends it at once."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise Stopped


class FaultError(CoxswainError):
    """The candidate's scheduler left by itself in the middle of its trial."""

    def __init__(self, what: str, exit_record: ExitRecord | None) -> None:
        super().__init__(what, advice="The host is back on the kernel's default.")
        self.exit_record = exit_record


def refused(command: TrialCommand, host: str, end: TrialEnd, error: CoxswainError) -> TrialEnded:
    """The end of a trial that could not begin."""
    return TrialEnded(
        optimization=command.optimization,
        trial=command.trial,
        host=host,
        end=end,
        pairs=0,
        problem=error.problem,
    )
