"""`cox bench minds --record` and `--replay`, from a kept profile to an exit code."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from bench import minds
from bench.comparing.lab import Kept, write_profile
from tests.bench.questions import PROFILED, WORKLOADS
from tests.planner.messages_api import KEY, message, messages_api, use
from tests.planner.sessions import hooks, name_of, proposing, writing


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    folder = tmp_path / "profiles"
    kept = Kept(workload_sha256=WORKLOADS["wakeup"].digest, profiled=PROFILED)
    write_profile(folder / "wakeup.json", kept)
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The command's own settings, which do not outlive it."""
    logging = structlog.get_config()
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "COX_MIND", "COX_MODEL"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    structlog.configure(**logging)


def run(asked: pytest.MonkeyPatch, *arguments: object) -> int:
    asked.setattr(sys, "argv", ["cox bench minds", *map(str, arguments)])
    return minds.main()


def test_it_is_recorded_without_a_guest_and_played_back_without_a_key(
    tmp_path: Path,
    profiles: Path,
    asked: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    talks = tmp_path / "talks"
    wrote = writing(hooks(random.Random(5)))
    script = [message(use("read_guide")), message(wrote), message(proposing(name_of(wrote)))]
    with messages_api(*script) as api:
        asked.setenv("ANTHROPIC_API_KEY", KEY)
        asked.setenv("ANTHROPIC_BASE_URL", api.url)
        assert run(asked, "--record", talks, "--profiles", profiles) == 0
    assert "3 answers" in capsys.readouterr().out
    asked.delenv("ANTHROPIC_API_KEY")
    asked.delenv("ANTHROPIC_BASE_URL")
    assert run(asked, "--replay", talks, "--strict") == 0
    out = capsys.readouterr().out
    assert "the same" in out
    assert f"generate: {name_of(wrote)}" in out

    file = talks / "wakeup.json"
    told = json.loads(file.read_text())
    told["common"]["system"][0]["text"] += " Be brief."
    told["turns"][0]["sha256"] = "0" * 64
    file.write_text(json.dumps(told))
    assert run(asked, "--replay", talks, "--strict") == 1
    assert "request 1: system[0].text" in capsys.readouterr().out
    assert run(asked, "--replay", talks) == 0
    assert "1 conversations, 1 of them stale" in capsys.readouterr().out


def test_a_model_without_a_plan_is_kept_and_is_an_error(
    tmp_path: Path, profiles: Path, asked: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with messages_api(message(proposing("turbo"))) as api:
        asked.setenv("ANTHROPIC_API_KEY", KEY)
        asked.setenv("ANTHROPIC_BASE_URL", api.url)
        assert run(asked, "--record", tmp_path, "--profiles", profiles) == 1
    assert "no plan: the model claude-sonnet-4-6 proposed nothing" in capsys.readouterr().out
    assert run(asked, "--replay", tmp_path, "--strict") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--record", "."], "there is no model to record"),
        (["--replay", "nowhere"], "there is no conversation"),
    ],
)
def test_what_is_missing_is_said(
    arguments: list[str],
    said: str,
    asked: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(asked, *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_workload_without_a_profile_says_how_to_get_one(
    tmp_path: Path, asked: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.setenv("ANTHROPIC_API_KEY", KEY)
    asked.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    arguments = ("--record", tmp_path, "--profiles", tmp_path, "--workload", "wakeup")
    assert run(asked, *arguments) == 2
    assert "cox bench compare --profiles-only --workload wakeup" in capsys.readouterr().err
