from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.comparing.lab import LabHost, _next_pairs
from bench.comparing.rounds import Ledger, Tried
from shared.errors import InputError
from shared.messages import Artifact, Objective, Round, TrialCommand, TrialSpec

SPEC = TrialSpec(objective=Objective(metric="p99", direction="lower"), max_pairs=12)
COMMAND = TrialCommand(
    optimization="o1",
    trial="o1-t1",
    policy="latency",
    version="1.0.0",
    parameters={"a": 1, "b": 2},
    artifact=Artifact(
        sha256="a" * 64,
        size_bytes=1,
        policy="latency",
        version="1.0.0",
        source_sha256="b" * 64,
        toolchain="t",
    ),
    workload="wakeup",
    spec=SPEC,
    seed=1,
)


def tried(command: TrialCommand = COMMAND, digest: str = "w") -> Tried:
    return Tried.of(command, digest)


def measured(ratio: float) -> Round:
    return Round(
        optimization="bench",
        trial="bench-1",
        host="lab-1",
        index=0,
        order="AB",
        seed=5,
        baseline={"p99": 1.0, "cpu_s": 3.0},
        candidate={"p99": ratio, "cpu_s": 4.0},
        seconds=9.0,
        spec=SPEC,
    )


def test_pairs_are_known_again_after_an_interruption(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    ledger = Ledger(path, "m")
    for ratio in (0.5, 0.6):
        ledger.add(tried(), measured(ratio))
    again = Ledger(path, "m").known(tried())
    assert [pair.candidate["p99"] for pair in again] == [0.5, 0.6]
    assert [pair.index for pair in again] == [0, 1]
    told = again[1].as_round("lab-1", SPEC)
    assert (told.index, told.candidate, told.seconds) == (1, {"p99": 0.6, "cpu_s": 4.0}, 9.0)


@pytest.mark.parametrize(
    "other",
    [
        tried(replace(COMMAND, policy="fair")),
        tried(replace(COMMAND, version="1.0.1")),
        tried(replace(COMMAND, parameters={"a": 1, "b": 3})),
        tried(replace(COMMAND, workload="pulse")),
        tried(replace(COMMAND, spec=replace(SPEC, stage="screen"))),
        tried(replace(COMMAND, artifact=replace(COMMAND.artifact, sha256="c" * 64))),
        tried(digest="changed"),
    ],
)
def test_pairs_are_of_one_candidate_one_workload_and_one_stage(
    tmp_path: Path, other: Tried
) -> None:
    ledger = Ledger(tmp_path / "rounds.jsonl", "m")
    ledger.add(tried(), measured(0.5))
    assert ledger.known(other) == []
    assert len(ledger.known(tried())) == len(ledger) == 1


def test_the_order_of_parameters_makes_no_other_candidate(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "rounds.jsonl", "m")
    ledger.add(tried(), measured(0.5))
    assert ledger.known(tried(replace(COMMAND, parameters={"b": 2, "a": 1})))


def test_a_line_that_was_cut_off_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    ledger = Ledger(path, "m")
    ledger.add(tried(), measured(0.5))
    ledger.add(tried(), measured(0.6))
    path.write_bytes(path.read_bytes()[:-30])
    again = Ledger(path, "m")
    assert len(again.known(tried())) == 1
    again.add(tried(), measured(0.7))
    assert [p.candidate["p99"] for p in Ledger(path, "m").known(tried())] == [0.5, 0.7]


def test_rounds_of_another_machine_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    Ledger(path, "one").add(tried(), measured(0.5))
    with pytest.raises(InputError, match="another machine"):
        Ledger(path, "another")


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    path.write_text("[]\n")
    with pytest.raises(InputError, match="no ledger"):
        Ledger(path, "m")


@pytest.mark.parametrize(
    ("stage", "told", "pairs"),
    [
        ("confirm", 0, 4),
        ("confirm", 4, 4),
        ("confirm", 8, 2),
        ("confirm", 11, 1),
        ("screen", 2, 10),
    ],
)
def test_no_more_is_measured_than_until_the_next_look_that_may_decide(
    stage: str, told: int, pairs: int
) -> None:
    spec = replace(SPEC, stage=stage)
    assert _next_pairs(replace(COMMAND, spec=spec), told) == pairs


async def test_what_the_ledger_knows_is_not_measured(tmp_path: Path) -> None:
    from shared.workloads import Catalogue
    from tests.bench.questions import INVENTORY

    workloads = Catalogue.load()
    ledger = Ledger(tmp_path / "rounds.jsonl", "m")
    known = tried(digest=workloads["wakeup"].digest)
    for ratio in (0.5, 0.6, 0.7):
        ledger.add(known, measured(ratio))

    # A bus that is none: whoever asked it anything would break.
    host = LabHost(None, INVENTORY, workloads, ledger, tmp_path)  # type: ignore[arg-type]
    three = replace(COMMAND, spec=replace(SPEC, max_pairs=3))
    assert [each.candidate["p99"] async for each in host.rounds(three, 0)] == [0.5, 0.6, 0.7]
    two = replace(COMMAND, spec=replace(SPEC, max_pairs=2))
    assert [each.candidate["p99"] async for each in host.rounds(two, 1)] == [0.6, 0.7]
    assert host.measured == 0
