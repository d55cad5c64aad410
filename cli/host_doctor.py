"""`cox doctor --host`: whether this machine can itself be a host, and how well."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cli.findings import Finding
from services.observer.inventory import checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.findings import Standing

CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
"""Bits of CapEff: include/uapi/linux/capability.h."""
SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")
"""Reading one of these is a slow access to a device, or tells no more than the tick."""
CLOCKS = "sys/devices/system/clocksource/clocksource0"
UNSYNCHRONISED = 5
"""TIME_ERROR, which adjtimex(2) answers while nothing keeps the clock right."""
TIMEX_BYTES, TIMEX_MAXERROR = 208, 24
"""Size of `struct timex` on 64-bit Linux, and where its `maxerror` (µs) stands."""


class ClockSync(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel knows of its wall clock."""

    synchronised: bool
    error_s: float = 0.0
    """The largest error it may have."""


def read_clock_sync() -> ClockSync | None:
    """Ask adjtimex(2), changing nothing; None where the C library has none."""
    timex = ctypes.create_string_buffer(TIMEX_BYTES)
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return None
    state = adjtimex(timex)
    if state < 0:
        return None
    error_us = int.from_bytes(timex.raw[TIMEX_MAXERROR : TIMEX_MAXERROR + 8], "little", signed=True)
    return ClockSync(synchronised=state != UNSYNCHRONISED, error_s=error_us / 1e6)


def examine_host(
    root: Path = Path("/"),
    *,
    needed: bool,
    clock_sync: Callable[[], ClockSync | None] = read_clock_sync,
) -> list[Finding]:
    """Look at this machine as a host; `root` is where its /proc and /sys stand.

    What keeps it from being one is bad if that is `needed`, else a note.
    """
    obstacle: Standing = "bad" if needed else "note"
    return [
        *(
            Finding(
                what=check.what,
                standing="good" if check.good else obstacle,
                found=check.found,
                advice=_sentence(check.advice),
            )
            for check in checks(root)
        ),
        _tickless(root),
        _rights(root, obstacle),
        _clock_source(root),
        _clock(clock_sync()),
    ]


def _tickless(root: Path) -> Finding:
    listed = _read(root / "sys/devices/system/cpu/nohz_full")
    cpus = "" if listed == "(null)" else listed
    if not cpus:
        return Finding(what="CPUs without a tick", standing="good", found="none (nohz_full)")
    return Finding(
        what="CPUs without a tick",
        standing="note",
        found=f"CPUs {cpus} run without a tick (nohz_full)",
        advice="Tasks may be stranded there under a scheduler of ours: boot without nohz_full=, "
        "or keep workloads away from these CPUs.",
    )


def _rights(root: Path, obstacle: Standing) -> Finding:
    what = "rights to load schedulers"
    namespace = _read(root / "proc/self/uid_map").split()
    if namespace and namespace != ["0", "0", "4294967295"]:
        return Finding(
            what=what,
            standing=obstacle,
            found="this is a user namespace, where capabilities do not reach the kernel's BPF",
            advice="Run the executor outside of it.",
        )
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", _read(root / "proc/self/status"), re.MULTILINE)
    effective = int(found[1], 16) if found else 0
    held = [name for name, bit in CAPABILITIES.items() if effective >> bit & 1]
    if "CAP_SYS_ADMIN" in held or {"CAP_BPF", "CAP_PERFMON"} <= set(held):
        return Finding(what=what, standing="good", found=", ".join(held))
    return Finding(
        what=what,
        standing=obstacle,
        found=f"only {', '.join(held)}" if held else "none: neither CAP_SYS_ADMIN nor CAP_BPF",
        advice="Run the executor as root, or with CAP_BPF and CAP_PERFMON; "
        "look with the same rights: sudo cox doctor --host.",
    )


def _clock_source(root: Path) -> Finding:
    source = _read(root / CLOCKS / "current_clocksource")
    available = [name for name in _read(root / CLOCKS / "available_clocksource").split() if name]
    better = [name for name in available if name not in SLOW_CLOCKS]
    if source and source not in SLOW_CLOCKS:
        return Finding(what="clock source", standing="good", found=source)
    return Finding(
        what="clock source",
        standing="note",
        found=f"{source}, which is slow to read" if source else "the kernel names none",
        advice=f"Measured latencies hold its cost, on both sides of a pair. Set {better[0]} in "
        f"/{CLOCKS}/current_clocksource."
        if better
        else "Measured latencies hold its cost, on both sides of a pair. Nothing better is here.",
    )


def _clock(sync: ClockSync | None) -> Finding:
    advice = (
        "Commands carry the time when they expire, and spans the time when they began: "
        "run chrony or systemd-timesyncd."
    )
    if sync is None or not sync.synchronised:
        found = "the system does not say" if sync is None else "nothing keeps it right"
        return Finding(what="clock", standing="note", found=found, advice=advice)
    return Finding(
        what="clock", standing="good", found=f"synchronised, within {sync.error_s * 1000:.0f} ms"
    )


def _sentence(advice: str) -> str:
    return f"{advice[0].upper()}{advice[1:]}." if advice else ""


def _read(path: Path) -> str:
    """A small kernel file's text, stripped; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
