"""C's preprocessing tokens, read from raw text in the standard's order of translation phases.

Line splices go first (phase 2), then comments become blanks and the rest becomes tokens (phase 3,
C17 5.1.1.2): what a rule looks at is what the compiler will see. Three spellings mean one thing
to one compiler and another to the next: trigraphs (phase 1; clang ignores them in GNU modes), a
backslash with blanks behind it, and letters that touch a quote (raw strings). `ambiguities` finds
them. Up to the first of them this reader and the compiler agree; text that has one is for the
caller to refuse, not for this reader to guess at.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["name", "number", "string", "character", "punctuator", "stray"]

_SPELLED_TWO_WAYS: Final = re.compile(r"\?\?[=/'()!<>-]|\\[ \t]+$", re.MULTILINE)
_PREFIXES: Final = frozenset({"L", "u", "U", "u8", "R", "LR", "uR", "UR", "u8R"})
_DIGRAPHS: Final = {"<:": "[", ":>": "]", "<%": "{", "%>": "}", "%:": "#", "%:%:": "##"}
# Longest first: a token is the longest run of characters that can be one (C17 6.4).
_PUNCTUATORS: Final = (
    *("%:%:", "...", "<<=", ">>="),
    *("->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "##", "*=", "/=", "%="),
    *("+=", "-=", "&=", "^=", "|=", "::", "<:", ":>", "<%", "%>", "%:"),
    *"[](){}.&*+-~!/%<>^|?:;=,#",
)
_PIECE: Final = re.compile(
    r"""
      (?P<blank>      [ \t]+ | //[^\n]* | /\*[\s\S]*?\*/ )
    | (?P<newline>    \n )
    | (?P<string>     "(?:[^"\\\n]|\\[^\n])*" )
    | (?P<character>  '(?:[^'\\\n]|\\[^\n])+' )
    | (?P<number>     \.?[0-9](?:[eEpP][+-]|[A-Za-z0-9_.])* )
    | (?P<name>       [A-Za-z_$][A-Za-z0-9_$]* )
    | (?P<open>       /\*[\s\S]* | ["'][^\n]* )
    | (?P<punctuator> """
    + "|".join(map(re.escape, _PUNCTUATORS))
    + r""" )
    | (?P<lone>       [\s\S] )
    """,
    re.VERBOSE,
)
_KINDS: Final[dict[str | None, Kind]] = {
    "string": "string",
    "character": "character",
    "number": "number",
    "name": "name",
    "punctuator": "punctuator",
}


class Token(NamedTuple):
    """One preprocessing token; digraphs are spelled as what they stand for."""

    kind: Kind
    """`stray` is what begins no token: an open quote or comment, a lone character."""
    text: str
    line: int
    """Where it begins in the raw text, from 1."""
    first: bool
    """Whether nothing but blanks and comments stands before it on its (spliced) line."""
    spaced: bool
    """Whether a blank, a comment or the start of a line stands before it."""

    def punctuates(self, text: str) -> bool:
        """Whether it is this punctuator."""
        return self.kind == "punctuator" and self.text == text


def ambiguities(source: str) -> Iterator[tuple[str, int]]:
    """Spellings that compilers read differently, each with its line."""
    for match in _SPELLED_TWO_WAYS.finditer(source):
        yield match[0].strip(), source.count("\n", 0, match.start()) + 1
    before = None
    for token in tokenize(source):
        quoted = token.text[:1] in {'"', "'"} and not token.spaced
        if before and quoted and before.kind == "name" and before.text in _PREFIXES:
            yield before.text + token.text[:1], token.line
        before = token


def tokenize(source: str) -> list[Token]:
    """All tokens of the text. Never fails: what is none comes as `stray`."""
    text, lines = _spliced(source)
    tokens = []
    first = spaced = True
    for match in _PIECE.finditer(text):
        group = match.lastgroup
        if group == "newline":
            first = spaced = True
        elif group == "blank":
            spaced = True
        else:
            spelling = match[0]
            if group == "punctuator":
                spelling = _DIGRAPHS.get(spelling, spelling)
            line = bisect_right(lines, match.start())
            tokens.append(Token(_KINDS.get(group, "stray"), spelling, line, first, spaced))
            first = spaced = False
    return tokens


def _spliced(source: str) -> tuple[str, list[int]]:
    """The text without its line splices, and where in it each line of the raw text begins."""
    pieces: list[str] = []
    lines = []
    at = 0
    for line in re.findall(r"[^\n]*\n|[^\n]+", source):
        lines.append(at)
        piece = line.removesuffix("\\\n")
        pieces.append(piece)
        at += len(piece)
    return "".join(pieces), lines
