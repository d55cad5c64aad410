"""What strangers have written, on its way to a model: typed, escaped, between marks.

Everything is JSON in ASCII, and no `<` is left in it, so that no name of a process can end the
data or begin something that looks like a mark.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

MOST_CHARS: Final = 16_000
"""Of one answer to the model."""


def as_data(value: Any) -> str:
    """As JSON between marks; what is too long is refused by saying so, never cut in the middle."""
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=True, allow_nan=False)
    text = text.replace("<", "\\u003c").replace(">", "\\u003e")
    if len(text) > MOST_CHARS:
        text = json.dumps({"left out": f"{len(text)} characters, {MOST_CHARS} may be shown"})
    return f"<data>{text}</data>"
