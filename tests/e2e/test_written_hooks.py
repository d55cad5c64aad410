"""Hooks that a model wrote for this request, from its answer to a kernel that runs them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.policies import made_name
from tests.e2e.fleet import Fleet, record, scheduler
from tests.planner.messages_api import KEY, MessagesApi, message, messages_api, use
from tests.planner.sessions import hooks, name_of, proposing, writing

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(1800)]

WROTE = writing(hooks(random.Random(7)))
BROKEN = writing(WROTE["input"]["source"].replace("task->avg_run_ns", "task->avg_runs"))


@pytest.fixture(scope="module")
def model() -> Iterator[MessagesApi]:
    """It looks, makes a mistake, mends it and proposes what has passed."""
    with messages_api(
        message(use("read_guide"), use("read_policy", id="b", name="latency", part="hooks")),
        message(BROKEN),
        message(WROTE),
        message(proposing(name_of(WROTE))),
    ) as api:
        yield api


@pytest.fixture(scope="module")
def asking_fleet(model: MessagesApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One lab host, and a planner that asks this model first."""
    fleet = Fleet(tmp_path_factory.mktemp("asking"))
    fleet.environment |= {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": model.url}
    with fleet.up(1):
        yield fleet


async def test_what_a_model_writes_is_loaded_judged_and_remembered(
    asking_fleet: Fleet, model: MessagesApi, tmp_path: Path
) -> None:
    done = asking_fleet.cox("optimize", "pulse", "--rounds", "8", "--report", str(tmp_path))
    assert done.returncode in {0, 4}, done.stderr + done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    async with asking_fleet.bus() as bus:
        state = await record(bus, report["optimization"])
        now = await scheduler(bus, "lab-1")
    assert state.plan is not None
    assert (state.plan.mind, state.plan.kind, state.plan.declined) == ("llm", "generate", [])
    # The mistake was the gate's to find: it came back, and with its line.
    told = model.requests[2]["messages"][-1]["content"][0]
    assert told["is_error"]
    assert "avg_runs" in told["content"]
    (trial,) = state.trials
    made = trial.candidate.made
    assert made is not None
    assert made.source == WROTE["input"]["source"]
    assert trial.candidate.policy == made_name(made)
    assert trial.ended is not None
    assert trial.ended.end in {"completed", "stopped"}, trial.ended
    assert trial.judged is not None
    assert trial.judged.pairs >= 1
    assert report["cost"]["plan"]["tokens"] == 480
    if state.terminal == "promoted":
        assert (now.state, now.policy) == ("enabled", made_name(made))
    else:
        assert now.state == "disabled"
    shown = asking_fleet.cox("policies", "show", made_name(made))
    assert shown.returncode == 0, shown.stderr
    assert "written by llm, in the frame of latency" in " ".join(shown.stdout.split())
    assert "cox_rank" in shown.stdout
    told_why = asking_fleet.cox("explain", report["optimization"])
    assert told_why.returncode == 0, told_why.stderr
    assert "cox_preempt" in told_why.stdout


async def test_a_request_may_want_none_of_it(asking_fleet: Fleet, model: MessagesApi) -> None:
    asked = asking_fleet.cox("optimize", "pulse", "--rounds", "8", "--no-made", "--json")
    assert asked.returncode in {0, 4}, asked.stderr
    # The model says what it always says; nobody carries it out.
    assert len(model.requests) > 4
    ended = json.loads(asked.stdout.splitlines()[-1])
    async with asking_fleet.bus() as bus:
        state = await record(bus, ended["optimization"])
    assert state.plan is not None
    assert state.plan.mind == "embedded"
    assert all(trial.candidate.made is None for trial in state.trials)
