"""One trial: paired rounds, a candidate against the baseline, one run at a time.

The baseline is the kernel's default; or, where the host keeps what was promoted for one of the
workload's neighbours, that: its gain would be lost unseen if the default were the measure.

The executor switches the scheduler, the observer runs and measures the workload. Each pair is
journaled before it is published, so that a restarted executor goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar, Literal

import structlog

from services.executor.host import convert
from services.executor.host.books import RoundDone
from services.executor.host.exits import ExitClass
from services.executor.host.journal import JournalError
from services.executor.host.safeguards import HeldBackError
from services.executor.host.tokens import GATE_S, Errand
from services.executor.loader.failures import EnableFailedError
from shared import attributes as names
from shared.errors import (
    CoxswainError,
    ForeignSchedulerError,
    MachineError,
    SchedulerError,
    TokenError,
    VerifierError,
    WorkloadError,
)
from shared.messages import (
    Cost,
    ExitRecord,
    Loadable,
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

    from services.executor.host.permit import Permit
    from services.executor.host.steering import Steering

log = structlog.get_logger(__name__)

Side = Literal["A", "B"]
DEFAULT = "the kernel's default"

LONGEST_S = 86_400.0
"""A request's budget is never more."""
OVERTIME_S = 60.0
"""Beyond a trial's own time: switching, and runs that end late."""


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
        leave: Callable[[], Awaitable[Permit]],
    ) -> None:
        self.command = command
        self._steering = steering
        self._leave = leave
        self._measure = measure
        self._tell = tell
        # A run that was cut off in an earlier attempt may have seen two schedulers: the observer
        # must not answer with it.
        self._attempt = attempt
        self._stop = asyncio.Event()
        self._broken: DisturbedError | None = None
        self._gap_ns = 0

    def stop(self) -> None:
        """End after what runs now has been taken down; the current pair is thrown away."""
        self._stop.set()

    def break_off(self, why: DisturbedError) -> None:
        """The same, but nobody has asked for it: the trial is interrupted."""
        if not self._stop.is_set():
            self._broken = why
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
            self._check_stop()
            permit = await self._leave()
            for index in range(len(done), self.command.spec.max_pairs):
                self._check_stop()
                await self._pair(index, artifact, permit)
        except Stopped:
            end = "stopped"
        except VerifierError as error:
            end, problem, log_text = "verifier", error, error.log
        except EnableFailedError as error:
            end, problem = "attach", error
            exit_record = convert.exit_record(error.exit_record)
        except (BrokenTrialError, HeldBackError) as error:
            end, problem = error.end, error
            exit_record = error.exit_record if isinstance(error, BrokenTrialError) else None
        except JournalError:
            raise  # what cannot be written down must not count: it comes again
        except (SchedulerError, MachineError, WorkloadError, TokenError) as error:
            end, problem = _end_of(error), error
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

    async def _pair(self, index: int, artifact: bytes, permit: Permit) -> None:
        command = self.command
        started = time.monotonic()
        sequence = order(command.seed, command.trial, index)
        seed = workload_seed(command.seed, command.trial, index)
        measured: dict[Side, dict[str, float]] = {}
        counters: dict[str, int] = {}
        for side in sequence:
            metrics, counted = await self._side(
                "A" if side == "A" else "B", index, seed, artifact, permit
            )
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
            tried=Loadable.of(command),
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
        self, side: Side, index: int, seed: int, artifact: bytes, permit: Permit
    ) -> tuple[dict[str, float], dict[str, int]]:
        """One side of a pair: switch, let the host settle, measure."""
        command = self.command
        before: dict[str, int] = {}
        if side == "A":
            await self._baseline(index)
        else:
            self._gap_ns = await self._steering.load(
                permit,
                artifact,
                command.policy,
                command.parameters,
                "trial",
                command.optimization,
            )
            before = await self._steering.scheduler.counters()
        await self._pause(command.washout_s)
        measurement = await self._measure(
            MeasureRequest(
                workload=command.workload,
                seed=seed,
                measurement=f"{command.trial}-{index}-{side}-{self._attempt}",
                beside=command.beside,
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
        await self._check_still_there(side)
        self._check_stop()
        await self._check_unchanged(side)
        if measurement.problem is not None:
            baseline = f"what {command.against} has deployed" if command.against else DEFAULT
            under = command.policy if side == "B" else baseline
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

    async def _baseline(self, index: int) -> None:
        against, why = self.command.against, f"baseline of pair {index}"
        if not against:
            await self._steering.clear(why)
            return
        if self._steering.kept == against:
            await self._steering.restore(why, patience_s=GATE_S)
        if self._steering.due:
            raise DisturbedError(
                "what the candidate is compared with could not be loaded again",
                expected="a deployment token of the gate for it",
                got="none yet",
                advice="Ask again once the gate answers.",
            )
        if self._steering.kept != against:
            raise DisturbedError(
                "what the candidate is compared with is not kept here any more",
                expected=f"what {against} has deployed",
                got=self._steering.books.why_dropped or self._steering.kept or DEFAULT,
                advice="Ask again: the trial then begins from what is there.",
            )

    async def _check_still_there(self, side: Side) -> None:
        """Whether the kernel let go by itself of what this side ran under."""
        against = self.command.against
        departure = await self._steering.departed() if side == "B" or against else None
        if departure is None:
            return
        words, record = departure.diagnosis.words, convert.departure(departure)
        if side == "B":
            raise FaultError(
                f"the kernel let go of {self.command.policy}: {words}",
                record,
                advice="The host is back on what it ran before.",
            )
        if departure.diagnosis.exit_class is not ExitClass.BENIGN:
            await self._steering.drop(words)
        raise DisturbedError(
            f"the kernel let go of what {against} had deployed: {words}",
            record,
            advice="Ask again: the trial then begins from what is there.",
        )

    async def _check_unchanged(self, side: Side) -> None:
        """Whether this side was measured under what it should be, to its end."""
        expected = self.command.optimization if side == "B" else self.command.against
        state = await self._steering.state()
        if state.optimization != expected:
            raise DisturbedError(
                "the scheduler was changed in the middle of a run",
                expected=f"what {expected} brought" if expected else DEFAULT,
                got=state.ops or DEFAULT,
                advice="Ask again, and leave the host to the trial.",
            )

    def _check_stop(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._stop.is_set():
            raise Stopped

    async def _pause(self, seconds: float) -> None:
        """The washout after a switch; a stop ends it at once."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        self._check_stop()


def _end_of(error: CoxswainError) -> TrialEnd:
    match error:
        case ForeignSchedulerError():
            return "foreign"
        case SchedulerError() | MachineError():
            return "attach"
        case WorkloadError():
            return "workload"
        case _:
            return "interrupted"


def errand(command: TrialCommand, done: int, now_unix_ns: int) -> Errand:
    """What a trial's token is wanted for: a load for each pair that is left, until its budget ends.

    Without an end of its own, as long as its runs may take at the most.
    """
    pairs = max(1, command.spec.max_pairs - done)
    if command.expires_unix_ns:
        longest_s = (command.expires_unix_ns - now_unix_ns) / 1e9 + OVERTIME_S
    else:
        longest_s = pairs * 2 * (command.measure_timeout_s + command.washout_s + OVERTIME_S)
    return Errand(
        purpose="trial",
        optimization=command.optimization,
        request_sha256=command.request_sha256,
        policy=command.policy,
        parameters=command.parameters,
        artifact=command.artifact,
        loads=pairs,
        max_duration_s=min(longest_s, LONGEST_S),
    )


class BrokenTrialError(CoxswainError):
    """A scheduler was not what it should be in the middle of a trial."""

    end: ClassVar[TrialEnd]

    def __init__(
        self,
        what: str,
        exit_record: ExitRecord | None = None,
        *,
        expected: str = "",
        got: str = "",
        advice: str,
    ) -> None:
        super().__init__(what, expected=expected, got=got, advice=advice)
        self.exit_record = exit_record


class FaultError(BrokenTrialError):
    """The candidate's scheduler left by itself in the middle of its trial."""

    end = "fault"


class DisturbedError(BrokenTrialError):
    """The baseline left by itself, or somebody changed what ran."""

    end = "interrupted"


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
