"""The Makefile, the locks and CI's entry."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib

import pytest

from tests.cli.conftest import CHECKOUT

LOCKS = ["dev.txt", "host.txt"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_index_is_named(name: str) -> None:
    text = (CHECKOUT / "requirements" / name).read_text()
    assert "://" not in text
    assert "index" not in text
    pins = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert pins
    for pin in pins:
        assert re.match(r"[a-z0-9.-]+==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_the_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    asked = {
        "host.txt": project["project"]["dependencies"],
        "dev.txt": [
            *project["project"]["dependencies"],
            *(
                each
                for extra in project["project"]["optional-dependencies"].values()
                for each in extra
            ),
            *project["dependency-groups"]["dev"],
        ],
    }
    for name, wanted in asked.items():
        text = (CHECKOUT / "requirements" / name).read_text()
        locked = set(re.findall(r"^([a-z0-9.-]+)==", text, flags=re.MULTILINE))
        assert {re.split(r"[<>=\[ ]", each)[0].lower() for each in wanted} <= locked


def test_make_help_lists_every_task() -> None:
    done = subprocess.run(
        ["make", "-C", str(CHECKOUT), "help"], capture_output=True, text=True, check=True
    )
    text = (CHECKOUT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)
    assert phony
    for task in set(phony[1].split()) - {"preflight"}:
        assert f"make {task} " in done.stdout, task


def test_ci_runs_the_tests_and_is_valid_shell() -> None:
    script = CHECKOUT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.read_text().rstrip().endswith("exec make test")
