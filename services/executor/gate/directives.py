"""Rules on preprocessor lines: which directives a hook's text may hold, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.executor.gate.lexer import Token
    from services.executor.gate.stage import Complaint

INCLUDES: Final = ("cox/hooks.h", "cox/types.h")
MAX_CONDITIONS: Final = 16

_CONDITIONS: Final = {"if": 1, "ifdef": 1, "ifndef": 1, "elif": 0, "else": 0, "endif": -1}
_ALLOWED: Final = frozenset({*_CONDITIONS, "define", "error", "include", "pragma", ""})
_PRAGMAS: Final = ("unroll", "clang loop unroll ( full )", "clang loop unroll ( enable )")
_INSTEAD: Final = {
    "undef": "give each macro one meaning, and another name to another",
    "embed": "write tables as C arrays",
    "line": "lines are counted by the compiler alone",
    "import": 'write #include "cox/hooks.h"',
    "include_next": 'write #include "cox/hooks.h"',
}


class Directive(NamedTuple):
    """One preprocessor line."""

    name: str
    """As written after the #; "" for a line with nothing but a #."""
    rest: list[Token]
    line: int
    depth: int
    """Parentheses open in the text around it."""


def directives(tokens: list[Token]) -> tuple[list[Directive], list[Token]]:
    """The preprocessor lines, and the text that is left without them."""
    lines: list[Directive] = []
    text: list[Token] = []
    inside = False
    depth = 0
    for token in tokens:
        if token.first:
            inside = token.punctuates("#")
            if inside:
                lines.append(Directive("", [], token.line, depth))
                continue
        if not inside:
            text.append(token)
            depth += token.punctuates("(") - token.punctuates(")")
        elif not lines[-1].name and not lines[-1].rest and token.kind == "name":
            lines[-1] = lines[-1]._replace(name=token.text)
        else:
            lines[-1].rest.append(token)
    return lines, text


def about_directives(lines: list[Directive], text: list[Token]) -> Iterator[Complaint]:
    """What is wrong with them; `text` is what stands around them."""
    conditions = 0
    begun = text[0].line if text else 0
    for directive in lines:
        name, rest, line, depth = directive
        if name not in _ALLOWED:
            instead = _INSTEAD.get(name, f"allowed are #{', #'.join(sorted(_ALLOWED - {''}))}")
            yield "directive", f"#{name} is not allowed: {instead}", line
        elif not name and rest:
            yield "directive", f"no line marker or other #{rest[0].text[:20]}: remove it", line
        elif depth:
            yield "directive", f"#{name} inside parentheses: close them first", line
        elif name == "pragma":
            yield from _about_pragma(rest, line)
        elif name == "include":
            yield from _about_include(rest, line)
            if (begun and begun < line) or any(d.name == "define" for d in lines if d.line < line):
                yield "include", "includes come first, before all other text", line
        conditions += _CONDITIONS.get(name, 0)
        if conditions == MAX_CONDITIONS + 1:
            yield "nesting", f"more than {MAX_CONDITIONS} conditions inside each other", line


def _about_pragma(rest: list[Token], line: int) -> Iterator[Complaint]:
    words = " ".join("N" if token.kind == "number" else token.text for token in rest)
    counted = ("unroll N", "unroll ( N )", "clang loop unroll_count ( N )")
    if words not in (*_PRAGMAS, *counted):
        yield "directive", f"of pragmas only #pragma unroll is allowed, no {words[:60]}", line


def _about_include(rest: list[Token], line: int) -> Iterator[Complaint]:
    if [token.text for token in rest] not in [[f'"{name}"'] for name in INCLUDES]:
        text = 'write #include "cox/hooks.h": it has every type and fact; no other file is read'
        yield "include", text, line
