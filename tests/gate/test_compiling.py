"""clang in its jail, on text that wants more than to be compiled.

The lexer before it refuses most of this; here the jail stands alone.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from services.executor.gate.clang import FRAME_FLAGS, HOOK_FLAGS, Compiled, run_clang
from services.executor.gate.jail import Jail, Limits
from services.executor.gate.workshop import BPF, Workshop
from shared.errors import MachineError
from tests.gate.jailed import as_user, needs_root

CANARY = "cox_canary_5f1d"
Compile = Callable[..., Compiled]


@pytest.fixture(scope="session")
def canary(open_place: Path) -> Path:
    """A secret's path without its suffix: `.h` is C behind a type, `.s` is assembly."""
    for suffix, text in {".h": f"{CANARY} = 1;\n", ".s": f".globl {CANARY}\n"}.items():
        path = open_place / f"canary{suffix}"
        path.write_text(text)
        path.chmod(0o644)
    return path.with_suffix("")


@pytest.fixture(scope="session")
def headers(open_place: Path) -> Path:
    """Ours, where every user may read them: the checkout may be in root's home."""
    return Path(shutil.copytree(BPF / "include", open_place / "include"))


@pytest.fixture(params=["root", "user"])
def compile_(request: pytest.FixtureRequest, open_place: Path, headers: Path) -> Compile:
    if request.param == "root":
        needs_root("clang in the jail that root builds")
    clang = Workshop().toolchain.clang

    def run(
        source: str, *, flags: tuple[str, ...] = FRAME_FLAGS, include: bool = False, **limits: int
    ) -> Compiled:
        jail = Jail(clang, limits=Limits(**limits))
        includes = (headers,) if include else ()

        def inside() -> Compiled:
            return run_clang(jail, source, "hooks.bpf.c", flags=flags, includes=includes)

        return inside() if request.param == "root" else as_user(open_place, inside)

    return run


def outside(directory: Path, source: str) -> bytes:
    """All that clang without a jail makes of a source: object and words."""
    clang = Workshop().toolchain.clang
    (directory / "hooks.bpf.c").write_text(source)
    command = [clang, *FRAME_FLAGS, "-c", "hooks.bpf.c", "-o", "out.o"]
    said = subprocess.run(command, cwd=directory, capture_output=True, check=False).stderr
    made = directory / "out.o"
    return said + (made.read_bytes() if made.exists() else b"")


def everything(compiled: Compiled) -> bytes:
    return compiled.diagnostics.encode() + (compiled.object or b"")


LEAKS = {
    "include": 'int\n#include "{}.h"\n',
    "incbin": '__asm__(".incbin \\"{}.h\\"");\n',
    "assembler include": '__asm__(".include \\"{}.s\\"");\n',
    "embed": 'const char f[] = {{\n#embed "{}.h"\n}};\n',
    # clang reads a function's source anew, to put its lines into BTF.
    "line": '#line 1 "{}.h"\nint f(void) {{ return 1; }}\n',
}


@pytest.mark.parametrize("way", list(LEAKS))
def test_no_way_to_a_file_leads_out(
    compile_: Compile, canary: Path, tmp_path: Path, way: str
) -> None:
    source = LEAKS[way].format(canary)
    # clang 16 to 18 know no #embed.
    assert CANARY.encode() in outside(tmp_path, source) or way == "embed"
    compiled = compile_(source)
    assert CANARY.encode() not in everything(compiled)
    assert (compiled.object is None) == (way != "line")


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/proc/self/maps"])
def test_the_machine_cannot_be_included(compile_: Compile, tmp_path: Path, path: str) -> None:
    source = f'__asm__(".incbin \\"{path}\\"");\n'
    size = len(outside(tmp_path, source))
    compiled = compile_(source)
    assert compiled.object is None
    assert size > len(everything(compiled))


def test_a_source_compiles_and_leaves_no_path_behind(compile_: Compile, open_place: Path) -> None:
    source = (BPF / "policies" / "latency" / "hooks.bpf.c").read_text()
    compiled = compile_(source, flags=HOOK_FLAGS, include=True)
    assert compiled.object is not None, compiled.diagnostics
    assert compiled.object.startswith(b"\x7fELF")
    assert compiled.diagnostics == ""
    for path in ("cox-jail-", "/tmp", "/usr", "/cell", str(BPF)):
        assert path.encode() not in compiled.object


def test_a_mistake_in_a_header_is_told_without_its_place(compile_: Compile) -> None:
    compiled = compile_('#define u64 1\n#include "cox/hooks.h"\n', include=True)
    assert compiled.object is None
    assert "include/cox/" in compiled.diagnostics
    assert not any(line.startswith("/") for line in compiled.diagnostics.splitlines())
    assert "cox-jail-" not in compiled.diagnostics


MACRO_BOMB = "#define A0 0+0\n" + "".join(
    f"#define A{i} A{i - 1}+A{i - 1}+A{i - 1}+A{i - 1}\n" for i in range(1, 20)
)
BOMBS = {
    "macro bomb": f"{MACRO_BOMB}int x = A19;\n",
    "itself": '#include "hooks.bpf.c"\n#include "hooks.bpf.c"\n',
    "space": '__asm__(".space 1073741824");\n',
    "a huge array": "char x[1 << 30] = { 1 };\n",
    "many zeroes": "int x[1 << 28] = { [1 << 27] = 1 };\n",
    "braces": "int x = " + "{" * 60000 + "1" + "}" * 3000 + ";\n",
    "brackets": "int f(int x) { return " + "(" * 30000 + "x" + ")" * 30000 + "; }\n",
    "pointers": "int " + "*" * 60000 + "x;\n",
    "minus signs": "int f(int x) { return " + "- " * 30000 + "x; }\n",
    "statements": "void f(void) { " + "if (1) " * 9000 + "; }\n",
}
NO_ERROR = {"pointers"}
"""Of these clang makes an object, or not: it depends on its version. The proof judges it then."""


@pytest.mark.parametrize("bomb", list(BOMBS))
def test_a_bomb_hurts_nobody(compile_: Compile, bomb: str) -> None:
    compiled = compile_(BOMBS[bomb], cpu_s=3)
    assert len(compiled.object or b"") <= Limits().output_bytes
    if bomb not in NO_ERROR:
        assert compiled.object is None
        assert compiled.diagnostics.strip()
    assert len(compiled.diagnostics) <= Limits().said_bytes + 100
    # And the next one is compiled as ever.
    assert compile_("int x = 1;\n").object


def test_what_only_calls_a_compiler_is_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ccache does: it answers for clang outside, and cannot be clang in the jail."""
    workshop = Workshop()
    real = workshop.toolchain
    workshop.check_jail()
    (tmp_path / "clang-19").symlink_to("/bin/true")
    monkeypatch.setitem(
        workshop.__dict__, "toolchain", msgspec.structs.replace(real, clang=tmp_path / "clang-19")
    )
    del workshop.jail
    with pytest.raises(MachineError, match="does not work in its jail"):
        workshop.check_jail()


def test_a_frame_cannot_be_compiled_without_a_jail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.executor.gate.jail.assemble", lambda _calls: b"")
    with pytest.raises(MachineError, match="without it nothing is compiled"):
        Workshop(cache=tmp_path).frame()
