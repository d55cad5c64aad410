"""The bound on macros, held against what clang makes of them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.gate.directives import directives
from services.executor.gate.lexer import tokenize
from services.executor.gate.macros import MAX_EXPANDED, about_macros
from services.executor.gate.workshop import find_toolchain


def bound(source: str) -> tuple[int, list[str]]:
    expanded, found = about_macros(*directives(tokenize(source)))
    return expanded, [rule for rule, _, _ in found]


def real(source: str) -> int:
    """Tokens after clang's preprocessor."""
    said = subprocess.run(
        [find_toolchain().clang, "-std=gnu17", "-E", "-P", "-w", "-x", "c", "-"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    )
    return len(tokenize(said.stdout))


@pytest.mark.parametrize(
    ("source", "tokens"),
    [
        ("a b c", 3),
        ("#define A 1 + 1\nA A", 6),
        ("#define E\nE x", 2),
        ("#define D(x) x x\nD(1)", 6),
        ("#define D(x) x x\nD(D(1 2))", 20),
        ("#define D(x) x x\n#define Q(x) D(D(x))\nQ(1)", 21),
        ("#define P (a)\nP", 3),
    ],
)
def test_a_bound_is_close(source: str, tokens: int) -> None:
    expanded, wrong = bound(source)
    assert (wrong, expanded) == ([], tokens)
    assert real(source) <= tokens


@pytest.mark.parametrize(
    "source",
    [
        "#define A B\n#define B A\nA",
        "#define A A\nA",
        "#define A 1\n#define A 1\nA",
        "#define G(a, b) a##b\n",
        "#define S(a) #a\n",
        "#define OPEN D(\n#define D(x) x x\nOPEN 1)",
        "#define SHUT )\n",
        "#define D(x) x\n#define E D\nE(1)",
        "#define D(x) x\n#define C(m) m(1)\nC(D)",
        "".join(f"#define M{i} {i}\n" for i in range(300)),
    ],
)
def test_macros_that_cannot_be_counted_are_refused(source: str) -> None:
    assert set(bound(source)[1]) == {"macro"}


def test_a_bomb_is_refused_without_being_expanded() -> None:
    chain = "".join(f"#define A{i} A{i - 1} A{i - 1}\n" for i in range(1, 200))
    expanded, wrong = bound(f"#define A0 x\n{chain}A199")
    assert expanded > MAX_EXPANDED
    assert wrong == ["expansion"]


NAMES = ["A", "B", "C", "D", "E"]


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Macros that use those before them, with and without parameters, and a line that uses all."""
    lines = []
    known: list[tuple[str, int | None]] = []

    def text(own: list[str], depth: int = 0) -> str:
        words = []
        for _ in range(draw(st.integers(0, 3 - depth))):
            usable = [("1", None), ("(z)", None), *((name, None) for name in own), *known]
            name, arity = draw(st.sampled_from(usable))
            if arity is not None:
                given_ = ", ".join(text(own, depth + 1) for _ in range(arity))
                name = f"{name}({given_})"
            words.append(name)
        return " ".join(words)

    for name in NAMES:
        arity = draw(st.sampled_from([None, 1, 2]))
        own = ["x", "y"][: arity or 0]
        head = f"{name}({', '.join(own)})" if arity else name
        lines.append(f"#define {head} {text(own)}")
        known.append((name, arity))
    return "\n".join([*lines, *(text([]) for _ in range(3))]) + "\n"


@given(programs())
def test_no_program_expands_to_more_than_its_bound(source: str) -> None:
    expanded, wrong = bound(source)
    assert not wrong
    assert real(source) <= expanded
