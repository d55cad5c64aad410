"""One probe's own process: bcc compiles it, the kernel runs it, and its end takes all of it away.

Run by `process.py` as `python3 -I child.py` with Debian's Python, which has bcc. It talks lines of
JSON: a plan comes in, what is loaded goes out; then what to watch and for how long comes in, and
raw figures go out. Nothing is pinned, so its programs, tables and attachments live exactly as long
as its descriptors do: until it ends, or is killed.

plan     {parent, sources: [text], attach: [[tracepoint, function]], lifetime_s}
ready    {programs: [id], maps: [id], compile_s, cpu_s}
watch    {group, level, tids: [tid], seconds}
raw      {seconds, figures: [number], lost, edges: [[waker, woken, count, ns]],
          names: [[name, count, ns]], runs, run_ns, cpu_s}     names in hexadecimal
failed   {problem, kind}

Imports nothing of ours: it runs under another Python than the executor may.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_SPREADS, _FIGURES, _MAXIMUM = 6, 36, 34
"""As in bpf/probes/probe.h; the longest of a spread is at this place."""
_ID = re.compile(r"^(prog|map)_id:\s*(\d+)$", re.MULTILINE)
_RUNS = re.compile(r"^(run_time_ns|run_cnt):\s*(\d+)$", re.MULTILINE)


class _UnsupportedError(Exception):
    """This host cannot run a probe, or not this one."""


def main() -> None:
    """One plan, one watch, one result."""
    began_s = time.monotonic()
    # What bcc and clang print is not for whoever reads our answers.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)

    def say(said: dict[str, Any]) -> None:
        print(json.dumps(said), file=answers, flush=True)

    plan = json.loads(sys.stdin.readline())
    _end_with(plan["parent"], plan["lifetime_s"])
    try:
        program = _compile(plan["sources"])
        functions = _load(program, plan["attach"])
        say({**_ids(), "compile_s": time.monotonic() - began_s, "cpu_s": _cpu_s()})
        watch = json.loads(sys.stdin.readline())
        say(_watch(program, plan["attach"], functions, watch))
    except _UnsupportedError as error:
        say({"problem": str(error), "kind": "unsupported"})
    except Exception as error:  # noqa: BLE001 - bcc raises bare ones; whatever it is ends here
        say({"problem": f"{type(error).__name__}: {error}", "kind": "failed"})


def _end_with(parent: int, lifetime_s: int) -> None:
    """Die with the executor, and by itself if that one hangs; be the first to go without memory."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    signal.alarm(lifetime_s)
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _compile(sources: list[str]) -> Any:
    try:
        from bcc import BPF  # noqa: PLC0415 - only here it is known whether there is one
    except ImportError as error:
        raise _UnsupportedError("this host has no bcc (python3-bpfcc)") from error
    release = os.uname().release
    if not Path(f"/lib/modules/{release}/build/include").exists():
        raise _UnsupportedError(f"there are no headers of this kernel ({release})")
    return BPF(text="\n".join(sources))


def _load(program: Any, attach: list[list[str]]) -> list[Any]:
    """All programs through the verifier, none of them attached yet."""
    for tracepoint, _ in attach:
        if not program.tracepoint_exists(*tracepoint.split(":")):
            raise _UnsupportedError(f"this kernel has no tracepoint {tracepoint}")
    return [program.load_func(name, program.TRACEPOINT) for _, name in attach]


def _watch(
    program: Any, attach: list[list[str]], functions: list[Any], watch: dict[str, Any]
) -> dict[str, Any]:
    with _Statistics():
        scope = program["scope"]
        scope[ctypes.c_int(0)] = ctypes.c_ulonglong(watch["group"])
        scope[ctypes.c_int(1)] = ctypes.c_ulonglong(watch["level"])
        members = program["members"]
        for tid in watch["tids"]:
            members[ctypes.c_uint(tid)] = ctypes.c_ubyte(1)
        began_s = time.monotonic()
        for tracepoint, name in attach:
            program.attach_tracepoint(tp=tracepoint, fn_name=name)
        time.sleep(watch["seconds"])
        for tracepoint, _ in attach:
            program.detach_tracepoint(tp=tracepoint)
        seconds = time.monotonic() - began_s
        runs, run_ns = _runs(functions)
    return {
        "seconds": seconds,
        "figures": _figures(program["figures"]),
        "lost": program["lost"][ctypes.c_int(0)].value,
        "edges": _edges(program),
        "names": _names(program),
        "runs": runs,
        "run_ns": run_ns,
        "cpu_s": _cpu_s(),
    }


class _Statistics:
    """Has the kernel count how long programs run, while this is open; where it can (5.8)."""

    _ENABLE_STATS = 32
    _BPF = 321
    """bpf(2) on x86_64; struct { __u32 type; } enable_stats with BPF_STATS_RUN_TIME."""

    def __enter__(self) -> None:
        run_time = ctypes.c_uint32(0)
        call = ctypes.CDLL(None, use_errno=True).syscall
        self._fd = call(self._BPF, self._ENABLE_STATS, ctypes.byref(run_time), 4)

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _runs(functions: list[Any]) -> tuple[int, int]:
    """How often the kernel has run our programs, and for how long."""
    found = {"run_cnt": 0, "run_time_ns": 0}
    for function in functions:
        text = Path(f"/proc/self/fdinfo/{function.fd}").read_text(encoding="ascii")
        for name, value in _RUNS.findall(text):
            found[name] += int(value)
    return found["run_cnt"], found["run_time_ns"]


def _figures(table: Any) -> list[int]:
    """Summed over CPUs; of the longest, the longest."""
    found = []
    for at in range(_SPREADS * _FIGURES):
        of_cpus = list(table[ctypes.c_int(at)])
        found.append(max(of_cpus) if at % _FIGURES == _MAXIMUM else sum(of_cpus))
    return found


def _edges(program: Any) -> list[list[Any]]:
    return [
        [_hex(edge.waker.text), _hex(edge.woken.text), sum_.count, sum_.total_ns]
        for edge, sum_ in _items(program, "edges")
    ]


def _names(program: Any) -> list[list[Any]]:
    return [
        [_hex(name.text), sum_.count, sum_.total_ns] for name, sum_ in _items(program, "by_name")
    ]


def _items(program: Any, table: str) -> list[tuple[Any, Any]]:
    """Of a table that not every probe has."""
    try:
        return list(program[table].items())
    except KeyError:
        return []


def _hex(text: bytes) -> str:
    """Anybody's bytes, up to the NUL."""
    return bytes(text).partition(b"\0")[0].hex()


def _ids() -> dict[str, list[int]]:
    """What the kernel calls what we hold."""
    found: dict[str, list[int]] = {"prog": [], "map": []}
    for entry in Path("/proc/self/fdinfo").iterdir():
        try:
            text = entry.read_text(encoding="ascii")
        except OSError:  # the one that lists them
            continue
        for kind, number in _ID.findall(text):
            found[kind].append(int(number))
    return {"programs": sorted(set(found["prog"])), "maps": sorted(set(found["map"]))}


def _cpu_s() -> float:
    return time.process_time()


if __name__ == "__main__":
    main()
