"""Small workloads of a test's own, and a runner for them: with a control group and without."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.observer import fenced
from services.observer.runner import WorkloadRunner
from shared.workloads import Catalogue

MakeRunner = Callable[..., WorkloadRunner]

MANIFEST = """
name = "{name}"
summary = "A test's own."
class = "mixed"
round_s = 0.1
timeout_s = {timeout_s}
command = ["{python}", "-I", "-S", "{{source}}/program.py", "{{seed}}"]
setup = {setup}
[objective]
metric = "time_s"
direction = "lower"
unit = "s"
{more}
"""
PRINT = """import json
print(json.dumps({"metrics": {"time_s": 1.5}}))
"""


@pytest.fixture(params=["own cgroup where the host lets us", "the fence alone"])
def confinement(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "the fence alone":
        monkeypatch.setattr(fenced, "make_cgroup", lambda _name: None)
    return str(request.param)


def write_workload(
    root: Path,
    program: str = PRINT,
    *,
    name: str = "tiny",
    timeout_s: float = 30.0,
    setup: list[list[str]] | None = None,
    more: str = "",
) -> Path:
    """A catalogue with a workload more, whose program is Python source."""
    directory = root / "catalogue" / name
    directory.mkdir(parents=True, exist_ok=True)
    manifest = MANIFEST.format(
        name=name, timeout_s=timeout_s, python=sys.executable, setup=setup or [], more=more
    )
    (directory / "workload.toml").write_text(manifest)
    (directory / "program.py").write_text(program)
    return directory.parent


@pytest.fixture
def make_runner(tmp_path: Path) -> MakeRunner:
    """Called with what `write_workload` takes."""

    def make(program: str = PRINT, **manifest: object) -> WorkloadRunner:
        path = write_workload(tmp_path, program, **manifest)  # type: ignore[arg-type]
        return WorkloadRunner(Catalogue.load(path), tmp_path / "work")

    return make
