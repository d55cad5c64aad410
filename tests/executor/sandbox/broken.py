"""Whole schedulers that are broken on purpose, compiled for tests; no gate lets them pass."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from services.executor.gate.workshop import BPF
from shared.policies import Manifest
from tests.bpf.fixtures.policies import manifest

FRAMES: Final = Path(__file__).parent / "frames"
BROKEN: Final = {
    "stalls": "stall",
    "starves": "wait",
    "grudges": "starved",
    "idles": "idle",
    "storms": "wait",
}
"""Each with the rule that it breaks, whatever others it breaks besides."""


def broken(name: str, folder: Path) -> bytes:
    target = folder / f"{name}.o"
    includes = [f"-I{BPF / 'include'}", f"-I{FRAMES}"]
    subprocess.run(
        [
            *("clang-19", "-target", "bpf", "-mcpu=v4", "-std=gnu17", "-O2", "-g", "-nostdinc"),
            *("-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", *includes),
            *("-c", str(FRAMES / f"{name}.bpf.c"), "-o", str(target)),
        ],
        check=True,
    )
    return target.read_bytes()


def declared(name: str) -> Manifest:
    """What such a thing would say of itself: the frame's own bound."""
    return manifest(name)
