"""Linking of BPF objects in a process of its own, with limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S: Final = 20
_PROGRAM: Final = Path(__file__).with_name("libbpf_link.py")
_NO_LIBBPF: Final = 2


class LinkError(Exception):
    """The linker did not take a file; the text says which and the error's name."""


def link(objects: Sequence[Path], output: Path) -> bytes:
    """One object out of several, without debug data other than BTF. Raises LinkError."""
    # CPU time, memory, file size and core dumps: what linking 100 KiB never needs.
    limits = f"ulimit -t {TIMEOUT_S} && ulimit -v 1048576 && ulimit -f 16384 && ulimit -c 0"
    program = [sys.executable, "-I", "-S", str(_PROGRAM), str(output), *map(str, objects)]
    try:
        ended = subprocess.run(
            ["/bin/sh", "-c", f'{limits} && exec "$@"', "sh", *program],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LinkError(f"the linker did not end within {TIMEOUT_S} s") from None
    said = ended.stderr.rstrip().rpartition("\n")[2]
    if ended.returncode == _NO_LIBBPF:
        raise MachineError(
            "libbpf is missing",
            expected="libbpf.so.1",
            got=said,
            advice="Install the package libbpf1.",
        )
    if ended.returncode < 0:
        raise LinkError("the linker crashed on it: an object that no compiler has made")
    if ended.returncode:
        raise LinkError(said)
    return output.read_bytes()
