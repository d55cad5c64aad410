"""What is refused on a host, and why: on a real bus, with a guard that only keeps books."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from services.executor.guard.interventions import Intervention
from services.executor.host import quarantine
from services.executor.host.books import Books, Entry, Kept
from services.executor.host.breaker import FIRST_S, Breaker, S, phase
from services.executor.host.exits import ExitKind
from services.executor.host.guarding import Guarding
from services.executor.host.lifesign import GuardLink, LetGo, Running
from services.executor.host.quarantine import Place
from services.executor.host.safeguards import (
    BreakerOpenError,
    QuarantinedError,
    Safeguards,
    UnguardedError,
)
from shared.errors import SchedulerError
from shared.messages import (
    DeployCommand,
    Deployed,
    Objective,
    ResetRequest,
    Reverted,
    SchedulerState,
    TrialCommand,
    TrialEnded,
    TrialSpec,
)
from shared.metrics import declared
from tests.eventually import eventually
from tests.executor.host.conftest import HOST, Rig, trial_of
from tests.executor.host.test_deployments import placed, said, send

A, B = "a" * 64, "b" * 64
HOUR_NS = 3600 * S


class PaperGuard:
    present = True
    running = Running()

    def says(self, running: Running) -> None:
        self.running = running


class Bench:
    """Safeguards over books, as after a restart whenever one likes."""

    def __init__(self) -> None:
        self.written: list[Entry] = []
        self.books = Books()
        self.guard = PaperGuard()
        self.place = Place("7.3", "cpus 0-1")
        self.safeguards = self._safeguards()

    def restart(self) -> None:
        kept = self.books.worth_keeping()
        self.books = Books()
        for entry in kept:
            self.books.note(entry)
        self.safeguards = self._safeguards()

    def _safeguards(self) -> Safeguards:
        return Safeguards(self.books, self.write, self.guard, here=lambda: self.place)

    def write(self, entry: Entry) -> None:
        self.written.append(entry)
        self.books.note(entry)


@pytest.fixture
def desk() -> Bench:
    return Bench()


def test_without_a_guard_nothing_is_loaded(desk: Bench) -> None:
    desk.safeguards.check(A)
    desk.guard.present = False
    with pytest.raises(UnguardedError):
        desk.safeguards.check(A)


def test_what_did_harm_is_held_here_and_nothing_else(desk: Bench) -> None:
    desk.safeguards.harmed(A, "it stalled")
    desk.restart()
    with pytest.raises(QuarantinedError, match="it stalled"):
        desk.safeguards.check(A)
    desk.safeguards.check(B)
    assert desk.safeguards.told()["quarantined"] == [A]
    # On another kernel it may behave.
    desk.place = replace(desk.place, kernel="7.4")
    desk.safeguards.check(A)
    assert desk.safeguards.told()["quarantined"] == []


def test_each_harm_holds_for_twice_as_long_up_to_a_day(desk: Bench) -> None:
    held = None
    lasts = []
    for _ in range(12):
        held = quarantine.hold(held, A, desk.place, "x", 0)
        lasts.append(held.until_unix_ns // quarantine.S)
    assert lasts[:3] == [quarantine.FIRST_S, 2 * quarantine.FIRST_S, 4 * quarantine.FIRST_S]
    assert lasts[-1] == quarantine.LONGEST_S


def test_faults_open_the_breaker_across_restarts_and_an_operator_closes_it(desk: Bench) -> None:
    for artifact in (A, B, "c" * 64):
        desk.safeguards.harmed(artifact, "it stalled")
        desk.restart()
    with pytest.raises(BreakerOpenError, match="3 faults"):
        desk.safeguards.check("d" * 64)
    assert desk.safeguards.told()["breaker"] == "open"
    desk.safeguards.reset()
    desk.restart()
    for artifact in (A, "d" * 64):
        desk.safeguards.check(artifact)
    assert desk.safeguards.told()["breaker"] == "closed"


def test_a_clock_that_is_set_back_makes_nothing_last(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: right() + HOUR_NS)
        for artifact in (A, B, "c" * 64):
            desk.safeguards.harmed(artifact, "it stalled")
    desk.restart()
    with pytest.raises(BreakerOpenError):
        desk.safeguards.check("d" * 64)
    assert desk.safeguards.told()["breaker_until_unix_ns"] <= right() + FIRST_S * S
    assert desk.safeguards.moved
    patched = right() + quarantine.FIRST_S * S
    monkeypatch.setattr(time, "time_ns", lambda: patched)
    assert desk.safeguards.told()["quarantined"] == []
    desk.safeguards.check(A)


def test_a_verifiers_no_is_held_and_is_no_fault_of_the_host(desk: Bench) -> None:
    for _ in range(10):
        desk.safeguards.harmed(A, "rejected", fault=False)
    assert desk.books.breaker == Breaker()
    with pytest.raises(QuarantinedError):
        desk.safeguards.check(A)


def intervention(**facts: Any) -> Intervention:
    usual: dict[str, Any] = {
        "id": 1, "boot_id": "b", "unix_ns": 2**62, "cause": "hang", "reason": "silent for 3.6 s",
        "ops": "coxswain_x", "running": {"artifact": A, "optimization": "o1"},
        "steps": ["SIGKILL of executor 7"], "back_s": 0.1, "restored": True,
    }  # fmt: skip
    return Intervention(**{**usual, **facts})


def test_an_operators_hand_is_no_fault(desk: Bench) -> None:
    desk.safeguards.intervened(intervention(cause="operator"))
    desk.safeguards.check(A)
    assert desk.books.guard_heard == 1


def test_an_old_intervention_holds_from_when_it_happened(desk: Bench) -> None:
    desk.safeguards.intervened(intervention(unix_ns=1))
    desk.safeguards.check(A)
    assert phase(desk.books.breaker, 2) == "closed"


def test_while_one_is_loaded_the_guard_knows_its_name_and_forgets_it_after_a_failure(
    desk: Bench,
) -> None:
    running = Running(artifact=A, policy="x", optimization="o1")

    def fail() -> None:
        with desk.safeguards.loading(running):
            desk.safeguards.nothing_runs()
            assert desk.guard.running == running
            raise SchedulerError("it could not be loaded")

    with pytest.raises(SchedulerError):
        fail()
    assert desk.guard.running == Running()


# The host role ----------------------------------------------------------------------------------


async def test_a_stall_quarantines_and_the_next_deployment_is_refused(
    rig: Rig, deploy: DeployCommand
) -> None:
    await placed(rig, deploy)
    rig.kernel.lose(ExitKind.STALL)
    await said(rig, "reverted", Reverted)
    assert (await rig.steering.state()).quarantined == [deploy.artifact.sha256]
    await send(rig, "deploy", replace(deploy, optimization="o2"))
    refused = (await said(rig, "deployed", Deployed, count=2))[1]
    assert refused.problem is not None
    assert refused.problem.kind == "QuarantinedError"
    await send(rig, "trial", screening(deploy))
    ended = (await said(rig, "trial_ended", TrialEnded))[0]
    assert (ended.end, ended.pairs) == ("fault", 0)


async def test_an_open_breaker_interrupts_a_trial_and_a_reset_lets_it_run(
    rig: Rig, deploy: DeployCommand
) -> None:
    for artifact in (A, B, "c" * 64):
        rig.steering.safeguards.harmed(artifact, "x")
    await send(rig, "trial", screening(deploy))
    ended = (await said(rig, "trial_ended", TrialEnded))[0]
    assert ended.end == "interrupted"
    assert ended.problem is not None
    assert "breaker" in ended.problem.what
    subject = rig.bus.subjects.endpoint("executor", "reset", HOST)
    state = await rig.bus.ask(subject, ResetRequest(), SchedulerState, timeout_s=20)
    assert (state.breaker, state.quarantined) == ("closed", [])
    assert rig.reports[-1].breaker == "closed"
    assert (await placed(rig, deploy)).problem is None


def screening(deploy: DeployCommand) -> TrialCommand:
    objective = Objective(metric="p99_us", direction="lower")
    spec = TrialSpec(stage="screen", objective=objective, max_pairs=1)
    return trial_of(deploy, optimization="o3", trial="t1", parameters={}, spec=spec)


class Watched:
    """A rig whose guard's news a test writes."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig = rig
        self.link = GuardLink(folder / "nobody-listens")
        self.guarding = Guarding(self.link, rig.steering, rig.executor, rig.telemetry.metrics)

    def reverts(self, cause: str) -> float:
        return self.rig.telemetry.metrics.numbers(declared.REVERTS)[(cause,)]


async def test_what_the_guard_ended_is_dropped_counted_and_told(
    rig: Rig, deploy: DeployCommand, tmp_path: Path
) -> None:
    watched = Watched(rig, tmp_path)
    await placed(rig, deploy)
    running = {"artifact": deploy.artifact.sha256, "optimization": "o1"}
    watched.link.news.put_nowait(intervention(running=running))
    watched.link.welcomed.set()
    await watched.guarding.begin()
    assert rig.steering.books.kept is None
    reverted = (await said(rig, "reverted", Reverted))[0]
    assert reverted.exit_record is not None
    assert (reverted.exit_record.kind_name, reverted.exit_record.verdict) == ("GUARD", "fault")
    assert "silent for 3.6 s" in reverted.exit_record.explanation
    assert watched.reverts("guard") == 1
    assert (await rig.steering.state()).quarantined == [deploy.artifact.sha256]


@pytest.mark.parametrize("later", [True, False])
async def test_within_a_boot_no_clock_says_whether_the_guard_came_before_or_after(
    rig: Rig, deploy: DeployCommand, tmp_path: Path, *, later: bool
) -> None:
    """An operator has ended what was promoted, or something before it; wall time says otherwise."""
    watched = Watched(rig, tmp_path)
    await placed(rig, deploy)
    done = intervention(
        cause="operator",
        boot_id=rig.steering.boot_id,
        boot_ns=2**62 if later else 1,
        unix_ns=1 if later else 2**62,
    )
    watched.link.news.put_nowait(done)
    watched.link.welcomed.set()
    await watched.guarding.begin()
    assert (rig.steering.books.kept is None) is later


async def test_a_breaker_that_closes_earlier_after_all_is_told(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planners leave a host alone until the moment that it has told."""
    watched = Watched(rig, tmp_path)
    right = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: right() + HOUR_NS)
        for artifact in (A, B, "c" * 64):
            rig.steering.safeguards.harmed(artifact, "x")
        await rig.steering.report()
    rig.reports.clear()
    watching = asyncio.create_task(watched.guarding.watch())
    await eventually(lambda: rig.reports)
    assert 0 < rig.reports[0].breaker_until_unix_ns <= right() + FIRST_S * S
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_trial_that_the_guard_ended_leaves_the_promotion_alone(
    rig: Rig, deploy: DeployCommand, tmp_path: Path
) -> None:
    watched = Watched(rig, tmp_path)
    await placed(rig, deploy)
    watched.link.news.put_nowait(intervention(running={"artifact": A, "optimization": "o9"}))
    watched.link.welcomed.set()
    await watched.guarding.begin()
    assert isinstance(rig.steering.books.kept, Kept)


async def test_an_operators_word_through_the_guard_takes_everything_back(
    rig: Rig, deploy: DeployCommand, tmp_path: Path
) -> None:
    watched = Watched(rig, tmp_path)
    await placed(rig, deploy)
    watched.link.news.put_nowait(LetGo("enough"))
    watched.link.welcomed.set()
    await watched.guarding.begin()
    assert (await said(rig, "reverted", Reverted))[0].reason == "enough"
    assert not (await rig.steering.state()).ours
    assert watched.reverts("operator") == 1


async def test_a_host_whose_guard_is_gone_lets_go(
    rig: Rig, deploy: DeployCommand, tmp_path: Path
) -> None:
    watched = Watched(rig, tmp_path)
    await placed(rig, deploy)
    watched.link.says(Running(artifact=deploy.artifact.sha256))
    watching = asyncio.create_task(watched.guarding.watch())
    reverted = (await said(rig, "reverted", Reverted))[0]
    assert "guard is gone" in reverted.reason
    assert not (await rig.steering.state()).ours
    assert watched.reverts("unguarded") == 1
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
