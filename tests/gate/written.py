"""Random hooks: well-formed ones by the grammar of hooks.h, shipped ones with tokens exchanged,
and both with something mixed in that does not belong there."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st

from shared.policies import Catalogue

_HEADER = (
    "{kind} cox_{name}(const struct cox_task *task, const struct cox_cpu *cpu)\n{{\n{body}}}\n\n"
)
_TASK = (
    *("attained_ns", "age_ns", "run_ns", "avg_run_ns", "avg_sleep_ns", "last_wait_ns", "lag_ns"),
    *("wakeups", "wakes", "pages", "input_bytes", "family_run_ns", "family_exits", "weight"),
    *("reason", "flags"),
)
_CPU = ("now_ns", "cpu", "nr_queued", "nr_shared", "idle")
_RUNNING = ("stint_ns", "run_ns", "avg_run_ns", "attained_ns", "wakes", "weight", "flags")
_BINARY = ("+", "-", "*", "/", "%", "&", "|", "^", "<", ">", "<=", "==", "!=", "&&", "||")

facts = st.one_of(
    st.sampled_from(_TASK).map("task->{}".format),
    st.sampled_from(_CPU).map("cpu->{}".format),
    st.sampled_from(_RUNNING).map("cpu->running.{}".format),
)
numbers = st.one_of(
    st.integers(0, 1 << 40).map(str),
    st.sampled_from(["0", "1", "~0ULL", "-1", "COX_REASON_WAKE", "COX_TASK_SYNC", "NSEC_PER_MSEC"]),
)


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(_BINARY), inner).map("({0[0]} {0[1]} {0[2]})".format),
        st.tuples(inner, inner, inner).map("({0[0]} ? {0[1]} : {0[2]})".format),
        st.tuples(st.sampled_from("-~!"), inner).map("{0[0]}({0[1]})".format),
        st.tuples(st.sampled_from(["u32", "s64", "u8", "s16"]), inner).map(
            "(({0[0]}){0[1]})".format
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            "cox_{0[0]}_u64({0[1]}, {0[2]})".format
        ),
        st.tuples(inner, st.integers(0, 63)).map("((u64){0[0]} >> {0[1]})".format),
        inner.map("table[(u32)({}) & 7]".format),
        inner.map("kept[(u32)({}) & 3]".format),
        inner.map("half({})".format),
    )


expressions = st.recursive(facts | numbers, _larger, max_leaves=12)
simple = st.one_of(
    st.tuples(st.sampled_from(["n", "m", "kept[1]"]), expressions).map(
        "\t{0[0]} = {0[1]};\n".format
    ),
    expressions.map("\treturn {};\n".format),
    st.tuples(st.integers(1, 9), expressions).map(
        "\tfor (int i = 0; i < {0[0]}; i++)\n\t\tn += {0[1]} ^ i;\n".format
    ),
)
statements = st.one_of(
    simple,
    st.tuples(expressions, simple).map("\tif ({0[0]}) {{\n{0[1]}\t}}\n".format),
    st.tuples(st.sampled_from(["reason", "flags", "weight"]), simple, simple).map(
        "\tswitch (task->{0[0]}) {{\n\tcase 1:\n{0[1]}\tdefault:\n{0[2]}\t}}\n".format
    ),
)
_LOCAL = "\tu64 n = 0, m = 1;\n\tvolatile u64 kept[4] = { 1, 2, 3, task->pages };\n\n"
bodies = st.lists(statements, max_size=5).map(
    lambda given: _LOCAL + "".join(given) + "\treturn n ^ m;\n"
)
_TOP = (
    '#include "cox/hooks.h"\n\n#define half(x) ((x) / 2)\n'
    "static const volatile u64 table[8] = { 3, 1, 4, 1, 5, 9, 2, 6 };\n\n"
)
well_formed = st.tuples(bodies, bodies, bodies, bodies).map(
    lambda given: (
        _TOP
        + "".join(
            _HEADER.format(kind=kind, name=name, body=body)
            for (kind, name), body in zip(
                (("s64", "rank"), ("u64", "slice"), ("u32", "place"), ("u32", "preempt")),
                given,
                strict=True,
            )
        )
    )
)

SHIPPED = [
    re.sub(r"^const volatile", "static const volatile", policy.source, flags=re.MULTILINE)
    for policy in Catalogue.load().values()
]
"""Without parameters, which a manifest would have to declare."""

_MISFITS = (
    "((long (*)(void))36)()",
    "((long (*)(u64))task->pages)(1)",
    "*(volatile u64 *)task->pages",
    "*(volatile u64 *)task->pages = 1;",
    "((struct cox_task *)task)->weight = 1;",
    "while (cpu->now_ns) n++;",
    "for (u64 i = 0; i < task->pages; i++) n ^= n * 3 + i;",
    "again: n = n * 7 + 1; if (n & 64) goto again;",
    "__sync_fetch_and_add(&n, 1);",
    'asm volatile("exit");',
    '#include "/etc/passwd"\n',
    '\n#embed "/etc/passwd"\n',
    "\n#define X(x) x x x x\n",
    "X(X(X(X(X(X(1))))))",
    '__attribute__((section("kprobe/x")))',
    "__attribute__((noinline))",
    "static u64 g;",
    "u64 h(u64 x) { return h(x - 1) * x; }",
    "volatile u64 big[100]; big[n % 100] = 1;",
    "extern u64 bpf_get_current_task(void);",
    "bpf_get_current_task()",
    "__builtin_memset(kept, 0, 4096);",
    "1.5f",
    '"text"',
    "typeof",
    "{",
    "}",
    "(",
    ")",
    ";",
    "\\\n",
    "??/\n",
    "/*",
    "*/",
    "//",
    "'",
    '"',
    "#",
    "\x00",
    "\u202e",
    "\ud800",
    "$",
    "%:",
)
_TOKEN = re.compile(r"\s+|\w+|->|.", re.DOTALL)


def _mixed(given: tuple[str, list[tuple[float, str]]]) -> str:
    text, misfits = given
    for place, misfit in misfits:
        at = int(place * len(text))
        text = f"{text[:at]} {misfit} {text[at:]}"
    return text


def _exchanged(given: tuple[str, list[tuple[str, float, float]]]) -> str:
    text, changes = given
    tokens = _TOKEN.findall(text)
    for how, one, other in changes:
        a, b = int(one * len(tokens)), int(other * len(tokens))
        _EXCHANGES[how](tokens, a, b)
    return "".join(tokens)


def _swap(tokens: list[str], a: int, b: int) -> None:
    tokens[a], tokens[b] = tokens[b], tokens[a]


_EXCHANGES: dict[str, Callable[[list[str], int, int], None]] = {
    "swap": _swap,
    "copy": lambda tokens, a, b: tokens.__setitem__(a, tokens[b]),
    "double": lambda tokens, a, _: tokens.insert(a, tokens[a]),
    "drop": lambda tokens, a, _: tokens.__setitem__(a, " "),
}
_places = st.floats(0, 1, exclude_max=True)
mixed = st.tuples(
    well_formed | st.sampled_from(SHIPPED),
    st.lists(st.tuples(_places, st.sampled_from(_MISFITS)), min_size=1, max_size=2),
).map(_mixed)
exchanged = st.tuples(
    well_formed | st.sampled_from(SHIPPED),
    st.lists(
        st.tuples(st.sampled_from(sorted(_EXCHANGES)), _places, _places), min_size=1, max_size=3
    ),
).map(_exchanged)


def _in_a_statement(given: tuple[str, str, int]) -> str:
    text, misfit, number = given
    ends = [match.end() for match in re.finditer(r";\n", text)]
    at = ends[number % len(ends)]
    return f"{text[:at]}\t{misfit}\n{text[at:]}"


def _in_an_expression(given: tuple[str, str, int]) -> str:
    text, misfit, number = given
    places = [match.start() for match in re.finditer(r"(?:task|cpu)->", text)] or [len(text)]
    at = places[number % len(places)]
    return f"{text[:at]}({misfit}) + {text[at:]}"


_fitting = st.tuples(
    well_formed | st.sampled_from(SHIPPED), st.sampled_from(_MISFITS), st.integers(0, 50)
)
fitted = _fitting.map(_in_a_statement) | _fitting.map(_in_an_expression)

hooks = st.one_of(well_formed, mixed, exchanged, fitted)
