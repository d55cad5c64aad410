"""What a stranger wrote is shown, and does nothing."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from cli.harmless import HarmlessConsole, harmless

BAD = "\x1b]0;title\x07 \x1b[2J \x9b31m \r \u202eabc\u202c \u200b"


def drawn(*renderables: object, colour: bool = False) -> str:
    out = io.StringIO()
    console = HarmlessConsole(
        file=out,
        width=200,
        markup=False,
        highlight=False,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,  # whatever NO_COLOR says where the tests run
    )
    console.print(*renderables)
    return out.getvalue()


def table(text: str) -> Table:
    table = Table(title=text)
    table.add_column(text)
    table.add_row(Text(text))
    return table


def test_nothing_that_a_terminal_obeys_gets_through() -> None:
    for shown in (drawn(f"before {BAD} after"), drawn(Text(BAD), table(BAD))):
        assert not set("\x1b\x07\x9b\r\u202e\u202c\u200b") & set(shown)
    assert "before" in drawn(f"before {BAD} after")
    assert "after" in drawn(f"before {BAD} after")


def test_our_own_colours_stay() -> None:
    assert drawn(Text("word", style="red"), colour=True) == "\x1b[31mword\x1b[0m\n"


def test_lines_and_tabs_stay() -> None:
    assert harmless("a\n\tb → ≤ é 中") == "a\n\tb → ≤ é 中"


@given(st.text())
def test_what_is_shown_is_as_long_as_what_was_written(text: str) -> None:
    shown = harmless(text)
    assert len(shown) == len(text)
    assert harmless(shown) == shown
