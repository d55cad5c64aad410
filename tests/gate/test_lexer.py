"""Our reading of tokens against clang's own, and against what the standard says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.executor.gate.lexer import ambiguities, tokenize
from services.executor.gate.workshop import find_toolchain

_SPELLED = re.compile(
    r"^(\w+) '(.*?)'\t(?: \[\w+\])*( \[UnClean='.*?'\])?\t+Loc=<t\.c:(\d+):\d+>$",
    re.MULTILINE | re.DOTALL,
)
_DUMP = ("-Xclang", "-dump-raw-tokens")
_DIGRAPHS = {"<:": "[", ":>": "]", "<%": "{", "%>": "}", "%:": "#", "%:%:": "##"}


def texts(source: str) -> list[str]:
    return [token.text for token in tokenize(source)]


def clangs(source: str, directory: Path) -> list[tuple[str, int | None]]:
    """Spelling and line of all tokens that clang sees; no line for those with splices in them."""
    (directory / "t.c").write_text(source, encoding="utf-8")
    said = subprocess.run(
        [find_toolchain().clang, "-std=gnu17", "-fsyntax-only", *_DUMP, "t.c"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    return [
        (_DIGRAPHS.get(text, text), None if spliced else int(line))
        for kind, text, spliced, line in _SPELLED.findall(said)
        if kind not in {"comment", "eof"} and text.strip()
    ]


def test_splices_go_before_comments_and_words() -> None:
    assert texts("as\\\nm /\\\n* x *\\\n/ b // c \\\nd\ne") == ["asm", "b", "e"]


def test_comments_are_blanks_and_strings_are_one_token() -> None:
    assert texts("a/**/b /* // */ \"/* x\" '\\'' c // \"d") == ["a", "b", '"/* x"', "'\\''", "c"]


def test_digraphs_are_what_they_stand_for() -> None:
    assert texts("%: <: :> <% %> %:%: %:%") == ["#", "[", "]", "{", "}", "##", "#", "%"]


def test_a_token_is_the_longest_that_can_be() -> None:
    assert texts("a+++++b 1.e+5.x 0x1p-3 x->y...z") == [
        *("a", "++", "++", "+", "b", "1.e+5.x", "0x1p-3", "x", "->", "y", "...", "z")
    ]


def test_tokens_know_their_line_in_the_raw_text_and_if_they_are_first() -> None:
    tokens = tokenize("a \\\n b\n/* \n */ #c\n\\\n\\\nd")
    assert [(t.text, t.line, t.first) for t in tokens] == [
        *(("a", 1, True), ("b", 2, False), ("#", 4, True), ("c", 4, False), ("d", 7, True))
    ]


@pytest.mark.parametrize("source", ['"open', "'open", "/* open", "@", "\\u0041", "`"])
def test_what_is_no_token_is_a_stray(source: str) -> None:
    assert tokenize(source)[0].kind == "stray"


@pytest.mark.parametrize("source", ["??/\n", "// ??=", "a \\ \nb", 'R"(x)"', "L'x'", 'u8"x"'])
def test_spellings_that_compilers_read_differently_are_found(source: str) -> None:
    assert len(list(ambiguities(source))) == 1


@pytest.mark.parametrize("source", ["a ?? b", "what??", 'include"x"', "\\\n", 'R "x"', "a ? ? / b"])
def test_others_are_not(source: str) -> None:
    assert not list(ambiguities(source))


PIECES = st.sampled_from(
    [
        *(
            "\\\n",
            "\n",
            " ",
            "\t",
            "/*",
            "*/",
            "//",
            '"',
            "'",
            "\\",
            "\\\\",
            '\\"',
            "asm",
            "_",
            "R",
        ),
        *(
            "u8",
            "L",
            "include",
            "x1",
            "$",
            "1",
            ".",
            "0x1e+",
            "e",
            "+",
            "-",
            "p",
            "#",
            "%",
            ":",
            "<",
        ),
        *(
            ">",
            "=",
            "&",
            "|",
            "*",
            "/",
            "(",
            "?",
            "!",
            "~",
            "^",
            ";",
            "...",
            "@",
            "`",
            "??",
            ",",
            "[",
        ),
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_clang_sees_the_same_tokens(tmp_path_factory: pytest.TempPathFactory, source: str) -> None:
    ours = tokenize(source)
    # These are refused before anybody asks for tokens, or as the first that is wrong.
    assume(not list(ambiguities(source)))
    first = next((at for at, token in enumerate(ours) if token.kind == "stray"), len(ours))
    assume(first)
    expected = clangs(source, tmp_path_factory.mktemp("lexed"))[:first]
    assert [token.text for token in ours[:first]] == [text for text, _ in expected]
    for token, (_, line) in zip(ours, expected, strict=False):
        assert line in {None, token.line}
