"""What planner and host executor count, without a bus or a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from services.executor.host.exits import ExitKind, ExitRecord, diagnose
from services.executor.host.scheduler import Attached, Departure, HostScheduler
from services.executor.host.sysfs import SchedExtSysfs
from services.planner.counts import count_alive, count_step
from shared.errors import TokenError, UnsupportedKernelError
from shared.messages import Cost
from shared.metrics import Metrics, declared
from shared.optimization import Optimization
from tests.executor.tokens import free_permit
from tests.planner.world import World, opened, plan


class Counted(World):
    """A world whose steps are counted as the planner counts them."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.metrics = Metrics()

    def __setattr__(self, name: str, value: object) -> None:
        before = getattr(self, "state", None)
        super().__setattr__(name, value)
        if name == "state" and isinstance(before, Optimization):
            assert isinstance(value, Optimization)
            count_step(self.metrics, before, value)


def test_a_life_adds_up_to_what_its_record_says() -> None:
    world = Counted(opened(), plan("latency", "fair"), {"latency": 0.4, "fair": 0.9})
    state = world.run()
    metrics = world.metrics
    assert state.terminal == "promoted"
    assert metrics.value(declared.ENDED, terminal="promoted") == 1
    assert metrics.value(declared.ROUNDS) == state.rounds_used > 0
    assert sum(metrics.numbers(declared.TRIALS).values()) == len(state.trials) == 3
    assert metrics.value(declared.DECISIONS, verdict="promote") == len(
        [trial for trial in state.trials if trial.decision and trial.decision.verdict == "promote"]
    )
    for stage, cost in state.costs.items():
        assert metrics.value(declared.WORKED, stage=stage) == pytest.approx(cost.wall_s)


def test_tokens_and_dollars_come_from_the_records_costs() -> None:
    before = opened()
    first = replace(before, costs={"plan": Cost(tokens=1200, dollars=0.25)})
    second = replace(before, costs={"plan": Cost(tokens=1500, dollars=0.75)})
    metrics = Metrics()
    count_step(metrics, before, first)
    count_step(metrics, first, second)
    count_step(metrics, second, second)
    assert metrics.value(declared.TOKENS, stage="plan") == 1500
    assert metrics.value(declared.DOLLARS, stage="plan") == pytest.approx(0.75)


def test_a_phase_that_nobody_is_in_any_more_goes_back_to_nothing() -> None:
    metrics = Metrics()
    state = opened()
    count_alive(metrics, [state, replace(state, phase="trying"), replace(state, phase="trying")])
    assert metrics.value(declared.ALIVE, phase="trying") == 2
    count_alive(metrics, [state])
    assert metrics.value(declared.ALIVE, phase="trying") == 0
    assert metrics.value(declared.ALIVE, phase="profiling") == 1


def departed(kind: ExitKind) -> Departure:
    record = ExitRecord(kind=kind)
    return Departure(
        attached=Attached(
            name="coxswain_latency", artifact_sha256="a" * 64, params={}, frame={},
            timeout_ms=10_000, enable_seq=1, load_ns=1, attach_ns=1, gap_ns=0,
        ),
        requested=False,
        why="it left by itself",
        diagnosis=diagnose(record, requested=False),
        exit_record=record,
    )  # fmt: skip


async def test_exits_are_counted_by_class_and_stalls_apart(tmp_path: Path) -> None:
    metrics = Metrics()
    host = HostScheduler(SchedExtSysfs(tmp_path), metrics)
    host._unannounced = [departed(kind) for kind in (ExitKind.STALL, ExitKind.SYSRQ)]
    seen = 0
    async for _ in host.watch():
        seen += 1
        if seen == 2:
            break
    assert metrics.value(declared.EXITS, exit_class="fault") == 1
    assert metrics.value(declared.EXITS, exit_class="foreign") == 1
    assert metrics.value(declared.STALLS) == 1


async def test_a_load_that_fails_is_counted_by_whose_no_it_was(tmp_path: Path) -> None:
    metrics = Metrics()
    host = HostScheduler(SchedExtSysfs(tmp_path), metrics)
    with pytest.raises(UnsupportedKernelError):
        await host.apply(
            b"", free_permit(b""), name="coxswain_x", timeout_ms=1000, params={}, frame={}
        )
    assert metrics.value(declared.LOAD_FAILURES, reason="unsupported") == 1
    with pytest.raises(TokenError):
        await host.apply(
            b"another object", free_permit(b""), name="x", timeout_ms=1000, params={}, frame={}
        )
    assert metrics.value(declared.LOAD_FAILURES, reason="token") == 1
    assert metrics.value(declared.LOADS) == 0
