"""Runs workloads on this host and measures them: fenced in, never believed blindly.

    async with runner.started(workload, seed) as running:   # look at it while it runs
        measurement = await running.wait()

    measurement = await runner.measure("wakeup", seed, measurement_id)
    measurement = await runner.measure("wakeup", seed, measurement_id, beside=["build"])

One measurement is made at a time. A workload's neighbours run at once with it, each in a control
group of its own (`together.py` says for how long), and are measured as well.

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
from services.observer.together import Tenant, measure_all
from shared.errors import CoxswainError, InputError, MachineError, WorkloadError
from shared.messages import Measurement
from shared.plain import plain
from shared.schedule import repeated_seed
from shared.workloads import Catalogue, Workload, expand, neighbours_metric

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

_REMEMBERED: Final = 256
_READY: Final = ".ready"
_MAX_SEED: Final = 2**64 - 1
_LONGEST_ESCAPE: Final = 10
"""Characters that one may become: `\\U0001f600`."""

_log = structlog.get_logger(__name__)


class Running:
    """A workload that runs, with its neighbours: the first tenant is the workload itself."""

    def __init__(self, tenants: Sequence[Tenant], measurement: str) -> None:
        self._main, *self._neighbours = tenants
        self._measurement = measurement
        self._all = asyncio.create_task(measure_all(tenants))
        self._all.add_done_callback(_retrieve)

    @property
    def cgroup(self) -> Path | None:
        """Its own control group (v2), where the host lets us make one."""
        return self._main.first.cgroup

    def pids(self) -> list[int]:
        """Its processes now, none of a neighbour's."""
        return self._main.first.pids()

    async def ended(self) -> None:
        """Until the workload itself has ended; a neighbour may not have been measured yet."""
        await self._main.first.end()

    async def wait(self) -> Measurement:
        """All metrics, once there are. Raises WorkloadError if one of them has none."""
        await asyncio.shield(self._all)
        main = self._main
        assert main.ended is not None
        return Measurement(
            measurement=self._measurement,
            metrics=main.metrics
            | {
                neighbours_metric(each.workload.name, metric): value
                for each in self._neighbours
                for metric, value in each.metrics.items()
            },
            seconds=main.ended.seconds,
            cpu_s=main.ended.report.cpu_s,
        )

    async def close(self) -> None:
        """End all of them and leave nothing behind."""
        self._all.cancel()
        await asyncio.gather(self._all, return_exceptions=True)


class WorkloadRunner:
    """Runs a catalogue's workloads. `work_root` is where each gets a private directory."""

    def __init__(self, catalogue: Catalogue, work_root: Path) -> None:
        self._catalogue = catalogue
        self._work_root = work_root
        self._one_at_a_time = asyncio.Lock()
        self._one_answer_at_a_time = asyncio.Lock()
        self._answers: OrderedDict[str, tuple[str, Measurement]] = OrderedDict()

    async def measure(
        self, workload: str, seed: int, measurement: str, beside: Sequence[str] = ()
    ) -> Measurement:
        """Run it once. The same measurement id gives the same answer, without another run.

        What goes wrong comes back as the measurement's `problem`.
        """
        question = quoted(f"{' beside '.join([workload, *beside])} with seed {seed}")
        async with self._one_answer_at_a_time:
            if measurement in self._answers:
                asked, answer = self._answers[measurement]
                if asked == question:
                    return answer
                return _failed(measurement, _other_question(measurement, asked, question))
            answer = await self._measure(workload, seed, measurement, beside)
            self._answers[measurement] = (question, answer)
            if len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
            return answer

    @contextlib.asynccontextmanager
    async def started(
        self,
        workload: Workload,
        seed: int,
        measurement: str = "",
        beside: Sequence[Workload] = (),
    ) -> AsyncIterator[Running]:
        """Set all up if need be and start them at once; leaving the context ends them.

        Raises MachineError if the host lacks what one needs, WorkloadError if a set-up fails, and
        InputError for a seed that is none or a workload that is beside itself.
        """
        if not 0 <= seed <= _MAX_SEED:
            raise InputError("not a seed", expected=f"0 to {_MAX_SEED}", got=str(seed))
        together = [workload, *beside]
        if len({each.name for each in together}) < len(together):
            raise InputError(
                "a workload cannot run beside itself",
                expected="different workloads: each has one work directory",
                got=", ".join(each.name for each in together),
            )
        async with self._one_at_a_time:
            tenants = [await self._tenant(each, seed, together) for each in together]
            try:
                for each in tenants:
                    await each.begin()
                running = Running(tenants, measurement or uuid.uuid4().hex)
                try:
                    yield running
                finally:
                    await running.close()
            finally:
                for each in tenants:
                    await each.close()

    async def _tenant(self, workload: Workload, seed: int, together: Sequence[Workload]) -> Tenant:
        """One of those that run at once, set up; problems of a neighbour name it as one."""
        main = together[0]
        is_main = workload is main
        # They share the CPUs: each may take as many times longer than it would alone.
        timeout_s = workload.manifest.timeout_s * len(together)
        with contextlib.nullcontext() if is_main else _named(workload, main):
            work = await self._set_up(workload)

        async def start(seed: int) -> Fenced:
            values = {**_placeholders(workload, work), "seed": str(seed)}
            command = expand(workload.manifest.command, values)
            return await Fenced.start(command, work, timeout_s)

        def read(ended: Ended) -> dict[str, float]:
            with contextlib.nullcontext() if is_main else _named(workload, main):
                return read_metrics(workload, ended, timeout_s)

        own_seed = seed if is_main else repeated_seed(seed, workload.name, 0)
        return Tenant(workload, own_seed, start, read)

    async def _measure(
        self, workload: str, seed: int, measurement: str, beside: Sequence[str]
    ) -> Measurement:
        try:
            main, *others = (self._catalogue[name] for name in (workload, *beside))
            async with self.started(main, seed, measurement, others) as running:
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


def read_metrics(workload: Workload, ended: Ended, timeout_s: float) -> dict[str, float]:
    """The numbers in a run's last line, or WorkloadError; `timeout_s` is what it was given."""
    failure = _failure(ended, timeout_s, workload.name)
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
    return plain(text.strip()[-limit:], _LONGEST_ESCAPE * limit)


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


@contextlib.contextmanager
def _named(neighbour: Workload, main: Workload) -> Iterator[None]:
    """Say of a neighbour's problem whose it is."""
    try:
        yield
    except (MachineError, WorkloadError) as error:
        raise type(error)(
            f"{neighbour.name}, a neighbour of {main.name}: {error.problem.what}",
            expected=error.problem.expected,
            got=error.problem.got,
            advice=error.problem.advice,
        ) from error


def _retrieve(done: asyncio.Task[None]) -> None:
    """A failure that nobody waits for any more is none that asyncio must complain of."""
    if not done.cancelled():
        done.exception()


def _other_question(measurement: str, asked: str, question: str) -> InputError:
    return InputError(
        f"the measurement id {measurement!r} is taken",
        expected=f"the same question again: {asked}",
        got=question,
        advice="Give each measurement an id of its own.",
    )


def _failed(measurement: str, error: CoxswainError) -> Measurement:
    return Measurement(measurement=measurement, problem=error.problem)
