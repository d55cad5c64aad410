"""From what a siege has measured to reasons and evidence: pure."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from services.executor.gate.stage import Finding, reason
from services.executor.host.exits import ExitKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.executor.siege import Measured, Orders, Phase

STAGE: Final = "sandbox"
MOST_IDLE: Final = 0.1
"""Of a CPU's time, beside tasks that wait for it. A proper scheduler leaves next to nothing."""
VICTIM_FLOOR: Final = 0.5
"""Of what a task of the crowd gets on average; its weight entitles the victim to far more."""
VICTIM_DUE: Final = 0.8
"""Of all CPUs: its group weighs 400, the crowd's 100."""
HOG_FLOOR: Final = 0.05
"""Of the same: less is no share. What is due late has more, whoever it is."""
BACK_S: Final = 1.0
"""For tasks to run by the default again once the watchdog has ended a scheduler."""
WATCHDOG_LOOKS: Final = 1.5
"""The kernel looks twice in each timeout: what it finds has waited for so many at most."""
MOST_MACHINE_GAP_NS: Final = 1_500_000_000
_NS: Final = 1e9
_OF_VERIFIER: Final[dict[str, tuple[str, Callable[[list[int]], int]]]] = {
    "insns": ("instructions", sum),
    "insns_most": ("instructions", max),
    "states": ("states", sum),
    "peak_states_most": ("peak_states", max),
    "stack_bytes_most": ("stack_bytes", max),
    "time_us": ("time_us", sum),
}
"""Evidence by name: which of a program's figures, and what is made of all programs'."""

Rule = tuple[str, str]


def void(measured: Measured) -> bool:
    """The machine itself has stood still for so long that nothing follows for the scheduler."""
    return any(phase.machine_gap_ns > MOST_MACHINE_GAP_NS for phase in _phases(measured))


def judged(measured: Measured, orders: Orders, wait_bound_ns: int) -> Finding:
    """Reasons against it, if any, and what was seen; `wait_bound_ns` is its manifest's."""
    if measured.refused:
        return Finding(reasons=[reason(STAGE, "verifier", measured.refused)])
    found = chain(
        _stayed(measured, orders),
        _waits(measured, wait_bound_ns),
        # The crowd's part outlasts the bound; in the rest one may rightly wait throughout.
        *(_shares(phase) for phase in _whole_phases(measured)[:1]),
        *(_idle(phase) for phase in _whole_phases(measured)),
        _returned(measured, orders),
    )
    texts = dict.fromkeys(found)
    return Finding(
        reasons=[reason(STAGE, rule, text) for rule, text in texts],
        evidence=_evidence(measured),
    )


def _phases(measured: Measured) -> list[Phase]:
    return [phase for phase in (measured.crowd, measured.free) if phase is not None]


def _whole_phases(measured: Measured) -> list[Phase]:
    """Those under the scheduler to their end: in half a one shares mean nothing."""
    return _phases(measured) if measured.attached else []


def _stayed(measured: Measured, orders: Orders) -> Iterator[Rule]:
    if measured.attached:
        return
    words = measured.exit.words if measured.exit else "it left no exit record"
    kind = measured.exit.kind if measured.exit else ExitKind.NONE
    if kind in {ExitKind.STALL, ExitKind.ERROR_RESCUE}:
        yield "stall", f"watchdog of {orders.watchdog_ms} ms: {words}"
    else:
        yield "exit", f"it did not stay: {words}"


def _waits(measured: Measured, wait_bound_ns: int) -> Iterator[Rule]:
    """Longer than promised, the machine's own gaps not counted."""
    worst, who = _worst_gap(measured)
    if worst > wait_bound_ns:
        promised = f"at most {wait_bound_ns / _NS:.1f} s are promised"
        yield "wait", f"{who} got no CPU for {worst / _NS:.1f} s; {promised}"
    counted = measured.counters.get("wait_max_ns", 0) - _machine_gap(measured)
    if counted > wait_bound_ns:
        yield "wait", f"the frame has counted a wait of {counted / _NS:.1f} s"


def _shares(phase: Phase) -> Iterator[Rule]:
    victims = {name: used for name, used in phase.used_s.items() if name.startswith("victim")}
    hogs = {name: used for name, used in phase.used_s.items() if name not in victims}
    mean = sum(hogs.values()) / max(1, len(hogs))
    for some, floor in ((victims, VICTIM_FLOOR), (hogs, HOG_FLOOR)):
        for name, used in some.items():
            if used <= floor * mean:
                text = (
                    f"{name} got {used:.2f} s of CPU in {phase.seconds:.1f} s; tasks of the crowd "
                    f"got {mean:.2f} s on average, and {floor:g} of that is the least"
                )
                yield "starved", text


def _idle(phase: Phase) -> Iterator[Rule]:
    for cpu, share in enumerate(phase.idle):
        if share > MOST_IDLE:
            text = f"CPU {cpu} idled for {share:.0%} of {phase.seconds:.1f} s, tasks waiting for it"
            yield "idle", text


def _returned(measured: Measured, orders: Orders) -> Iterator[Rule]:
    if measured.state != "disabled" or not measured.on_default:
        yield "return", f"afterwards not every task ran by the default: state {measured.state}"
    slack_s = _machine_gap(measured) / _NS
    saved_s = measured.longest_gap_ns / _NS - slack_s
    longest_s = WATCHDOG_LOOKS * orders.watchdog_ms / 1000 + BACK_S
    if not measured.attached and saved_s > longest_s:
        yield "return", f"a task was saved after {saved_s:.1f} s; at most {longest_s:.1f} s"


def _machine_gap(measured: Measured) -> int:
    return max((phase.machine_gap_ns for phase in _phases(measured)), default=0)


def _worst_gap(measured: Measured) -> tuple[int, str]:
    gaps = [
        (gap - phase.machine_gap_ns, name)
        for phase in _phases(measured)
        for name, gap in phase.gap_ns.items()
    ]
    return max(gaps, default=(0, ""))


def _evidence(measured: Measured) -> dict[str, float]:
    found = {
        "sandbox_cpus": float(measured.cpus),
        "sandbox_load_s": measured.load_s,
        "sandbox_attach_s": measured.attach_s,
        "sandbox_back_s": measured.back_s,
        "sandbox_wait_max_ns": float(measured.counters.get("wait_max_ns", 0)),
        "sandbox_gap_max_ns": float(max(0, _worst_gap(measured)[0])),
        "sandbox_machine_gap_ns": float(_machine_gap(measured)),
    }
    if phases := _phases(measured):
        found["sandbox_own_share"] = min(share for phase in phases for share in phase.own)
        found["sandbox_idle_share"] = max(share for phase in phases for share in phase.idle)
        crowd = phases[0]
        # Of one CPU: it is a single task. By its weight it should have four fifths of them all.
        used = sum(used for name, used in crowd.used_s.items() if name.startswith("victim"))
        found["sandbox_victim_share"] = used / crowd.seconds
        found["sandbox_victim_due"] = min(1.0, VICTIM_DUE * measured.cpus)
    return {name: round(value, 4) for name, value in (found | _verified(measured)).items()}


def _verified(measured: Measured) -> dict[str, float]:
    """What the kernel's verifier had to do, over all programs; what it has not said is left out."""
    return {
        f"verifier_{name}": float(whole(known))
        for name, (figure, whole) in _OF_VERIFIER.items()
        if (
            known := [
                value
                for program in measured.verified.values()
                if (value := getattr(program, figure)) is not None
            ]
        )
    }
