"""Second stage: what the text of the hooks may hold before a compiler sees it.

Not the defence against a hostile author (that is the proof on the bytecode); this keeps honest
mistakes readable and keeps the compiler's file-reading features away from the text.
"""

from __future__ import annotations

import re
from typing import Final

from services.executor.gate.stage import Finding, Work, reason

MAX_BYTES: Final = 64 * 1024
MAX_LINE: Final = 1000
INCLUDES: Final = frozenset({"cox/hooks.h", "cox/types.h"})

_FORBIDDEN: Final = {
    r"__asm__|__asm|asm": "no assembly",
    r"__has_\w+": "no questions about the build machine",
    r"_Pragma|__pragma": "no pragma operator",
    r"__(?:FILE|BASE_FILE|INCLUDE_LEVEL|TIMESTAMP|DATE|TIME|COUNTER)(?:__|_NAME__)": (
        "nothing that differs from build to build"
    ),
    r"__builtin_preserve_\w+|preserve_access_index": "no relocations against the kernel",
}
_WORD: Final = re.compile(r"\b(?:(" + r")|(".join(_FORBIDDEN) + r"))\b")
_DIRECTIVE: Final = re.compile(r"^\s*#\s*(\w*)\s*(.*?)\s*$")
_ALLOWED_DIRECTIVES: Final = frozenset(
    {"define", "undef", "if", "ifdef", "ifndef", "elif", "else", "endif", "error", "include", ""}
)


class SourceStage:
    """Size, characters, directives and words of the source text."""

    name = "source"

    def __call__(self, work: Work) -> Finding:
        """Look at the raw text; a reason carries the line it is about."""
        size = len(work.source.encode(errors="replace"))
        evidence = {"source_bytes": float(size), "source_lines": float(work.source.count("\n"))}
        if size > MAX_BYTES:
            text = f"{size} bytes of source; at most {MAX_BYTES}"
            return Finding(reasons=[reason(self.name, "size", text)], evidence=evidence)
        reasons = []
        for number, line in enumerate(work.source.split("\n"), start=1):
            for rule, text in _complaints(line):
                reasons.append(reason(self.name, rule, text, number))
        return Finding(reasons=reasons, evidence=evidence)


def _complaints(line: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if len(line) > MAX_LINE:
        return [("line-length", f"{len(line)} characters; at most {MAX_LINE}")]
    strange = {c for c in line if not (c == "\t" or " " <= c <= "~")}
    if strange:
        found.append(("characters", f"only ASCII text; found {min(strange)!a}"))
    if "??" in line or "%:" in line:
        found.append(("spelling", "no trigraphs or digraphs"))
    if re.search(r"\*/\s*#", line):
        found.append(("spelling", "no directive behind a comment"))
    directive = _DIRECTIVE.match(line)
    if directive:
        found += _about_directive(directive[1], directive[2], continued=line.endswith("\\"))
    word = _WORD.search(line)
    if word:
        why = list(_FORBIDDEN.values())[(word.lastindex or 1) - 1]
        found.append(("word", f"{word[0]}: {why}"))
    return found


def _about_directive(name: str, rest: str, *, continued: bool) -> list[tuple[str, str]]:
    if name not in _ALLOWED_DIRECTIVES:
        if name == "pragma" and re.fullmatch(r"(?:clang loop )?unroll(?:\(full\)|\s+\d+)?", rest):
            return []
        return [("directive", f"#{name} is not allowed")]
    rest = re.sub(r"/\*.*?\*/|//.*", "", rest).strip()
    if not name and rest:
        return [("directive", "no directive that hides its name")]
    if continued and name != "define":
        return [("spelling", "no directive across lines, macros excepted")]
    if name == "include" and not (re.fullmatch(r'"[^"]*"', rest) and rest.strip('"') in INCLUDES):
        return [("include", f"include only {' or '.join(sorted(INCLUDES))}, in quotes")]
    return []
