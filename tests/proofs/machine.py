"""The frame's own C on a machine in virtual time: native/kernel.c, compiled once and driven.

One machine at a time in a process: the frame's state is global, as it is in a kernel.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from services.executor.gate.workshop import BPF, find_toolchain

HOOKS: Final = ("rank", "slice", "place", "preempt")
KERNEL: Final = Path(__file__).parent / "native" / "kernel.c"
MASK: Final = (1 << 64) - 1

Adversary = Callable[[int, int, int], int]
"""Index in HOOKS, number of the task, ns of the clock → any 64 bits."""


def compile_frame(target: Path, *, mutation: tuple[str, str, str] | None = None) -> Path:
    """The shared object. A mutation is a file of the frame, a text in it, and its replacement."""
    frame = target.parent / f"{target.stem}-frame"
    shutil.copytree(BPF / "frame", frame)
    if mutation is not None:
        name, old, new = mutation
        text = (frame / name).read_text()
        assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old}"
        (frame / name).write_text(text.replace(old, new))
    subprocess.run(
        [
            *(find_toolchain().clang, "-std=gnu17", "-O2", "-shared", "-fPIC", "-nostdinc"),
            *("-Wall", "-Wno-unused-function"),
            # What only means something to BPF.
            *("-Wno-ignored-attributes", "-Wno-unknown-attributes"),
            *(f"-I{BPF / 'include'}", f"-I{frame}", KERNEL, "-o", target),
        ],
        check=True,
    )
    return target


class Machine:
    """CPUs, tasks and the frame between them. Events act at once; only `run` takes time."""

    def __init__(self, library: Path) -> None:
        self._c = ctypes.CDLL(str(library))
        self._keep: Any = None
        for name in ("waited", "turned", "ran"):
            getattr(self._c, name).restype = ctypes.c_uint64

    def boot(
        self, llcs: Sequence[int], adversary: Adversary, settings: Mapping[str, int] | None = None
    ) -> None:
        """Start with a CPU for each LLC named, the frame's settings, and hooks that answer so."""
        for name, value in (settings or {}).items():
            ctypes.c_uint64.in_dll(self._c, name).value = value
        kind = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64)
        self._keep = kind(lambda hook, task, now: adversary(hook, task, now) & MASK)
        ctypes.c_void_p.in_dll(self._c, "adversary").value = ctypes.cast(
            self._keep, ctypes.c_void_p
        ).value
        self._c.machine(len(llcs), (ctypes.c_int * len(llcs))(*llcs))

    def task(
        self, number: int, *, cpus: int, weight: int = 100, kthread: bool = False, group: int = 0
    ) -> None:
        """A new task, asleep; `cpus` are bits."""
        self._c.add_task(number, ctypes.c_uint64(cpus), weight, kthread, group)

    def group(self, slot: int, parent: int, weight: int, vtime: int, level_vtime: int) -> None:
        """A control group with any past."""
        self._c.set_group(
            slot, parent, weight, ctypes.c_uint64(vtime), ctypes.c_uint64(level_vtime)
        )

    def do(self, event: str, *arguments: int) -> None:
        """wake(task, by_cpu) · sleep_on(cpu) · yield_on(cpu) · interrupt(cpu) · pin_on(cpu) ·
        requeue(task, by_cpu)."""
        getattr(self._c, event)(*arguments)

    def run(self, ns: int) -> None:
        """Let time pass."""
        self._c.pass_time(ctypes.c_uint64(ns))

    def waited(self, task: int) -> int:
        """Its longest wait for a CPU, ns, the present one included."""
        return int(self._c.waited(task))

    def turned(self, task: int) -> int:
        """The longest it took from being queued to the end of a whole slice, ns."""
        return int(self._c.turned(task))

    def ran(self, task: int) -> int:
        """CPU time, ns."""
        return int(self._c.ran(task))

    def number(self, name: str) -> int:
        """A 64-bit variable of native/kernel.c."""
        return int(ctypes.c_uint64.in_dll(self._c, name).value)

    def counter(self, index: int) -> int:
        """One of enum cox_counter."""
        return int((ctypes.c_uint64 * 32).in_dll(self._c, "counters")[index])

    @property
    def failure(self) -> str | None:
        """What a real kernel would have ended the scheduler for."""
        said = ctypes.c_char_p.in_dll(self._c, "failure").value
        return said.decode() if said else None
