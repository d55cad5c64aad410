"""What the sandbox makes of a siege's measurements: each rule, and what breaks none."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from services.executor.gate.sandbox import judged
from services.executor.gate.sandbox.judge import void
from services.executor.host.exits import ExitKind
from services.executor.loader.verified import Verified
from services.executor.siege import Measured, Orders, Phase
from services.executor.siege.measured import Exit

SECOND_NS = 1_000_000_000
BOUND_NS = 4 * SECOND_NS
ORDERS = Orders()
CROWD = Phase(
    seconds=5.4,
    idle=[0.0, 0.01],
    own=[0.7, 0.7],
    used_s={"hog-a": 0.5, "hog-b": 0.4, "bound-c": 0.5, "victim-d": 4.0},
    gap_ns={"hog-a": SECOND_NS // 5, "sleeper-e": SECOND_NS // 5, "victim-d": SECOND_NS // 10},
    machine_gap_ns=SECOND_NS // 20,
)
GOOD = Measured(
    cpus=2,
    kernel="7.3",
    attached=True,
    crowd=CROWD,
    free=replace(CROWD, used_s={"hog-a": 0.0, "hog-b": 1.0, "victim-d": 2.8}),
    exit=Exit(kind=ExitKind.UNREG, kind_name="UNREG", code=0, words="detached as asked"),
    counters={"wait_max_ns": SECOND_NS // 5},
    back_s=0.4,
    state="disabled",
    on_default=True,
    longest_gap_ns=SECOND_NS // 5,
)
STALLED = replace(
    GOOD,
    attached=False,
    free=None,
    exit=Exit(kind=ExitKind.STALL, kind_name="STALL", code=0, words="hog failed to run"),
    longest_gap_ns=15 * SECOND_NS,
)


def rules(measured: Measured) -> set[str]:
    return {reason.rule for reason in judged(measured, ORDERS, BOUND_NS).reasons}


def crowd(**changes: Any) -> Measured:
    return replace(GOOD, crowd=replace(CROWD, **changes))


def used(**changes: float) -> Measured:
    return crowd(used_s=CROWD.used_s | {name.replace("_", "-"): s for name, s in changes.items()})


def test_what_keeps_its_promise_passes_with_evidence() -> None:
    found = judged(GOOD, ORDERS, BOUND_NS)
    assert not found.reasons
    assert found.evidence["sandbox_victim_share"] == pytest.approx(4.0 / 5.4, abs=0.001)
    assert found.evidence["sandbox_victim_due"] == 1.0
    assert found.evidence["sandbox_idle_share"] == 0.01


@pytest.mark.parametrize(
    ("measured", "rule"),
    [
        (Measured(cpus=2, kernel="7.3", refused="back-edge from insn 7"), "verifier"),
        (STALLED, "stall"),
        (replace(GOOD, attached=False, exit=None), "exit"),
        (crowd(gap_ns={"hog-a": 5 * SECOND_NS}), "wait"),
        (replace(GOOD, counters={"wait_max_ns": 5 * SECOND_NS}), "wait"),
        (used(hog_b=0.0), "starved"),
        (used(hog_b=0.01), "starved"),
        (used(victim_d=0.2), "starved"),
        (crowd(idle=[0.0, 0.5]), "idle"),
        (replace(GOOD, free=replace(CROWD, idle=[0.2, 0.0])), "idle"),
        (replace(GOOD, state="enabled"), "return"),
        (replace(GOOD, on_default=False), "return"),
    ],
)
def test_each_rule_catches_what_it_is_for(measured: Measured, rule: str) -> None:
    assert rules(measured) == {rule}


def test_a_task_must_be_saved_soon_after_the_watchdog() -> None:
    assert rules(replace(STALLED, longest_gap_ns=17 * SECOND_NS)) == {"stall", "return"}


def test_what_the_machine_took_is_not_held_against_the_scheduler() -> None:
    busy = {"gap_ns": {"hog-a": 5 * SECOND_NS}, "machine_gap_ns": int(1.2 * SECOND_NS)}
    assert rules(crowd(**busy)) == set()
    assert not void(crowd(**busy))
    assert void(crowd(machine_gap_ns=2 * SECOND_NS))


def test_what_the_verifier_had_to_do_is_evidence() -> None:
    programs = {
        "enqueue": Verified(instructions=300, states=20, peak_states=18, stack_bytes=64),
        "dispatch": Verified(instructions=500, states=10, peak_states=9, stack_bytes=96),
        "exit": Verified(instructions=40),
    }
    evidence = judged(replace(GOOD, verified=programs), ORDERS, BOUND_NS).evidence
    of_verifier = {name: value for name, value in evidence.items() if name.startswith("verifier_")}
    assert of_verifier == {
        "verifier_insns": 840,
        "verifier_insns_most": 500,
        "verifier_states": 30,
        "verifier_peak_states_most": 18,
        "verifier_stack_bytes_most": 96,
    }


def test_a_verifier_that_says_nothing_is_no_evidence() -> None:
    assert not any(n.startswith("verifier_") for n in judged(GOOD, ORDERS, BOUND_NS).evidence)
