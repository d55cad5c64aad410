"""Text of strangers as plain text: of bounded length, and with nothing hidden in it.

Names of processes and groups, a workload's output, the kernel's verifier, a model: anybody may
have written what Coxswain keeps, shows, and puts before a mind. A control character moves a
cursor or begins a line that looks like ours, a bidirectional mark makes a line read as another
one, and characters without a shape carry text that only a machine reads.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHAPELESS: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""What Unicode calls letters or marks and says to draw nothing for (Default_Ignorable)."""

_UNSEEN: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Controls, bidirectional and other format marks, what is no character, breaks of lines."""


def is_visible(character: str) -> bool:
    """Whether one can see that it is there, and it does nothing else."""
    return unicodedata.category(character) not in _UNSEEN and not _SHAPELESS.match(character)


def is_plain(text: str) -> bool:
    """Whether all of a text can be seen, on one line."""
    return (text.isprintable() and not _SHAPELESS.search(text)) or all(map(is_visible, text))


def plain(text: str, most_chars: int, *, keep: str = "") -> str:
    r"""At most so many characters, with an escape (`\x1b`) for each that cannot be seen.

    `keep` are such that stay all the same, line breaks say. Where something is cut off, the end
    says how long it was. Plain text stays what it is.
    """
    if len(text) <= most_chars and is_plain(text):
        return text
    shown = "".join(
        c if c in keep or is_visible(c) else c.encode("unicode_escape").decode("ascii")
        for c in text[:most_chars]
    )
    if len(text) <= most_chars and len(shown) <= most_chars:
        return shown
    note = f"… ({len(text)} characters)"
    return (shown[: max(0, most_chars - len(note))] + note)[:most_chars]


def texts(value: Any) -> Iterator[str]:
    """Every text in what JSON can say, names of fields and entries as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from texts(name)
            yield from texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)
