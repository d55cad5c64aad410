"""Whatever somebody writes, the gate answers, and what it lets pass is harmless."""

from __future__ import annotations

import io
import os
import struct
from collections import Counter

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.executor.gate import Accepted, BuildRequest, Rejected, Workshop, build, check_object
from services.executor.gate.pipeline import OBJECT_STAGES, STAGES, judge
from services.executor.gate.stage import Work
from shared.policies import Manifest
from tests.gate import written

EXAMPLES = int(os.environ.get("COX_GATE_EXAMPLES", "75"))
"""Of each shard. A run of clang takes a tenth of a second."""

MANIFEST = Manifest(name="written", version="0.0.1", summary="By chance.", good_for=[])
HOOKS = {"cox_rank", "cox_slice", "cox_place", "cox_preempt"}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(cache=tmp_path_factory.mktemp("gate"))


def harmless(data: bytes, frame: bytes) -> None:
    """Read with nothing of the gate's own: no call in a hook, nothing beside the frame's parts."""
    policy, plain = ELFFile(io.BytesIO(data)), ELFFile(io.BytesIO(frame))
    ours = {
        section.name: section["sh_size"]
        for section in plain.iter_sections()
        if section["sh_flags"] & 2 and section.name not in {".text", ".rodata"}
    }
    theirs = {
        section.name: section["sh_size"]
        for section in policy.iter_sections()
        if section["sh_flags"] & 2 and section.name not in {".text", ".rodata"}
    }
    assert theirs == ours
    symbols = policy.get_section_by_name(".symtab")
    before = {s.name for s in plain.get_section_by_name(".symtab").iter_symbols()}
    code = policy.get_section_by_name(".text").data()
    found = set()
    for symbol in symbols.iter_symbols():
        if symbol["st_info"]["type"] == "STT_FUNC" and symbol.name not in before - HOOKS:
            found.add(symbol.name)
            start, size = symbol["st_value"], symbol["st_size"]
            assert 0 < size <= 2 * 512 * 8
            plain_code(code[start : start + size])
    assert found == HOOKS


def plain_code(code: bytes) -> None:
    at = 0
    while at < len(code):
        opcode, registers, offset, _ = struct.unpack_from("<BBhi", code, at)
        assert opcode not in {0x85, 0x8D, 0xE5}, "a call, or may_goto"
        if opcode & 7 in {5, 6} and opcode != 0x06:
            assert offset >= 0, "a loop"
        if opcode == 0x18:
            # After linking, a parameter is a reference to the map of read-only data.
            assert registers >> 4 == 0, "a reference"
            at += 8
        at += 8


@pytest.mark.parametrize("shard", ["one", "two"])
def test_any_source_is_answered_and_what_passes_is_harmless(shard: str, workshop: Workshop) -> None:
    frame = workshop.frame()
    outcomes: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(written.hooks)
    def attempt(source: str) -> None:
        answer = build(BuildRequest(manifest=MANIFEST, source=source), workshop)
        assert isinstance(answer, Accepted | Rejected)
        if isinstance(answer, Rejected):
            outcomes[f"rejected by {answer.stage}"] += 1
            assert answer.reasons
            assert all(reason.text.isprintable() for reason in answer.reasons)
        else:
            outcomes["accepted"] += 1
            harmless(answer.object, frame)

    attempt()
    print(shard, dict(outcomes))  # for whoever runs thousands: pytest -rP
    assert {"accepted", "rejected by source", "rejected by compile"} <= outcomes.keys()


@pytest.fixture(scope="session")
def compiled(workshop: Workshop) -> list[bytes]:
    """The hooks' objects of the shipped policies."""
    found = []
    for source in written.SHIPPED:
        work = Work(manifest=MANIFEST, source=source, workshop=workshop)
        assert judge(work, STAGES)[-1].passed
        found.append(work.hooks)
    return found


@st.composite
def mutated(draw: st.DrawFn, objects: list[bytes]) -> bytes:
    """An object with bytes exchanged where it matters, perhaps cut short."""
    data = draw(st.sampled_from(objects))
    elf = ELFFile(io.BytesIO(data))
    parts = [(elf["e_shoff"], 64 * elf["e_shnum"]), (0, 64)]
    for name in (".text", ".rel.text", ".symtab", ".strtab", ".rodata", ".BTF", ".BTF.ext"):
        section = elf.get_section_by_name(name)
        parts.append((section["sh_offset"], section["sh_size"]))
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        start, size = draw(st.sampled_from(parts))
        changed[start + draw(st.integers(0, size - 1))] = draw(
            st.sampled_from([0, 1, 0x80, 0xFF]) | st.integers(0, 255)
        )
    return bytes(changed[: draw(st.just(len(data)) | st.integers(0, len(data)))])


def test_any_bytes_are_answered(workshop: Workshop, compiled: list[bytes]) -> None:
    frame = workshop.frame()
    outcomes: Counter[str] = Counter()
    stages = [stage for stage in STAGES if stage.name in OBJECT_STAGES]

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(mutated(compiled))
    def attempt(data: bytes) -> None:
        work = Work(manifest=MANIFEST, source="", workshop=workshop, hooks=data)
        last = judge(work, stages)[-1]
        outcomes["accepted" if last.passed else f"rejected by {last.stage}"] += 1
        if last.passed:
            harmless(work.object, frame)
        else:
            assert last.reasons
            assert "crashed" not in last.reasons[0].text, "the proof should have seen that"
            assert "its reader" not in last.reasons[0].text, "it should have known what it read"

    attempt()
    print(dict(outcomes))
    assert {"accepted", "rejected by proof"} <= outcomes.keys()


@given(st.binary(max_size=300))
def test_bytes_that_are_no_object_are_refused(workshop: Workshop, data: bytes) -> None:
    assert not check_object(data, MANIFEST, workshop)[-1].passed
