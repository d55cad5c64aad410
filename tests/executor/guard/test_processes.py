"""The guard with real processes, stopped and killed for real."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from services.executor.guard.limits import DEADLINE_S, SILENCE_S
from tests.executor.guard.conftest import Stage, heard, stop, until
from tests.executor.guard.paper_kernel import IGNORES_KILLS


def test_a_stopped_executor_is_killed_and_its_successor_hears_of_it(stage: Stage) -> None:
    stage.guard()
    executor = stage.executor()
    stage.kernel.attach("coxswain_probe", executor.pid)
    stop(executor)
    assert executor.wait() == -signal.SIGKILL
    until(lambda: stage.kernel.state() == "disabled")
    until(stage.interventions)
    (done,) = stage.interventions()
    assert done["cause"] == "hang"
    assert done["running"] == {"artifact": "a" * 64, "policy": "probe", "optimization": "o1"}
    assert done["steps"] == [f"SIGKILL of executor {executor.pid}"]
    assert done["restored"] is True
    assert stage.kernel.pressed == 0
    assert heard(stage.start_executor(), {})["news"] == done
    # Once it was taken in, it is not told again.
    assert heard(stage.start_executor(seen=done["id"]), {}) == {"present": True}


def test_what_a_kill_does_not_end_the_kernels_key_does(stage: Stage) -> None:
    stage.kernel.mood = IGNORES_KILLS
    stage.guard()
    executor = stage.executor()
    stage.kernel.attach("coxswain_probe", executor.pid)
    stop(executor)
    until(stage.interventions)
    assert stage.interventions()[0]["steps"][-1] == "SysRq-S"
    assert stage.interventions()[0]["restored"] is True
    assert stage.kernel.pressed == 1


def test_a_stopped_executor_that_runs_nothing_is_left_alone(stage: Stage) -> None:
    stage.guard()
    executor = stage.executor()
    stop(executor)
    time.sleep(SILENCE_S + 1)
    executor.send_signal(signal.SIGCONT)
    assert stage.interventions() == []
    assert executor.poll() is None


def test_a_foreign_scheduler_is_never_touched(stage: Stage) -> None:
    stage.guard()
    executor = stage.executor()
    stage.kernel.attach("scx_somebody_elses")
    stop(executor)
    time.sleep(DEADLINE_S + 1)
    assert stage.cox_host("revert") == 0
    assert stage.kernel.state() == "enabled"
    assert stage.kernel.pressed == 0
    assert stage.interventions() == []
    assert executor.poll() is None


def test_a_scheduler_that_nobody_answers_for_is_ended(stage: Stage) -> None:
    stage.guard()
    stage.kernel.attach("coxswain_probe")
    until(stage.interventions)
    (done,) = stage.interventions()
    assert (done["cause"], done["steps"]) == ("orphan", ["SysRq-S"])
    assert stage.kernel.state() == "disabled"


def test_a_guard_that_comes_back_finds_a_stopped_executor(stage: Stage) -> None:
    guard = stage.guard()
    executor = stage.executor()
    stage.kernel.attach("coxswain_probe", executor.pid)
    stop(executor)
    guard.kill()
    guard.wait()
    stage.guard()
    until(lambda: stage.kernel.state() == "disabled")
    until(stage.interventions)
    assert stage.interventions()[0]["cause"] == "orphan"


def test_a_starving_probe_brings_the_default_back_with_its_figures(stage: Stage) -> None:
    guard = stage.guard()
    executor = stage.executor()
    stage.kernel.attach("coxswain_probe", executor.pid)
    (probe,) = children(guard.pid)
    os.kill(probe, signal.SIGSTOP)
    until(stage.interventions)
    os.kill(probe, signal.SIGCONT)
    (done,) = stage.interventions()
    assert done["cause"] == "starvation"
    assert "an ordinary task had to wait" in done["reason"]
    assert executor.wait() == -signal.SIGKILL
    assert stage.kernel.state() == "disabled"


def test_a_probe_that_ends_is_replaced(stage: Stage) -> None:
    guard = stage.guard()
    (probe,) = children(guard.pid)
    os.kill(probe, signal.SIGKILL)
    until(lambda: children(guard.pid) not in ([], [probe]))
    assert stage.cox_host("status") == 0


def test_executors_hear_when_their_guard_goes_and_comes(stage: Stage) -> None:
    guard = stage.guard()
    executor = stage.executor()
    guard.kill()
    guard.wait()
    heard(executor, {"present": False})
    stage.guard()
    heard(executor, {"present": True})


def test_a_stopped_guard_is_gone_too(stage: Stage) -> None:
    guard = stage.guard()
    executor = stage.executor()
    stop(guard)
    heard(executor, {"present": False})
    guard.send_signal(signal.SIGCONT)
    heard(executor, {"present": True})


# cox-host ---------------------------------------------------------------------------------------


def test_an_operators_revert_asks_the_executor_first(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.guard()
    executor = stage.executor()
    stage.kernel.attach("coxswain_probe", executor.pid)
    assert stage.cox_host("revert", "I do not like it") == 0
    assert heard(executor, {"news": {"reason": "I do not like it"}})
    # It was asked and did not let go.
    assert executor.wait() == -signal.SIGKILL
    assert stage.interventions()[0]["cause"] == "operator"
    assert stage.interventions()[0]["reason"] == "I do not like it"
    assert "SIGKILL" in capsys.readouterr().out


def test_a_revert_works_with_the_guard_stopped_or_gone(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.kernel.attach("coxswain_probe")
    assert stage.cox_host("revert") == 0
    said = capsys.readouterr().out
    assert "directly" in said
    assert "SysRq-S" in said
    assert said.endswith("runs now: the kernel's default\n")
    assert stage.interventions()[0]["cause"] == "operator"
    guard = stage.guard()
    stop(guard)
    stage.kernel.attach("coxswain_probe")
    assert stage.cox_host("revert") == 0
    assert [done["id"] for done in stage.interventions()] == [1, 2]
    # The guard that goes on knows of it.
    guard.send_signal(signal.SIGCONT)
    executor = stage.start_executor(seen=1)
    assert heard(executor, {})["news"]["id"] == 2


def test_a_revert_of_nothing_says_so(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.guard()
    assert stage.cox_host("revert") == 0
    assert "nothing of ours ran" in capsys.readouterr().out


def test_status_shows_what_the_guard_sees(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.cox_host("status")
    assert "guard     none" in capsys.readouterr().out
    stage.guard()
    executor = stage.executor()
    stage.kernel.attach("coxswain_probe", executor.pid)
    assert stage.cox_host("status") == 0
    said = capsys.readouterr().out
    assert "runs      coxswain_probe" in said
    assert f"pid {executor.pid}" in said


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
