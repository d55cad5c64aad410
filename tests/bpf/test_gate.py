"""The gate from outside: source and manifest in, object or reasons out. Real clang and linker.

What it stops is in tests/gate: a corpus, and random hooks.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
from pathlib import Path

import msgspec
import pytest

from services.executor.gate import (
    Accepted,
    BuildRequest,
    Rejected,
    Workshop,
    build,
    check_object,
)
from services.executor.gate.elf import ObjectFile
from services.executor.gate.linker import LinkError, link
from services.executor.gate.pipeline import judge
from services.executor.gate.stage import Work
from services.executor.gate.workshop import BPF
from shared.policies import Catalogue, Parameter
from tests.bpf.fixtures.policies import hooks, manifest


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(cache=tmp_path_factory.mktemp("gate"))


def rejected(workshop: Workshop, source: str, **more: object) -> Rejected:
    request = BuildRequest(manifest=manifest("tried"), source=source)
    outcome = build(msgspec.structs.replace(request, **more), workshop)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.reasons
    assert outcome.verdicts[-1].stage == outcome.stage
    return outcome


@pytest.mark.parametrize("name", list(Catalogue.load()))
def test_every_shipped_policy_is_built(workshop: Workshop, name: str) -> None:
    outcome = build(BuildRequest.of(Catalogue.load()[name]), workshop)
    assert isinstance(outcome, Accepted), outcome
    assert outcome.artifact.sha256 == hashlib.sha256(outcome.object).hexdigest()
    assert outcome.artifact.evidence["insns_rank"] >= 2
    assert outcome.artifact.evidence["steps_rank"] <= outcome.artifact.evidence["insns_rank"]
    assert outcome.artifact.evidence["stack_bytes"] <= 512
    assert outcome.artifact.evidence["warnings"] == 0
    assert [verdict.passed for verdict in outcome.verdicts] == [True] * 5


def test_the_same_input_gives_the_same_bytes_wherever_it_is_built(tmp_path: Path) -> None:
    elsewhere = tmp_path / "a checkout" / "bpf"
    shutil.copytree(BPF, elsewhere)
    request = BuildRequest.of(Catalogue.load()["latency"])
    shops = [Workshop(cache=tmp_path / "1"), Workshop(bpf=elsewhere, cache=tmp_path / "2")]
    objects = [build(request, shop) for shop in shops]
    assert all(isinstance(each, Accepted) for each in objects)
    assert len({each.artifact.sha256 for each in objects if isinstance(each, Accepted)}) == 1


def test_an_object_tells_nothing_of_the_machine_it_was_built_on(workshop: Workshop) -> None:
    outcome = build(BuildRequest.of(Catalogue.load()["fifo"]), workshop)
    assert isinstance(outcome, Accepted)
    for path in (str(BPF.parent), "/tmp", "/usr", "/root", "cox-gate-"):
        assert path.encode() not in outcome.object


def test_the_manifest_sets_the_frame(workshop: Workshop) -> None:
    def window(**frame: int) -> int:
        request = BuildRequest(manifest=manifest("set", **frame), source=hooks())
        outcome = build(request, workshop)
        assert isinstance(outcome, Accepted)
        file = ObjectFile(outcome.object)
        place = next(s for s in file.symbols if s.name == "frame_window_ns")
        data = file.content(".rodata")[place.offset : place.offset + place.size]
        return int.from_bytes(data, "little")

    assert window() == 50_000_000
    assert window(frame_window_ns=70_000_000) == 70_000_000


def test_all_four_hooks_are_needed(workshop: Workshop) -> None:
    outcome = rejected(workshop, hooks().replace("cox_place", "cox_place_"))
    assert {r.rule for r in outcome.reasons} >= {"hook", "function"}


def test_a_mistake_is_reported_with_its_line_and_without_a_path(workshop: Workshop) -> None:
    outcome = rejected(workshop, hooks(rank="task->comm"))
    assert outcome.stage == "compile"
    assert outcome.reasons[0].line == 3
    assert "no member named 'comm'" in outcome.reasons[0].text
    assert not any("/" in reason.text for reason in outcome.reasons)


PARAMETER = Parameter(
    name="x_ns", summary="A parameter.", unit="ns", low=0, high=1 << 40, default=7
)


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        ("const volatile u64 x_ns = 8;", "the source says 8"),
        ("static const volatile u64 x_ns = 7;", "define it"),
        ("const volatile u32 x_ns = 7;", "do not fit 4 bytes"),
        ("", "define it"),
        ("const volatile u64 x_ns = 7;\nconst volatile u64 y_ns = 7;", "y_ns is not in the"),
    ],
)
def test_source_and_manifest_agree_on_parameters(
    workshop: Workshop, definition: str, says: str
) -> None:
    declared = msgspec.structs.replace(manifest("tried"), parameter=[PARAMETER])
    used = "(s64)x_ns" if "x_ns" in definition else "0"
    source = hooks(rank=used).replace("s64 cox_rank", definition + "\ns64 cox_rank", 1)
    outcome = rejected(workshop, source, manifest=declared)
    assert outcome.stage == "proof"
    assert any(says in reason.text for reason in outcome.reasons)


def test_a_manifest_that_would_let_tasks_wait_too_long_is_refused(workshop: Workshop) -> None:
    slow = manifest("tried", frame_window_ns=2_500_000_000, frame_group_window_ns=1_000_000_000)
    assert rejected(workshop, hooks(), manifest=slow).stage == "bound"
    odd = manifest("tried", frame_warp=1)
    assert rejected(workshop, hooks(), manifest=odd).stage == "bound"


def test_compiled_hooks_are_judged_like_their_source(workshop: Workshop) -> None:
    policy = Catalogue.load()["latency"]
    work = Work(manifest=policy.manifest, source=policy.source, workshop=workshop)
    assert judge(work)[-1].passed
    verdicts = check_object(work.hooks, policy.manifest, workshop)
    assert [verdict.stage for verdict in verdicts] == ["bound", "proof", "link"]
    assert verdicts[-1].passed
    told = check_object(work.hooks, manifest("tried"), workshop)[-1]
    assert "not in the manifest" in told.reasons[0].text


def test_what_cannot_be_seen_in_an_object_can_be_seen_in_the_reason(workshop: Workshop) -> None:
    """Spelling it out takes a codec, and behind the reader's walls none can be opened."""
    policy = Catalogue.load()["fifo"]
    work = Work(manifest=policy.manifest, source=policy.source, workshop=workshop)
    assert judge(work)[-1].passed
    hidden = work.hooks.replace(b".debug_abbrev", b"\x01debug_abbrev")
    verdict = check_object(hidden, policy.manifest, workshop)[-1]
    assert "\\x01debug_abbrev" in verdict.reasons[0].text


def test_what_the_proof_says_has_a_line_of_the_source(workshop: Workshop) -> None:
    outcome = rejected(workshop, hooks(place="*(volatile u32 *)task->pages"))
    assert outcome.stage == "proof"
    assert {reason.line for reason in outcome.reasons} == {5}


def test_a_crash_of_the_compiler_is_a_reason_and_says_nothing_about_the_machine(
    workshop: Workshop,
) -> None:
    outcome = rejected(workshop, hooks(rank="\n".join(["- " * 100] * 100) + "1"))
    assert (outcome.stage, outcome.reasons[0].rule) == ("compile", "failed")
    assert "/" not in outcome.reasons[0].text


def test_what_crashes_libbpf_by_itself_is_a_reason(tmp_path: Path) -> None:
    """Behind the proof's back: its list of sections refuses what crashes libbpf."""
    workshop = Workshop(cache=tmp_path / "cache")
    data = bytearray(workshop.frame())
    table = struct.unpack_from("<Q", data, 40)[0]
    data[table + 64 : table + 68] = b"\xff\xff\xff\x7f"
    with pytest.raises(LinkError, match="object 1: Invalid argument"):
        link([bytes(data)])
