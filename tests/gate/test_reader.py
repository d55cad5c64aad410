"""What reads an object is behind walls, and what it says is looked at."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from services.executor.gate import reader
from services.executor.gate.proof import ProofStage
from services.executor.gate.stage import MAX_REASONS, Work
from services.executor.gate.workshop import Workshop
from shared.messages import Reason
from shared.plain import is_plain
from tests.bpf.fixtures.policies import manifest
from tests.gate.jailed import Tampered

TOOL = Path(__file__).with_name("hostile_tool.py")
YES: dict[str, object] = {"reasons": [], "evidence": {"insns_rank": 3.0}, "object": b"x"}


def told(**changes: object) -> bytes:
    return msgspec.msgpack.encode(YES | changes)


def test_an_answer_is_taken_as_it_is() -> None:
    finding, made = reader.believed("proof", told())
    assert (finding.reasons, finding.evidence, made) == ([], {"insns_rank": 3.0}, b"x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no answer",
        told()[:-1],
        told() + b"x",
        told(verdict="yes"),
        told(reasons=None),
        told(evidence={"insns": float("nan")}),
        told(evidence={"insns": float("inf")}),
        told(evidence={"insns": "3"}),
        told(evidence={"a b": 1.0}),
        told(evidence={"x" * 65: 1.0}),
        told(evidence={f"e{number}": 1.0 for number in range(65)}),
        told(object="text"),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of msgspec's, too
        reader.believed("proof", data)


def test_its_words_are_made_plain_and_few() -> None:
    hidden = Reason(stage="bound", rule="r", text="fine\u202e\x1b[2J" + "a" * 10_000)
    finding, _ = reader.believed("proof", told(reasons=[hidden] * (MAX_REASONS + 5)))
    assert len(finding.reasons) == MAX_REASONS
    assert {each.stage for each in finding.reasons} == {"proof"}
    assert all(is_plain(each.text) and len(each.text) < 1000 for each in finding.reasons)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["crash"], "its reader was ended by SIGSEGV"),
        (["spin"], "its reader used more than 1 s of CPU"),
        (["socket"], "its reader ended with status"),
        (["write", "linked.o"], "its reader gave no answer"),
    ],
)
def test_a_reader_without_an_answer_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, command: list[str], words: str
) -> None:
    monkeypatch.setattr(reader, "_JAIL", Tampered(TOOL, *command))
    work = Work(manifest=manifest("tried"), source="", workshop=Workshop(), hooks=b"no object")
    (reason,) = ProofStage()(work).reasons
    assert (reason.stage, reason.rule) == ("proof", "object")
    assert words in reason.text
