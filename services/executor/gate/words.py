"""Rules on identifiers: those that reach past the hooks into compiler, machine or kernel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.executor.gate.lexer import Token
    from services.executor.gate.stage import Complaint

_RESERVED: Final = re.compile(r"__|_[A-Z]")
# Names that C reserves for the compiler are refused unless they are known to be harmless: new
# compilers bring new ones.
_HARMLESS: Final = re.compile(
    r"__attribute(__)?|__(inline|const|volatile|signed|typeof|alignof|extension)(__)?|__func__"
    r"|_(Alignas|Alignof|Bool|Generic|Noreturn|Static_assert)|__VA_ARGS__|__VA_OPT__|__LINE__"
    r"|__bpf__|__BPF__|__clang__|__clang_major__|__STDC__|__STDC_VERSION__"
    r"|__U?INT(8|16|32|64|PTR|MAX)_(TYPE|MAX)__|__U?INT(8|16|32|64)_C|__CHAR_BIT__"
    r"|__(SCHAR|SHRT|INT|LONG|LONG_LONG)_MAX__|__SIZEOF_\w+__|__(u?int128)_t"
    r"|__builtin_(expect|expect_with_probability|unreachable|assume|constant_p|choose_expr"
    r"|types_compatible_p|offsetof|memcpy|memset|labs|llabs|abs|bswap(16|32|64)"
    r"|(clz|ctz|ffs|popcount|parity|clrsb)(l|ll)?"
    r"|[su]?(add|sub|mul)(l|ll)?_overflow)"
)
_ATTRIBUTES: Final = frozenset(
    {"aligned", "always_inline", "const", "fallthrough", "packed", "pure", "unused"}
)
_SCHEDULERS: Final = re.compile(
    r"sched_ext_ops|SEC|SCX_OPS_DEFINE|BPF_STRUCT_OPS(_SLEEPABLE)?|scx_bpf_\w+|struct_ops"
)
_WHOLE: Final = (
    "this is a scheduler of its own; only hooks are accepted, because the frame's bound on waiting "
    "holds whatever hooks answer and nobody could prove it of other code. Define cox_rank, "
    "cox_slice, cox_place and cox_preempt, and nothing else: see bpf/include/cox/hooks.h"
)


def whole_scheduler(tokens: list[Token]) -> Iterator[Complaint]:
    """One complaint if the text is (a part of) a scheduler rather than of hooks."""
    for token in tokens:
        word = token.kind == "name" and _SCHEDULERS.fullmatch(token.text)
        if word or (token.kind == "string" and "struct_ops" in token.text):
            yield "whole-scheduler", _WHOLE, token.line
            return


def about_words(tokens: list[Token]) -> Iterator[Complaint]:
    """What is wrong with names and attributes, wherever they stand (macros included)."""
    for at, token in enumerate(tokens):
        if token.kind != "name":
            continue
        instead = _instead(token.text)
        if instead:
            yield "word", f"{token.text[:60]}: {instead}", token.line
        elif token.text in {"__attribute__", "__attribute"}:
            yield from _about_attribute(tokens[at + 1 :], token.line)


def _instead(word: str) -> str:
    """What to do instead of using the word; empty if it may be used."""
    bare = word.strip("_")
    if "$" in word:
        return "write names in letters, digits and underscores"
    if bare == "asm":
        return "no assembly: write C, the compiler does the rest"
    if not _RESERVED.match(word) or _HARMLESS.fullmatch(word) or bare in _ATTRIBUTES:
        return ""
    if bare.startswith(("has_", "is_", "building_")):
        return "no questions about the machine that builds: write for clang 19 and this header"
    if bare in {"Pragma", "pragma"}:
        return "write #pragma unroll on a line of its own"
    if re.fullmatch(r"(BASE_)?FILE(_NAME)?|INCLUDE_LEVEL|TIMESTAMP|DATE|TIME|COUNTER", bare):
        return "nothing that differs from build to build: use a constant"
    if bare.startswith("builtin_preserve"):
        return "no relocation against the kernel: facts are in struct cox_task and struct cox_cpu"
    if bare.startswith(("sync_", "atomic_", "builtin_atomic", "c11_atomic")):
        return "no atomic operation: a hook shares nothing with others"
    if bare.startswith("builtin_"):
        return "not among the builtins that are known to be plain computation: write it out in C"
    return "names that begin with two underscores are the compiler's: choose another"


def _about_attribute(after: list[Token], line: int) -> Iterator[Complaint]:
    """`after` is what follows __attribute__: ((name, name(…), …))."""
    depth = 0
    expected = False
    for token in after:
        if token.punctuates("("):
            depth += 1
            expected = depth == 2
        elif token.punctuates(")"):
            depth -= 1
        elif depth == 2 and token.punctuates(","):
            expected = True
        elif expected and depth == 2:
            expected = False
            if token.text.strip("_") not in _ATTRIBUTES:
                known = ", ".join(sorted(_ATTRIBUTES))
                text = f"attribute {token.text[:40]}: of attributes only {known} are allowed"
                yield "attribute", text, line
        if depth <= 0:
            return
