"""The gate from outside: source and manifest in, object or reasons out. Real clang and linker."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import msgspec
import pytest

from services.executor.gate import Accepted, BuildRequest, Rejected, Workshop, build
from services.executor.gate.elf import ObjectFile
from services.executor.gate.workshop import BPF
from shared.policies import Catalogue, Parameter
from tests.bpf.fixtures.policies import HOSTILE, hooks, manifest


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
    assert outcome.artifact.evidence["warnings"] == 0
    assert [verdict.passed for verdict in outcome.verdicts] == [True] * 5


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hooks_may_answer_anything(workshop: Workshop, name: str) -> None:
    request = BuildRequest(manifest=manifest(name), source=HOSTILE[name])
    assert isinstance(build(request, workshop), Accepted)


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


@pytest.mark.parametrize(
    ("answer", "callee"),
    [
        ("((long (*)(void))36)()", "helper 36"),  # bpf_probe_write_user, by number
        ("((long (*)(void *))113)((void *)cpu)", "helper 113"),
        ("((long (*)(u64))task->pages)(1)", "through a register"),
    ],
)
def test_calls_are_found_in_the_bytecode(workshop: Workshop, answer: str, callee: str) -> None:
    outcome = rejected(workshop, hooks(rank=answer))
    assert outcome.stage == "proof"
    assert outcome.reasons[0].rule == "call"
    assert callee in outcome.reasons[0].text


EXTRA = {
    "a program": (
        '__attribute__((section("kprobe/x"), used)) int p(void *c) { return 0; }',
        "section",
    ),
    "another struct_ops": (
        (
            "struct tcp_congestion_ops { int x; };\n"
            '__attribute__((section(".struct_ops"), used)) struct tcp_congestion_ops o = { 1 };'
        ),
        "section",
    ),
    "a map": (
        (
            "struct { int (*type)[2]; int (*max_entries)[1]; u32 *key; u64 *value; } m "
            '__attribute__((section(".maps"), used));'
        ),
        "section",
    ),
    "a writable global": ("u64 written = 1; u64 *leak(void) { return &written; }", "section"),
    "a zeroed global": ("u64 written; u64 *leak(void) { return &written; }", "section"),
    "a string of its own section": (
        '__attribute__((section("license"), used)) char l[] = "x";',
        "section",
    ),
    "a function of its own": (
        (
            "__attribute__((noinline)) static u64 twice(u64 x) { return x * x * 3; }\n"
            "u64 more(u64 x) { return twice(x) + 1; }"
        ),
        "function",
    ),
    "a kernel function": (
        (
            '__attribute__((section(".ksyms"))) extern void bpf_rcu_read_lock(void);\n'
            "u64 more(void) { bpf_rcu_read_lock(); return 0; }"
        ),
        "function",
    ),
    "the frame's function": ("long cox_group_offset(u32 s) { return 0; }", "function"),
    "the frame's setting": ("const volatile u64 frame_window_ns = 1;", "parameter"),
    "much data": ("static const volatile u64 table[1000] = { 1 };\n", "data"),
}


@pytest.mark.parametrize("what", list(EXTRA))
def test_an_object_holds_nothing_besides_the_hooks(workshop: Workshop, what: str) -> None:
    text, rule = EXTRA[what]
    rank = "(s64)table[task->pages % 1000]" if "table" in text else "0"
    source = hooks(rank=rank).replace("s64 cox_rank", text + "\ns64 cox_rank", 1)
    outcome = rejected(workshop, source)
    assert outcome.stage == "proof"
    assert rule in {reason.rule for reason in outcome.reasons}


IMPURE = {
    "loop": ("({ s64 n = 0; for (u64 i = 0; i < task->pages; i++) n ^= n * 3 + i; n; })", "loop"),
    "store": ("({ ((struct cox_task *)task)->weight = 10000; 0; })", "store"),
    "store elsewhere": ("({ *(volatile u64 *)task->pages = 1; 0; })", "store"),
    "atomic": ("({ __sync_fetch_and_add((u64 *)&task->pages, 1); 0; })", "store"),
}


@pytest.mark.parametrize("what", list(IMPURE))
def test_hooks_are_pure(workshop: Workshop, what: str) -> None:
    answer, rule = IMPURE[what]
    outcome = rejected(workshop, hooks(rank=answer))
    assert outcome.stage == "proof"
    assert {reason.rule for reason in outcome.reasons} == {rule}


def test_a_hook_may_use_its_stack_constant_tables_and_loops_that_unroll(
    workshop: Workshop,
) -> None:
    rank = """({
        volatile u64 local[4] = { 1, 2, 3, task->pages };
        s64 sum = table[task->weight & 7];
        for (int i = 0; i < 4; i++) sum += local[i] / -3;
        sum; })"""
    table = "static const volatile u64 table[8] = { 3, 1, 4, 1, 5, 9, 2, 6 };\n"
    source = hooks(rank=rank).replace("s64 cox_rank", table + "s64 cox_rank", 1)
    outcome = build(BuildRequest(manifest=manifest("tables"), source=source), workshop)
    assert isinstance(outcome, Accepted), outcome


def test_a_hook_has_a_limit_of_instructions(workshop: Workshop) -> None:
    long = "\n ^ ".join(f"(cpu->now_ns * {2 * i + 3} >> {i % 60})" for i in range(300))
    outcome = rejected(workshop, hooks(rank=f"(s64)({long})"))
    assert outcome.reasons[0].rule == "size"


def test_all_four_hooks_are_needed(workshop: Workshop) -> None:
    outcome = rejected(workshop, hooks().replace("cox_place", "cox_place_"))
    assert {r.rule for r in outcome.reasons} >= {"hook", "function"}


SOURCES = {
    "asm": ('__asm__ volatile("exit");', "word"),
    "incbin": ('asm(".incbin \\"/etc/passwd\\"");', "word"),
    "embed": ('static const char f[] = {\n#embed "/etc/passwd"\n};', "directive"),
    "include": ('#include "/etc/passwd"', "include"),
    "system include": ("#include <linux/bpf.h>", "include"),
    "include by macro": ('#define F "/etc/passwd"\n#include F', "include"),
    "include behind a comment": ('/* */ #include "/etc/passwd"', "spelling"),
    "include with a comment inside": ('#/**/include "/etc/passwd"', "directive"),
    "include in two lines": ('#inc\\\nlude "/etc/passwd"', "directive"),
    "include by digraph": ('%:include "/etc/passwd"', "spelling"),
    "has_include": ('#if __has_include("/etc/shadow")\n#endif', "word"),
    "line": ('#line 1 "/etc/passwd"', "directive"),
    "pragma": ('#pragma clang section text="kprobe/x"', "directive"),
    "pragma operator": ('_Pragma("clang section")', "word"),
    "file name": ("static const char *f = __FILE__;", "word"),
    "homoglyph": ("u64 c\u043ex;", "characters"),
    "bidi": ("/* \u202e */", "characters"),
    "nul": ("\0", "characters"),
    "kernel relocation": (
        "struct task_struct { int pid; } __attribute__((preserve_access_index));",
        "word",
    ),
}


@pytest.mark.parametrize("what", list(SOURCES))
def test_the_text_keeps_the_compiler_from_the_machines_files(workshop: Workshop, what: str) -> None:
    text, rule = SOURCES[what]
    outcome = rejected(workshop, text + hooks())
    assert outcome.stage == "source"
    assert rule in {reason.rule for reason in outcome.reasons}
    assert all(reason.line >= 1 for reason in outcome.reasons)


def test_words_split_across_lines_do_not_get_past_the_compiler(workshop: Workshop) -> None:
    outcome = rejected(workshop, 'as\\\nm(".incbin \\"/etc/passwd\\"");' + hooks())
    assert outcome.stage == "compile"


def test_source_has_a_limit_of_size(workshop: Workshop) -> None:
    outcome = rejected(workshop, hooks() + "\n" * 65536)
    assert (outcome.stage, outcome.reasons[0].rule) == ("source", "size")


def test_a_mistake_is_reported_with_its_line_and_without_a_path(workshop: Workshop) -> None:
    outcome = rejected(workshop, hooks(rank="task->comm"))
    assert outcome.stage == "compile"
    assert outcome.reasons[0].line == 4
    assert "no member named 'comm'" in outcome.reasons[0].text
    assert not any("/" in reason.text for reason in outcome.reasons)


def test_a_macro_bomb_ends_within_the_limits(workshop: Workshop) -> None:
    bomb = "#define A0 0+0\n" + "".join(
        f"#define A{i} A{i - 1}+A{i - 1}+A{i - 1}+A{i - 1}\n" for i in range(1, 17)
    )
    outcome = rejected(workshop, bomb + hooks(rank="A16"))
    assert outcome.stage == "compile"


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
