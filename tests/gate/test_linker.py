"""The linker's jail against a linker that is an attacker's, as root and as an ordinary user.

Each attempt is made outside first, where it has to succeed: else its failure proves nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.executor.gate import linker
from services.executor.gate.jail import Ended, Jail, Limits
from tests.gate.jailed import Tampered, as_user

TOOL = Path(__file__).with_name("hostile_tool.py")
CANARY = "cox-canary-77aa"
Attempt = Callable[..., Ended]


@pytest.fixture(scope="session")
def tool(open_place: Path) -> Path:
    """Where an ordinary user can read it."""
    path = open_place / TOOL.name
    path.write_bytes(TOOL.read_bytes())
    return path


@pytest.fixture
def attempt(who: str, tool: Path, open_place: Path) -> Attempt:
    def run(*arguments: str, **limits: float) -> Ended:
        jail = Jail(tool, inside=True, limits=Limits(**limits))

        def inside() -> Ended:
            return jail.run(arguments, {"1.o": b"an object"}, makes="linked.o")

        return inside() if who == "root" else as_user(open_place, inside)

    return run


def outside(place: Path, *arguments: str) -> int:
    """The same attempt without a jail."""
    code = (
        "import runpy, sys; t = runpy.run_path(sys.argv[1])['prepare'](); sys.exit(t(sys.argv[2:]))"
    )
    command = [sys.executable, "-c", code, str(TOOL), *arguments]
    return subprocess.run(
        command, cwd=place, capture_output=True, timeout=60, check=False
    ).returncode


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What a cell looks like, without walls."""
    (tmp_path / "linked.o").touch()
    (tmp_path / "1.o").write_bytes(b"an object")
    return tmp_path


@pytest.fixture
def canary(open_place: Path) -> Path:
    path = open_place / "canary-of-the-linker"
    path.write_text(CANARY)
    path.chmod(0o777)
    return path


def test_it_reads_what_it_is_given_and_makes_what_it_should(attempt: Attempt) -> None:
    assert attempt("write", "linked.o") == Ended(output=b"written", said="", how="")
    assert attempt("truncate", "linked.o").output == b"written"
    assert attempt("read", "1.o").how == ""


@pytest.mark.parametrize("name", ["read", "write", "truncate", "remove", "rename", "execute"])
def test_nothing_else_can_be_touched(
    attempt: Attempt, place: Path, canary: Path, name: str
) -> None:
    script = f"#!/bin/sh\necho {CANARY}\n"
    canary.write_text(script)
    assert outside(place, name, str(canary)) == 0
    canary.write_text(script)
    canary.chmod(0o777)
    ended = attempt(name, str(canary))
    assert ended.how.startswith("ended with status"), ended
    assert CANARY.encode() not in ended.output
    assert canary.read_text() == script


@pytest.mark.parametrize(
    ("name", "argument"),
    [("make", "another.o"), ("write", "1.o"), ("remove", "linked.o"), ("link", "/etc/passwd")],
)
def test_its_own_directory_has_one_file_to_write(
    attempt: Attempt, place: Path, name: str, argument: str
) -> None:
    assert outside(place, name, argument) == 0
    assert attempt(name, argument).how.startswith("ended with status")


@pytest.mark.parametrize(("name", "argument"), [("socket", ""), ("fork", ""), ("list", "/")])
def test_the_kernel_refuses(attempt: Attempt, place: Path, name: str, argument: str) -> None:
    assert outside(place, name, argument) == 0
    assert attempt(name, argument).how.startswith("ended with status")


def test_nobody_can_be_signalled(attempt: Attempt, place: Path) -> None:
    assert outside(place, "kill", str(os.getpid())) == 0
    assert attempt("kill", str(os.getpid())).how.startswith("ended with status")


def test_what_it_makes_is_bounded(attempt: Attempt) -> None:
    ended = attempt("fill", "linked.o", output_bytes=2**20)
    assert len(ended.output) <= 2**20
    assert ended.how


def test_it_does_not_go_on_for_ever(attempt: Attempt) -> None:
    assert attempt("spin", cpu_s=1).how == "used more than 1 s of CPU"


@pytest.mark.parametrize(
    ("command", "words"), [(["crash"], "crashed on it"), (["spin"], "used more than")]
)
def test_its_end_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, tool: Path, command: list[str], words: str
) -> None:
    monkeypatch.setattr(linker, "_JAIL", Tampered(tool, *command))
    with pytest.raises(linker.LinkError, match=words):
        linker.link([b""])
