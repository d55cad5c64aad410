"""What others say enters a record as plain text of bounded length, whoever said it.

A host's key may be stolen: what an honest observer or executor has cleaned already is cleaned
here, too. Numbers and names are checked by their types; this is for what is free text.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from shared.errors import MOST_CHARS, MessageError
from shared.plain import plain

MOST_ENTRIES: Final = 1024
"""Of a list or mapping: an honest one has a few dozen."""

LONGER: Final = {"verifier_log": 4 * MOST_CHARS}
"""Texts, by field, that are longer by nature."""

_KEPT: Final = "\n\t"

S = TypeVar("S", bound=msgspec.Struct)


def heard(news: S) -> S:
    """The same, with every text of it plain. Raises MessageError for endless lists."""
    said = msgspec.to_builtins(news)
    cleaned = _clean(said, MOST_CHARS)
    if cleaned == said:
        return news
    try:
        return msgspec.convert(cleaned, type(news))
    except msgspec.ValidationError as error:
        raise MessageError("a name in a message is none", got=str(error)) from error


def _clean(value: Any, most_chars: int) -> Any:
    if isinstance(value, str):
        return plain(value, most_chars, keep=_KEPT)
    if isinstance(value, dict):
        _check_few(len(value))
        return {
            plain(name, MOST_CHARS): _clean(each, LONGER.get(name, MOST_CHARS))
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        _check_few(len(value))
        return type(value)(_clean(each, most_chars) for each in value)
    return value


def _check_few(count: int) -> None:
    if count > MOST_ENTRIES:
        raise MessageError(
            "a list in a message is too long",
            expected=f"at most {MOST_ENTRIES} entries",
            got=str(count),
        )
