"""`make gate-corpus`, file by file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from services.executor.gate.workshop import find_toolchain
from tests.gate import corpus
from tests.gate.corpus import __main__ as command
from tests.gate.corpus.bench import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("case", corpus.hostile(), ids=lambda case: case.name)
def test_hostile_hooks_are_stopped_by_each_stage_that_should(
    bench: Bench, case: corpus.Case, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = bench.try_hostile(case)
    assert not outcome.problem
    assert bench.secret not in "".join(capfd.readouterr())


@pytest.mark.parametrize("case", corpus.benign(), ids=lambda case: case.name)
def test_odd_but_legal_hooks_pass(bench: Bench, case: corpus.Case) -> None:
    assert not bench.try_benign(case).problem


def test_the_secret_is_within_reach_of_a_compiler_without_a_gate(
    bench: Bench, tmp_path: Path
) -> None:
    """Otherwise its absence would prove nothing."""
    case = next(case for case in corpus.hostile() if case.name == "22-embed-limited")
    text = case.text.replace("@CANARY@", str(bench._canary)).replace("limit(8)", "")
    (tmp_path / "own.c").write_text(text.replace("file[8]", "file[]"))
    include = f"-I{bench.workshop.include}"
    subprocess.run(
        [find_toolchain().clang, "-target", "bpf", "-O2", "-w", include, "-c", "own.c"],
        cwd=tmp_path,
        check=True,
    )
    assert bench.secret.encode() in (tmp_path / "own.o").read_bytes()


def test_every_case_that_a_static_gate_can_stop_is_there() -> None:
    numbers = {int(case.name[:2]) for case in corpus.hostile()}
    legal = "".join(case.text for case in corpus.benign())
    numbers |= {int(number) for number in re.findall(r"Case (\d+):", legal)}
    # 27 and 28 are about what happens after the gate.
    assert numbers >= set(range(1, 27))


def test_the_command_says_what_came_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = corpus.hostile(), corpus.benign()
    monkeypatch.setattr(command, "hostile", lambda: bad[:2])
    monkeypatch.setattr(command, "benign", lambda: good[:1])
    assert command.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "2 hostile: 2 stopped, 0 loaded; 1 benign: 1 passed"
    )
    monkeypatch.setattr(command, "hostile", lambda: [good[0]._replace(stops=bad[0].stops)])
    monkeypatch.setattr(command, "benign", lambda: [bad[0]])
    assert command.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "1 hostile: 0 stopped, 1 loaded; 1 benign: 0 passed"
    )
