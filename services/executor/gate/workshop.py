"""The gate's tools: compiler, headers, the frame's object, and a cache for the latter."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Final

import platformdirs

from services.executor.gate.clang import FRAME_FLAGS, HOOK_FLAGS, run_clang
from services.executor.gate.jail import Jail
from services.executor.gate.toolchain import Toolchain, find_toolchain
from shared.errors import MachineError

BPF: Final = Path(__file__).resolve().parents[3] / "bpf"


class Workshop:
    """Finds the tools once and compiles the frame once per content of its sources."""

    def __init__(self, *, bpf: Path = BPF, cache: Path | None = None) -> None:
        self.bpf = bpf
        self.cache = cache or Path(platformdirs.user_cache_dir("coxswain")) / "gate"

    @cached_property
    def toolchain(self) -> Toolchain:
        """The compiler in use. Raises MachineError."""
        return find_toolchain()

    @cached_property
    def jail(self) -> Jail:
        """Where the compiler runs. Raises MachineError."""
        return Jail(self.toolchain.clang)

    def check_jail(self) -> None:
        """See once that the jail holds here and the compiler works in it. Raises MachineError."""
        ended = self.jail.run(["--version"], {})
        if not ended.output.decode(errors="replace").startswith(self.toolchain.version):
            raise MachineError(
                "the compiler does not work in its jail",
                expected=f"{self.jail.program} to say {self.toolchain.version}",
                got=f"{ended.output[:200]!a} {ended.said[-300:]} {ended.how}".strip(),
                advice="Put clang itself, not a program that calls it, first in PATH.",
            )

    @property
    def include(self) -> Path:
        """Where our headers are."""
        return self.bpf / "include"

    @property
    def headers_sha256(self) -> str:
        """Of what every policy is built with: the frame's sources, our headers, the flags."""
        frame = self.bpf / "frame"
        digest = hashlib.sha256(repr((FRAME_FLAGS, HOOK_FLAGS)).encode())
        for path in (*sorted(frame.glob("*.[ch]")), *sorted(self.include.rglob("*.h"))):
            digest.update(path.relative_to(self.bpf).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
        return digest.hexdigest()

    def frame(self) -> bytes:
        """The frame's object. Raises MachineError: a frame that does not compile is our fault."""
        frame = self.bpf / "frame"
        source = frame / "frame.bpf.c"
        key = hashlib.sha256(f"{self.toolchain.version} {self.headers_sha256}".encode())
        kept = self.cache / f"frame-{key.hexdigest()}.o"
        try:
            return kept.read_bytes()
        except FileNotFoundError:
            pass
        built = run_clang(
            self.jail,
            source.read_text(encoding="utf-8"),
            "frame.bpf.c",
            flags=FRAME_FLAGS,
            includes=(self.include, frame),
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
