"""Text of strangers on a terminal: whatever stands in it, nothing of it is obeyed.

Names of processes, logs, a workload's output, the kernel's verifier: anybody may have written
what Coxswain shows. A control character moves a terminal's cursor or renames its window, a
bidirectional mark makes a line read as another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.segment import Segment

from shared.plain import is_plain, is_visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import ConsoleOptions, RenderableType


def harmless(text: str) -> str:
    """The same text, with a � for whatever a terminal would obey or hide; tabs and lines stay."""
    if is_plain(text):
        return text
    return "".join(c if c in "\n\t" or is_visible(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


class HarmlessConsole(Console):
    """A console whose own colours and cursor movements work, and nobody else's."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What rich makes of a renderable, with its text made harmless."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(harmless(text), style)
