"""What a command prints: for a person, or with `--json` for a program; and how errors look.

A person's text goes through rich, which drops colours where there is no terminal. Texts that
come from services are never taken for markup, nor for what a terminal obeys. With `--json`,
stdout holds JSON and nothing else.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table
from rich.text import Text

from cli.harmless import HarmlessConsole

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from shared.errors import CoxswainError, Problem

PLAIN_WIDTH = 110
"""Columns where there is no terminal to ask."""


@cache
def console(*, stderr: bool = False) -> Console:
    """The one console for a stream."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PLAIN_WIDTH
    return HarmlessConsole(file=stream, width=width, markup=False, highlight=False, emoji=False)


def show(renderable: RenderableType) -> None:
    """Print for a person; without a terminal, lines carry no padding at their ends."""
    target = console()
    if target.is_terminal:
        target.print(renderable)
        return
    with target.capture() as captured:
        target.print(renderable, soft_wrap=isinstance(renderable, Text))
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")
    sys.stdout.flush()


def plain_table() -> Table:
    """A table without lines, its columns two spaces apart."""
    return Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))


def print_json(document: Any) -> None:
    """One document, indented for whoever reads it."""
    _write(msgspec.json.format(msgspec.json.encode(document), indent=2))


def print_json_line(document: Any) -> None:
    """One of several documents, a line each, out at once."""
    _write(msgspec.json.encode(document))


def _write(data: bytes) -> None:
    sys.stdout.write(data.decode() + "\n")
    sys.stdout.flush()


def problem_lines(problem: Problem) -> Table:
    """What went wrong, and its labelled parts that are known."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(overflow="fold")
    grid.add_row(Text("error", style="bold red"), Text(problem.what, style="bold"))
    for label, text in (
        ("expected", problem.expected),
        ("got", problem.got),
        ("do", problem.advice),
    ):
        if text:
            grid.add_row(Text(label, style="dim"), Text(text))
    return grid


def show_error(error: CoxswainError, *, as_json: bool) -> None:
    """An error on stderr; with `--json` also on stdout, so that a program gets JSON always."""
    if as_json:
        print_json_line({"type": "problem", "problem": error.problem})
    console(stderr=True).print(problem_lines(error.problem))
