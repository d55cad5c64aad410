"""Runs the jail as root and as an ordinary user, whoever the tests' own user is."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from services.executor.gate import jail

USER = 10001
"""As in our containers; nobody's on a development machine."""
Result = TypeVar("Result")


def needs_root(why: str) -> None:
    """Skip, so loudly that nobody takes it for tested."""
    if os.geteuid() != 0:
        pytest.skip(f"NOT ROOT, SO NOT TESTED: {why}")


def as_user(tools: Path, do: Callable[[], Result]) -> Result:
    """Call `do` in a child that is an ordinary user; `tools` is a directory that it may read."""
    if os.geteuid() != 0:
        return do()
    cell = shutil.copy(jail._CELL, tools)
    reading, writing = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # of threads, which are not ours
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            # The checkout and its interpreter may be in root's home.
            jail._CELL = Path(cell)
            pythons = (sys.executable, sys._base_executable, "/usr/bin/python3")
            sys.executable = next(each for each in pythons if os.access(each, os.X_OK))
            answer = (True, do())
        except BaseException:  # noqa: BLE001 - the parent raises it
            answer = (False, traceback.format_exc())
        with os.fdopen(writing, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = pickle.load(file)
    os.waitpid(child, 0)
    assert answer[0], answer[1]
    return answer[1]


class Tampered(jail.Jail):
    """The jail of a Python tool that does something else than what it is asked for."""

    def __init__(self, tool: Path, *command: str) -> None:
        super().__init__(tool, inside=True, limits=jail.Limits(cpu_s=1))
        self._command = command

    def run(self, *_arguments: object, **_options: object) -> jail.Ended:
        return super().run(self._command, {}, makes="linked.o")
