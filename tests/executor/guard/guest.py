"""What a lab guest needs for the guard's scenarios (in_guest.py): tests and a bench run them."""

from __future__ import annotations

from pathlib import Path

from tests.executor.loader.conftest import compile_object

HERE = Path(__file__).parent
_IN_SOURCES = "tests/guard"
PLACE = f"/opt/coxswain/src/{_IN_SOURCES}"
"""Where the files are in the guest."""


def files_for_guest(folder: Path) -> dict[str, Path]:
    """The scripts, and the probe scheduler's object, compiled into `folder`."""
    probe = folder / "probe.bpf.o"
    compile_object(HERE.parent / "loader/fixtures/probe.bpf.c", probe, [])
    files = {f"{_IN_SOURCES}/{name}": HERE / name for name in ("in_guest.py", "hold.py")}
    return {**files, f"{_IN_SOURCES}/probe.bpf.o": probe}
