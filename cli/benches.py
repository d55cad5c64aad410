"""`cox bench`: the measuring scripts of bench/."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from cli.fleet.child import CHECKOUT
from cli.output import print_json, show
from shared.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

BENCHES = CHECKOUT / "bench"


def benches() -> dict[str, Path]:
    """Scripts by name."""
    return {path.stem: path for path in sorted(BENCHES.glob("[a-z]*.py"))}


def list_benches(*, as_json: bool) -> None:
    """Every script with the first line of its description."""
    found = {name: _summary(path) for name, path in benches().items()}
    if as_json:
        print_json({"type": "benches", "benches": found})
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, summary in found.items():
        table.add_row(Text(name, style="bold"), summary)
    show(table)


def run_bench(name: str, arguments: list[str]) -> int:
    """Run one of them; its exit code."""
    found = benches()
    if name not in found:
        raise InputError(
            "no such bench",
            expected=f"one of {', '.join(found) or '(there is none)'}",
            got=repr(name)[:80],
            advice="`cox bench` lists them.",
        )
    done = subprocess.run([sys.executable, found[name], *arguments], cwd=CHECKOUT, check=False)
    return done.returncode


def _summary(path: Path) -> str:
    described = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return described.partition("\n")[0]
