"""The gate's tools: compiler, headers, the frame's object, and a cache for the latter."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
import platformdirs

from services.executor.gate.clang import FRAME_FLAGS, run_clang
from shared.errors import MachineError

BPF: Final = Path(__file__).resolve().parents[3] / "bpf"
OLDEST_CLANG: Final = 16  # btf_decl_tag on parameters and -mcpu=v4 need it
CLANGS: Final = ("clang-19", "clang-18", "clang-17", "clang-16", "clang")


class Toolchain(msgspec.Struct, frozen=True):
    """A compiler: where it is, and the one line by which it names itself."""

    clang: Path
    version: str


def find_toolchain() -> Toolchain:
    """The newest clang this project knows. Raises MachineError if there is none."""
    seen = []
    for name in CLANGS:
        path = shutil.which(name)
        if path is None:
            continue
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        first = answer.stdout.partition("\n")[0]
        number = re.search(r"version (\d+)\.", first)
        if number and int(number[1]) >= OLDEST_CLANG:
            return Toolchain(Path(path), first.strip())
        seen.append(f"{path}: {first or answer.stderr.strip()}"[:120])
    raise MachineError(
        "there is no compiler for BPF here",
        expected=f"clang {OLDEST_CLANG} or newer, as one of {', '.join(CLANGS)}",
        got="; ".join(seen) or "none of them",
        advice="Install clang-19 (Debian 12 and later have it).",
    )


class Workshop:
    """Finds the tools once and compiles the frame once per content of its sources."""

    def __init__(self, *, bpf: Path = BPF, cache: Path | None = None) -> None:
        self.bpf = bpf
        self.cache = cache or Path(platformdirs.user_cache_dir("coxswain")) / "gate"

    @cached_property
    def toolchain(self) -> Toolchain:
        """The compiler in use. Raises MachineError."""
        return find_toolchain()

    @property
    def include(self) -> Path:
        """Where our headers are."""
        return self.bpf / "include"

    def frame(self) -> bytes:
        """The frame's object. Raises MachineError: a frame that does not compile is our fault."""
        frame = self.bpf / "frame"
        source = frame / "frame.bpf.c"
        key = hashlib.sha256(repr((self.toolchain.version, FRAME_FLAGS)).encode())
        for path in (source, *sorted(frame.glob("*.h")), *sorted(self.include.rglob("*.h"))):
            key.update(path.relative_to(self.bpf).as_posix().encode() + b"\0")
            key.update(path.read_bytes() + b"\0")
        kept = self.cache / f"frame-{key.hexdigest()}.o"
        try:
            return kept.read_bytes()
        except FileNotFoundError:
            pass
        with tempfile.TemporaryDirectory(prefix="cox-frame-") as directory:
            built = run_clang(
                self.toolchain.clang,
                source.read_text(encoding="utf-8"),
                "frame.bpf.c",
                flags=FRAME_FLAGS,
                includes=(self.include, frame),
                directory=Path(directory),
            )
        if built.object is None:
            raise MachineError(
                "the frame does not compile with this compiler",
                expected="an object",
                got=built.diagnostics[:2000],
                advice=f"Install clang-19; this is {self.toolchain.version}.",
            )
        self.cache.mkdir(parents=True, exist_ok=True)
        # Two gates may do this at once; the last rename wins with the same bytes.
        handle, name = tempfile.mkstemp(dir=self.cache)
        with os.fdopen(handle, "wb") as file:
            file.write(built.object)
        Path(name).replace(kept)
        return built.object
