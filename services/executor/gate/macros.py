"""A bound on what macros expand to, before anything expands them.

Counting is exact enough because macros are kept simple: each is defined once, its parentheses
are balanced, it does not lead back to itself, a macro with parameters is always followed by its
arguments, and nothing is pasted or turned into a string. Then every use is visible in the text
that holds it, and a macro's result has at most

    size(arguments) * copies + fixed

tokens, where `copies` is how often its body repeats one parameter and `fixed` counts the rest,
both with the macros that the body uses already put in. Conditions (#if) are ignored: all
definitions count, so what is skipped makes the bound larger, never smaller.
"""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from services.executor.gate.directives import Directive
    from services.executor.gate.lexer import Token
    from services.executor.gate.stage import Complaint

MAX_MACROS: Final = 256
MAX_EXPANDED: Final = 64 * 1024
_HUGE: Final = 1 << 62
"""Larger is all the same, and numbers stay small."""


class Macro(NamedTuple):
    """One #define."""

    name: str
    parameters: frozenset[str] | None
    """None if it takes no parentheses."""
    body: list[Token]
    line: int


class Size(NamedTuple):
    """Tokens that a piece of text becomes: `fixed`, and `copies` of each parameter."""

    fixed: int
    copies: Counter[str]


def about_macros(lines: list[Directive], text: list[Token]) -> tuple[int, list[Complaint]]:
    """How many tokens the text becomes at most, and what is wrong with its macros."""
    defined = [macro for line in lines if line.name == "define" for macro in _macro(line)]
    macros = {macro.name: macro for macro in reversed(defined)}
    used = [*text, *(t for line in lines if line.name in {"if", "elif"} for t in line.rest)]
    found = [
        *_about_number(defined, macros),
        *(each for macro in defined for each in _about_body(macro)),
        *_about_uses([macro.body for macro in defined] + [used], macros),
    ]
    if found:
        return 0, found
    uses = {macro.name: {t.text for t in macro.body} & macros.keys() for macro in defined}
    try:
        order = list(TopologicalSorter(uses).static_order())
    except CycleError as error:
        name = error.args[1][0]
        return 0, [("macro", f"{name[:60]} leads back to itself: write it out", macros[name].line)]
    sizes: dict[str, Size] = {}
    for name in order:
        sizes[name] = _size(macros[name].body, macros[name].parameters or (), sizes)
    expanded = _size(used, (), sizes).fixed
    if expanded > MAX_EXPANDED:
        much = f"{expanded} tokens" if expanded < _HUGE else "more tokens than can be counted"
        largest = max(macros, key=lambda name: (sizes[name].fixed, _repeats(sizes[name])))
        text_ = f"macros expand to {much}; at most {MAX_EXPANDED}: write functions (COX_INLINE)"
        found.append(("expansion", text_, macros[largest].line))
    return expanded, found


def _macro(directive: Directive) -> Iterator[Macro]:
    """The definition; none if the compiler will not take it for one."""
    if not directive.rest or directive.rest[0].kind != "name":
        return
    name, *rest = directive.rest
    if not rest or rest[0].spaced or not rest[0].punctuates("("):
        yield Macro(name.text, None, rest, name.line)
        return
    end = next((at for at, token in enumerate(rest) if token.punctuates(")")), len(rest))
    names = {token.text for token in rest[1:end] if token.kind == "name"}
    yield Macro(name.text, frozenset(names | {"__VA_ARGS__"}), rest[end + 1 :], name.line)


def _about_number(defined: list[Macro], macros: Mapping[str, Macro]) -> Iterator[Complaint]:
    if len(defined) > MAX_MACROS:
        yield "macro", f"{len(defined)} macros; at most {MAX_MACROS}: write functions", 0
    for macro in defined:
        if macros[macro.name] is not macro:
            text = f"{macro.name[:60]} is defined twice: choose another name"
            yield "macro", text, macro.line


def _about_body(macro: Macro) -> Iterator[Complaint]:
    depth = 0
    for token in macro.body:
        depth += token.punctuates("(") - token.punctuates(")")
        if depth < 0:
            break
        if token.punctuates("##"):
            yield "macro", "no pasting of tokens: write names in full", token.line
        elif token.punctuates("#"):
            yield "macro", "no turning into strings: hooks have no use for text", token.line
    if depth:
        yield "macro", f"{macro.name[:60]}: close each parenthesis that it opens", macro.line


def _about_uses(texts: Iterable[list[Token]], macros: Mapping[str, Macro]) -> Iterator[Complaint]:
    for text in texts:
        for at, token in enumerate(text):
            macro = macros.get(token.text) if token.kind == "name" else None
            if macro is None or macro.parameters is None:
                continue
            if at + 1 == len(text) or not text[at + 1].punctuates("("):
                yield "macro", f"{macro.name[:60]} without its arguments: call it", token.line


def _size(text: list[Token], parameters: Iterable[str], sizes: Mapping[str, Size]) -> Size:
    """Of a text whose macros' sizes are known.

    Each open parenthesis has a level of its own; when it closes, what was in it counts as often
    as the macro before it (if there is one) repeats a parameter, and at least once.
    """
    names = frozenset(parameters)
    levels = [(1, 0, Counter[str]())]
    factor = 1
    for token in text:
        repeat, fixed, copies = levels.pop()
        size = sizes.get(token.text) if token.kind == "name" else None
        following = 1
        if token.kind == "name" and token.text in names:
            copies[token.text] += 1
        elif size is not None:
            fixed += max(1, size.fixed)
            following = max(1, _repeats(size))
        else:
            fixed += 1
        levels.append((repeat, min(fixed, _HUGE), copies))
        if token.punctuates("("):
            levels.append((factor, 0, Counter()))
        elif token.punctuates(")") and len(levels) > 1:
            _close(levels)
        factor = following
    while len(levels) > 1:
        _close(levels)
    return Size(*levels[0][1:])


def _close(levels: list[tuple[int, int, Counter[str]]]) -> None:
    repeat, fixed, copies = levels.pop()
    outer, outer_fixed, outer_copies = levels.pop()
    for name, count in copies.items():
        outer_copies[name] = min(outer_copies[name] + repeat * count, _HUGE)
    levels.append((outer, min(outer_fixed + repeat * fixed, _HUGE), outer_copies))


def _repeats(size: Size) -> int:
    return max(size.copies.values(), default=0)
