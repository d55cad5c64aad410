"""What a candidate is compared with: the kernel's default, or what the host keeps for others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from services.executor.host.exits import ExitKind
from shared.messages import (
    DeployCommand,
    Deployed,
    Measurement,
    MeasureRequest,
    Objective,
    Replaced,
    Reverted,
    RevertRequest,
    Round,
    SchedulerState,
    TrialCommand,
    TrialEnded,
    TrialSpec,
)
from shared.policies import Catalogue
from tests.executor.host.conftest import HOST, Rig
from tests.executor.host.test_deployments import placed, said, send

DEFAULT = ""


class Observer:
    """Answers measurements, and notes under which scheduler each was made."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.seen: list[tuple[str, str]] = []
        """Side and scheduler, empty for the kernel's default."""
        self.asked: list[MeasureRequest] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        """Happens in the second run of the baseline."""

    @property
    def sides(self) -> list[str]:
        return [side for side, _ in self.seen]

    async def measure(self, request: MeasureRequest) -> Measurement:
        self.asked.append(request)
        side = request.measurement.split("-")[-2]
        self.seen.append((side, (await self.rig.kernel.state()).kernel.ops or DEFAULT))
        if self.meanwhile is not None and self.sides.count("A") == 2 and side == "A":
            await self.meanwhile()
        metrics = {"p99": 1.0, "build.time_s": 2.0}
        return Measurement(measurement=request.measurement, metrics=metrics)


@pytest.fixture
async def observer(rig: Rig) -> Observer:
    observer = Observer(rig)
    subject = rig.bus.subjects.endpoint("observer", "measure", HOST)
    await rig.bus.serve(subject, MeasureRequest, observer.measure, queue=HOST)
    return observer


@pytest.fixture
async def trial(rig: Rig, deploy: DeployCommand) -> TrialCommand:
    """Three pairs of the policy `fair`, with `build` beside."""
    return TrialCommand(
        optimization="o2",
        trial="o2-t1",
        policy="fair",
        version="1.0.0",
        parameters=Catalogue.load()["fair"].manifest.defaults,
        artifact=await rig.desk.store(b"another object", "fair"),
        workload="pulse",
        spec=TrialSpec(objective=Objective(metric="p99", direction="lower"), max_pairs=3),
        seed=1,
        washout_s=0.0,
        beside=["build"],
        request_sha256=deploy.request_sha256,
    )


async def ended(rig: Rig, command: TrialCommand) -> TrialEnded:
    await send(rig, "trial", command)
    return (await said(rig, "trial_ended", TrialEnded))[0]


async def test_the_default_is_the_baseline_whatever_is_kept(
    rig: Rig, deploy: DeployCommand, observer: Observer, trial: TrialCommand
) -> None:
    await placed(rig, deploy)
    done = await ended(rig, trial)
    assert (done.end, done.pairs) == ("completed", 3)
    assert set(observer.seen) == {("A", DEFAULT), ("B", "coxswain_fair")}
    assert (await rig.steering.state()).ops == "coxswain_latency"


async def test_what_is_kept_for_a_neighbour_is_the_baseline_where_that_is_asked(
    rig: Rig, deploy: DeployCommand, observer: Observer, trial: TrialCommand
) -> None:
    await placed(rig, deploy)
    done = await ended(rig, replace(trial, against="o1"))
    assert (done.end, done.pairs) == ("completed", 3)
    assert set(observer.seen) == {("A", "coxswain_latency"), ("B", "coxswain_fair")}
    assert {tuple(request.beside) for request in observer.asked} == {("build",)}
    rounds = await said(rig, "round", Round, 3)
    assert all(each.baseline["build.time_s"] == 2.0 for each in rounds)
    assert (await rig.steering.state()).ops == "coxswain_latency"


@pytest.mark.parametrize("kept", ["", "o7"])
async def test_without_its_baseline_a_trial_measures_nothing(
    rig: Rig, deploy: DeployCommand, observer: Observer, trial: TrialCommand, kept: str
) -> None:
    if kept:
        await placed(rig, replace(deploy, optimization=kept))
    done = await ended(rig, replace(trial, against="o1"))
    assert (done.end, done.pairs) == ("interrupted", 0)
    assert done.problem is not None
    assert done.problem.expected == "what o1 has deployed"
    assert done.problem.got == (kept or "the kernel's default")
    assert "A" not in observer.sides


async def test_a_baseline_that_the_kernel_lets_go_of_ends_the_trial_and_is_told(
    rig: Rig, deploy: DeployCommand, observer: Observer, trial: TrialCommand
) -> None:
    await placed(rig, deploy)

    async def stall() -> None:
        rig.kernel.lose(ExitKind.STALL)

    observer.meanwhile = stall
    done = await ended(rig, replace(trial, against="o1"))
    assert (done.end, done.pairs) == ("interrupted", 1)
    assert done.problem is not None
    assert "let go of what o1 had deployed" in done.problem.what
    assert done.exit_record is not None
    (reverted,) = await said(rig, "reverted", Reverted)
    assert reverted.optimization == "o1"
    assert rig.steering.kept == ""
    assert (await rig.kernel.state()).ours is None


async def test_what_an_operator_takes_away_under_a_trial_is_not_measured_as_if_it_ran(
    rig: Rig, deploy: DeployCommand, observer: Observer, trial: TrialCommand
) -> None:
    await placed(rig, deploy)

    async def revert() -> None:
        subject = rig.bus.subjects.endpoint("executor", "revert", HOST)
        request = RevertRequest(reason="cox revert", optimization="o1")
        await rig.bus.ask(subject, request, SchedulerState, timeout_s=10)

    observer.meanwhile = revert
    done = await ended(rig, replace(trial, against="o1"))
    assert (done.end, done.pairs) == ("interrupted", 1)
    assert observer.sides.count("A") == 2
    assert rig.steering.kept == ""


async def test_what_is_kept_is_told_whatever_runs(
    rig: Rig, deploy: DeployCommand, observer: Observer, trial: TrialCommand
) -> None:
    await placed(rig, deploy)
    assert rig.reports[-1].kept == "o1"
    await ended(rig, trial)
    assert {(each.ops, each.kept) for each in rig.reports} >= {("coxswain_fair", "o1")}
    await rig.steering.drop("enough")
    assert (rig.reports[-1].kept, rig.reports[-1].ops) == ("", "")


async def test_a_deployment_says_what_it_replaces(rig: Rig, deploy: DeployCommand) -> None:
    first = await placed(rig, replace(deploy, workloads=["pulse", "build"]))
    assert first.replaced is None
    await send(rig, "deploy", replace(deploy, optimization="o2", workloads=["build"]))
    second = (await said(rig, "deployed", Deployed, 2))[1]
    assert second.replaced == Replaced(optimization="o1", workloads=["pulse", "build"])
