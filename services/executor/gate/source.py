"""Second stage: what the text of the hooks may hold before a compiler sees it.

It keeps the compiler's file-reading features and its appetite away from the text, and makes
mistakes readable. What code may *do* is not judged here: the proof reads that from the bytecode.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from services.executor.gate.directives import about_directives, directives
from services.executor.gate.lexer import ambiguities, tokenize
from services.executor.gate.macros import about_macros
from services.executor.gate.stage import Finding, Work, reason
from services.executor.gate.words import about_words, whole_scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.executor.gate.lexer import Token
    from services.executor.gate.stage import Complaint

MAX_BYTES: Final = 64 * 1024
MAX_LINE: Final = 1000
MAX_TOKENS: Final = 16 * 1024
MAX_NESTING: Final = 64
"""Brackets of any kind inside each other; clang gives up at 256 (-fbracket-depth)."""

_STRAYS: Final = {
    '"': "a string without its closing quote: close it on the same line",
    "'": "a character without its closing quote: close it, or write prose in a comment",
    "/": "a comment that is never closed: write */",
    "\\": "a backslash outside of strings: write identifiers in plain letters",
}


class SourceStage:
    """Characters, tokens, directives, words and macros of the source text."""

    name = "source"

    def __call__(self, work: Work) -> Finding:
        """Look at the raw text; a reason carries the line it is about."""
        size = len(work.source.encode(errors="replace"))
        evidence = {"source_bytes": float(size), "source_lines": float(work.source.count("\n"))}
        found = list(_about_text(work.source, size))
        if not found:
            # From here on tokens are what the compiler will make of the text.
            tokens = tokenize(work.source)
            evidence["tokens"] = float(len(tokens))
            found = list(whole_scheduler(tokens)) or list(_about_tokens(tokens))
        if not found:
            lines, text = directives(tokens)
            found = [*about_directives(lines, text), *about_words(tokens)]
        if not found:
            expanded, found = about_macros(lines, text)
            evidence["expanded_tokens"] = float(expanded)
        found.sort(key=lambda complaint: complaint[2])
        return Finding(
            reasons=[reason(self.name, rule, text, line) for rule, text, line in found],
            evidence=evidence,
        )


def _about_text(source: str, size: int) -> Iterator[Complaint]:
    if size > MAX_BYTES:
        yield "size", f"{size} bytes of source; at most {MAX_BYTES}: hooks are short", 0
        return
    for number, line in enumerate(source.split("\n"), start=1):
        if len(line) > MAX_LINE:
            yield "line-length", f"{len(line)} characters; at most {MAX_LINE}: break it up", number
        strange = {c for c in line if not (c == "\t" or " " <= c <= "~")}
        if strange:
            text = f"only ASCII text, in comments too; found {min(strange)!a}: spell it out"
            yield "characters", text, number
    for spelling, number in ambiguities(source):
        text = f"compilers do not agree on what {spelling} means here: write it in another way"
        yield "spelling", text, number


def _about_tokens(tokens: list[Token]) -> Iterator[Complaint]:
    if len(tokens) > MAX_TOKENS:
        yield "tokens", f"{len(tokens)} tokens; at most {MAX_TOKENS}: hooks are short", 0
    depth = 0
    for token in tokens:
        if token.kind == "stray":
            text = _STRAYS.get(
                token.text[0], f"C has no use for {token.text[:1]!a} here: remove it"
            )
            yield "spelling", text, token.line
        if token.kind == "punctuator":
            depth += (token.text in "([{") - (token.text in ")]}")
            if depth == MAX_NESTING + 1:
                text = f"more than {MAX_NESTING} brackets inside each other: use variables"
                yield "nesting", text, token.line
    for token, after in pairwise(tokens):
        if token.punctuates("[") and after.punctuates("["):
            yield "attribute", "no [[attributes]]: write __attribute__((name))", token.line
