"""The jail: one run of a tool on what is hostile, as a process that can do nothing else.

cell.py builds it from inside; docs/jail.md says what holds and by what.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from services.executor.gate.syscalls import COMPILING, LINKING, assemble
from services.executor.gate.toolchain import parts
from shared.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

UID: Final = 61000
"""The tool's user and group where the gate is root: systemd's UIDS-GIDS.md leaves it unused."""
START_S: Final = 60.0
"""Within which a jail stands, on a machine that is busy; the tool's own time comes after it."""
_MIB: Final = 1024 * 1024
_CELL: Final = Path(__file__).with_name("cell.py")
_READY: Final = b"ready"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one run may use. It is one task with one file at the most: these bound all of it."""

    wall_s: float = 20.0
    cpu_s: int = 20
    memory_bytes: int = 768 * _MIB
    """Of address space; our policies need 400 MiB, most of it the compiler's own code."""
    output_bytes: int = 8 * _MIB
    """In what it makes, and as much on standard error."""
    said_bytes: int = 16 * 1024
    """What is kept of standard error."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What a run left."""

    output: bytes
    said: str
    how: str
    """Empty if it ended well."""


class Jail:
    """Runs `program` in a jail, again and again; what it may read is fixed at first."""

    def __init__(
        self,
        program: Path,
        *,
        limits: Limits | None = None,
        files: Sequence[Path] = (),
        inside: bool = False,
    ) -> None:
        """`files` are what the program consists of, where its loader cannot tell.

        With `inside` it is a Python file of ours, run by what has built the walls (`cell.py`): it
        loads libraries before, and behind them there is nothing to execute.
        """
        self.program = program.resolve()
        self.limits = limits or Limits()
        self._inside = inside
        self._files = () if inside else tuple(files) or parts(self.program)
        self._filter = assemble(LINKING if inside else COMPILING).hex()

    def run(
        self, arguments: Sequence[str], files: Mapping[str, bytes], *, makes: str = ""
    ) -> Ended:
        """Run it in a directory of `files`, by relative path. Raises MachineError without a jail.

        What it leaves in the file that it `makes`, or else on standard output, and what it says on
        standard error are kept up to their limits; nothing else of it remains.
        """
        with tempfile.TemporaryDirectory(prefix="cox-jail-") as name:
            place = Path(name)
            cell, scratch = place / "cell", place / "root"
            for directory in (cell, scratch):
                directory.mkdir()
            for path, content in files.items():
                file = cell / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            for each in (place, *place.rglob("*")):  # for the tool's own user
                each.chmod(0o755 if each.is_dir() else 0o644)
            if makes:
                (cell / makes).touch()
                (cell / makes).chmod(0o666)
            return self._enter(arguments, cell, scratch, makes)

    def _enter(self, arguments: Sequence[str], cell: Path, scratch: Path, makes: str) -> Ended:
        with _memory_file() as output, _memory_file() as said:
            heard, report = os.pipe()
            with os.fdopen(heard, "rb") as told:
                try:
                    plan = json.dumps(self._plan(arguments, scratch, makes, report))
                    process = subprocess.Popen(
                        [sys.executable, "-I", "-S", str(_CELL), plan],
                        cwd=cell,
                        env={},
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=said,
                        pass_fds=[report],
                        start_new_session=True,
                    )
                finally:
                    os.close(report)
                try:
                    with _killed_after(process, START_S):
                        answer = told.read()
                    with _killed_after(process, self.limits.wall_s) as late:
                        status = process.wait()
                finally:
                    process.kill()
                    process.wait()
            how = self._how(status, late=late.is_set())
            errors = _content(said, self.limits.said_bytes).decode(errors="replace")
            _believe(answer, how, errors)
            with (cell / makes).open("rb") if makes else contextlib.nullcontext(output) as made:
                content = _content(made, self.limits.output_bytes)
            return Ended(output=content, said=errors, how=how)

    def _how(self, status: int, *, late: bool) -> str:
        if late:
            return f"did not end within {self.limits.wall_s:g} s"
        if status == -signal.SIGXCPU:
            return f"used more than {self.limits.cpu_s} s of CPU"
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}" if status else ""

    def _plan(
        self, arguments: Sequence[str], scratch: Path, makes: str, report: int
    ) -> dict[str, object]:
        limits = {
            "RLIMIT_CPU": (self.limits.cpu_s, self.limits.cpu_s + 1),
            "RLIMIT_AS": (self.limits.memory_bytes,) * 2,
            "RLIMIT_FSIZE": (self.limits.output_bytes,) * 2,
            "RLIMIT_STACK": (8 * _MIB,) * 2,
            "RLIMIT_NOFILE": (64,) * 2,
            "RLIMIT_NPROC": (0,) * 2,
            "RLIMIT_MEMLOCK": (0,) * 2,
            "RLIMIT_CORE": (0,) * 2,
        }
        return {
            "command": [*arguments] if self._inside else [str(self.program), *arguments],
            "inside": str(self.program) if self._inside else None,
            # Not where it happens to be: that directory has what is hostile.
            "path": [each for each in sys.path if each] if self._inside else [],
            "environment": {
                "LC_ALL": "C",
                # Without /proc a program cannot tell where it is, nor then where its libraries are.
                "LD_LIBRARY_PATH": ":".join(dict.fromkeys(str(f.parent) for f in self._files)),
            },
            "readable": [str(file) for file in self._files],
            "writable": [makes] if makes else [],
            "uid": UID if os.geteuid() == 0 else None,
            "scratch": str(scratch),
            "limits": limits,
            "filter": self._filter,
            "parent": os.getpid(),
            "report": report,
        }


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """Kill it if it takes longer than the block may; the event tells of that."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _believe(report: bytes, how: str, errors: str) -> None:
    """Raises MachineError if the tool was not let into a whole jail."""
    if report == _READY:
        return
    got = report.decode(errors="replace") or f"{how}: {errors.strip()[-300:]}"
    wall = got.partition(":")[0]
    raise MachineError(
        "the gate's jail cannot be built here, and without it nothing is compiled or linked",
        expected=_EXPECTED.get(wall, "all of its walls"),
        got=got,
        advice=_ADVICE.get(wall, "docs/jail.md says what the jail needs."),
    )


def _memory_file() -> BinaryIO:
    return os.fdopen(os.memfd_create("jail"), "w+b")


def _content(file: BinaryIO, most: int) -> bytes:
    return os.pread(file.fileno(), most, 0)


_EXPECTED: Final = {
    "root": "root with CAP_SYS_ADMIN, or an ordinary user",
    "user": f"a right to be user {UID}, or an ordinary user",
    "landlock": "a kernel with Landlock (5.13 or later, with `landlock` among its lsm=)",
    "seccomp": "a kernel with seccomp filters",
    "tool": "libbpf.so.1, and the gate's own packages",
}
_ADVICE: Final = {
    "root": "Run the gate as an ordinary user: it needs no privilege.",
    "user": "Run the gate as an ordinary user: it needs no privilege.",
    "landlock": "Boot a kernel that has it; in a container, use an engine that lets it be used.",
    "tool": "Install the package libbpf1, and let the gate's user read its own packages.",
}
