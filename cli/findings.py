"""What was looked at, how it stands, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

Standing = Literal["good", "note", "bad"]
MARKS = {"good": ("✓", "green"), "note": ("·", "cyan"), "bad": ("✗", "red")}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    what: str
    standing: Standing
    found: str
    advice: str = ""
    """What to do; said unless it is good."""


def findings_table(findings: Iterable[Finding]) -> Table:
    """One line each."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in findings:
        mark, style = MARKS[finding.standing]
        text = Text(finding.found)
        if finding.advice and finding.standing != "good":
            text.append(f"  {finding.advice}", style="dim")
        grid.add_row(Text(mark, style=style), finding.what, text)
    return grid
