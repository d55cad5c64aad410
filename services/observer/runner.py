"""Runs workloads on this host and measures them: one at a time, fenced in, never believed blindly.

    async with runner.started(workload, seed) as running:   # look at it while it runs
        measurement = await running.wait()

    measurement = await runner.measure("wakeup", seed, measurement_id)

A workload is set up once for each content of its directory. Its last line on stdout is one JSON
object, `{"metrics": {"name": number, ...}}`, with exactly the metrics its manifest lists;
anything else is a WorkloadError, and never a number.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import signal
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from services.observer.fenced import OUTPUT_LIMIT_BYTES, Ended, Fenced
from shared.errors import CoxswainError, InputError, MachineError, WorkloadError
from shared.messages import Measurement
from shared.workloads import Catalogue, Workload, expand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_REMEMBERED: Final = 256
_READY: Final = ".ready"
_MAX_SEED: Final = 2**64 - 1

_log = structlog.get_logger(__name__)


class Running:
    """A workload that runs."""

    def __init__(self, workload: Workload, fenced: Fenced, measurement: str) -> None:
        self._workload = workload
        self._fenced = fenced
        self._measurement = measurement

    @property
    def cgroup(self) -> Path | None:
        """Its own control group (v2), where the host lets us make one."""
        return self._fenced.cgroup

    def pids(self) -> list[int]:
        """Its processes now."""
        return self._fenced.pids()

    async def wait(self) -> Measurement:
        """Its metrics, once it has ended. Raises WorkloadError if it has none."""
        ended = await self._fenced.end()
        metrics = read_metrics(self._workload, ended)
        return Measurement(
            measurement=self._measurement,
            metrics=metrics,
            seconds=ended.seconds,
            cpu_s=ended.report.cpu_s,
        )


class WorkloadRunner:
    """Runs a catalogue's workloads. `work_root` is where each gets a private directory."""

    def __init__(self, catalogue: Catalogue, work_root: Path) -> None:
        self._catalogue = catalogue
        self._work_root = work_root
        self._one_at_a_time = asyncio.Lock()
        self._one_answer_at_a_time = asyncio.Lock()
        self._answers: OrderedDict[str, tuple[str, int, Measurement]] = OrderedDict()

    async def measure(self, workload: str, seed: int, measurement: str) -> Measurement:
        """Run it once. The same measurement id gives the same answer, without another run.

        What goes wrong comes back as the measurement's `problem`.
        """
        async with self._one_answer_at_a_time:
            if measurement in self._answers:
                *asked, answer = self._answers[measurement]
                if asked == [workload, seed]:
                    return answer
                return _failed(measurement, _other_question(measurement, asked, workload, seed))
            answer = await self._measure(workload, seed, measurement)
            self._answers[measurement] = (workload, seed, answer)
            if len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
            return answer

    @contextlib.asynccontextmanager
    async def started(
        self, workload: Workload, seed: int, measurement: str = ""
    ) -> AsyncIterator[Running]:
        """Set it up if need be and start it; leaving the context ends it.

        Raises MachineError if the host lacks what it needs, WorkloadError if set-up fails, and
        InputError for a seed that is none.
        """
        if not 0 <= seed <= _MAX_SEED:
            raise InputError("not a seed", expected=f"0 to {_MAX_SEED}", got=str(seed))
        async with self._one_at_a_time:
            work = await self._set_up(workload)
            values = {**_placeholders(workload, work), "seed": str(seed)}
            fenced = await Fenced.start(
                expand(workload.manifest.command, values), work, workload.manifest.timeout_s
            )
            try:
                yield Running(workload, fenced, measurement or uuid.uuid4().hex)
            finally:
                await fenced.close()

    async def _measure(self, workload: str, seed: int, measurement: str) -> Measurement:
        try:
            async with self.started(self._catalogue[workload], seed, measurement) as running:
                answer = await running.wait()
        except CoxswainError as error:
            _log.warning("workload.failed", workload=workload, problem=str(error))
            return _failed(measurement, error)
        _log.info("workload.measured", workload=workload, seed=seed, seconds=answer.seconds)
        return answer

    async def _set_up(self, workload: Workload) -> Path:
        """Its work directory, set up. What an older content of it left is removed."""
        work = self._work_root / f"{workload.name}-{workload.digest[:16]}"
        if (work / _READY).exists():
            return work
        _require(workload)
        for old in self._work_root.glob(f"{workload.name}-{'[0-9a-f]' * 16}"):
            shutil.rmtree(old)
        work.mkdir(parents=True, mode=0o700)
        for argv in workload.manifest.setup:
            await self._set_up_step(workload, work, argv)
        (work / _READY).touch()
        return work

    async def _set_up_step(self, workload: Workload, work: Path, argv: list[str]) -> None:
        command = expand(argv, _placeholders(workload, work))
        fenced = await Fenced.start(command, work, workload.manifest.setup_timeout_s)
        try:
            ended = await fenced.end()
        finally:
            await fenced.close()
        limit_s = workload.manifest.setup_timeout_s
        failure = _failure(ended, limit_s, f"set-up of {workload.name}: {command[0]}")
        if failure is not None:
            raise failure
        _log.info("workload.set_up", workload=workload.name, step=command, seconds=ended.seconds)


def read_metrics(workload: Workload, ended: Ended) -> dict[str, float]:
    """The numbers in a run's last line, or WorkloadError."""
    failure = _failure(ended, workload.manifest.timeout_s, workload.name)
    if failure is not None:
        raise failure

    def refused(got: str) -> WorkloadError:
        return WorkloadError(
            f"{workload.name} did not measure",
            expected='as the last line {"metrics": {...}} with ' + ", ".join(workload.units),
            got=f"{got}{_said(ended)}",
            advice="Correct the workload's program or its manifest.",
        )

    lines = ended.stdout.strip().splitlines()
    if not lines:
        raise refused("nothing on stdout")
    try:
        printed = msgspec.json.decode(lines[-1], type=_Printed)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise refused(f"{quoted(lines[-1])}: {error}") from error
    metrics = printed.metrics
    missing = [name for name in workload.units if name not in metrics]
    if missing:
        raise refused("none for " + ", ".join(missing))
    extra = [name for name in metrics if name not in workload.units]
    if extra:
        raise refused("also " + quoted(", ".join(extra)))
    endless = [name for name, value in metrics.items() if not math.isfinite(value)]
    if endless:
        raise refused("no finite number for " + ", ".join(endless))
    return metrics


def quoted(text: str, limit: int = 400) -> str:
    """Hostile text for a message: nothing but printable characters, and only the end of it."""
    tail = text.strip()[-limit:]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in tail)


class _Printed(msgspec.Struct, forbid_unknown_fields=True):
    metrics: dict[str, float]


def _placeholders(workload: Workload, work: Path) -> dict[str, str]:
    return {
        "work": str(work),
        "source": str(workload.source),
        "common": str(workload.common),
        "cpus": str(len(os.sched_getaffinity(0))),
    }


def _require(workload: Workload) -> None:
    requires = workload.manifest.requires
    missing = {
        name: advice for name, advice in requires.programs.items() if shutil.which(name) is None
    } | {name: advice for name, advice in requires.paths.items() if not Path(name).exists()}
    if missing:
        raise MachineError(
            f"this host cannot run {workload.name}",
            expected=", ".join((*requires.programs, *requires.paths)),
            got=f"no {', '.join(missing)}",
            advice=" ".join(dict.fromkeys(missing.values())),
        )


def _failure(ended: Ended, limit_s: float, who: str) -> WorkloadError | None:
    """Why this end is no success."""
    report = ended.report
    if ended.timed_out:
        what, expected, got = "did not end in time", f"an end within {limit_s:g} s", "none"
    elif ended.flooded:
        limit = f"at most {OUTPUT_LIMIT_BYTES >> 20} MiB of output"
        what, expected, got = "flooded its output", limit, "more"
    elif report.error:
        what, expected, got = "could not be started", "a command", quoted(report.error)
    elif report.signal is not None:
        name = signal.Signals(report.signal).name if report.signal in _SIGNALS else "a signal"
        what, expected, got = "was killed", "exit code 0", f"{name} ({report.signal})"
    elif report.exit is None:
        what, expected, got = "was cut off", "exit code 0", "no report of its end"
    elif report.exit:
        what, expected, got = "failed", "exit code 0", f"exit code {report.exit}"
    else:
        return None
    return WorkloadError(
        f"{who} {what}",
        expected=expected,
        got=f"{got}{_said(ended)}",
        advice="Run it by hand to see why: docs/workloads.md says how.",
    )


_SIGNALS: Final = {int(number) for number in signal.Signals}


def _said(ended: Ended) -> str:
    """The last lines of stderr, safe to show."""
    lines = [quoted(line) for line in ended.stderr.strip().splitlines()[-5:]]
    return f"; on stderr: {' | '.join(lines)}"[-800:] if lines else "; nothing on stderr"


def _other_question(
    measurement: str, asked: Sequence[object], workload: str, seed: int
) -> InputError:
    return InputError(
        f"the measurement id {measurement!r} is taken",
        expected=f"the same question again: {asked[0]} with seed {asked[1]}",
        got=f"{quoted(workload, 80)} with seed {seed}",
        advice="Give each measurement an id of its own.",
    )


def _failed(measurement: str, error: CoxswainError) -> Measurement:
    return Measurement(measurement=measurement, problem=error.problem)
