"""`cox policies calibration`: what minds have predicted against what was measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text

from cli.output import plain_table, print_json, show
from cli.policies import wording
from cli.policies.known import ask
from shared.repository import CalibrationRequest, CalibrationTable

if TYPE_CHECKING:
    from services.learner.repository import Repository


async def show_calibration(*, as_json: bool) -> None:
    """A row for each mind, class of workload and way to come to a candidate."""
    known, without = await ask("calibration", CalibrationRequest(), CalibrationTable, _nothing)
    if as_json:
        print_json({"type": "calibration", "rows": known.rows, "without": without})
        return
    if known.rows:
        table = plain_table()
        for column in (
            "mind",
            "class",
            "origin",
            "outcomes",
            "inside",
            "than predicted",
            "widened",
        ):
            table.add_column(column, overflow="fold")
        for row in known.rows:
            table.add_row(
                Text(row.mind, style="bold"),
                Text(row.workload_class),
                Text(row.origin),
                str(row.outcomes),
                f"{row.covered:.0%}",
                _bias(row.bias),
                f"x {math.exp(row.widen):.2f}" if row.widen else "no",
            )
        show(table)
    elif not without:
        show(Text("No outcome has a prediction to be held against yet.", "dim"))
    if without:
        show(wording.without(without))


def _bias(log: float) -> str:
    share = math.expm1(abs(log))
    return f"{share:.0%} {'worse' if log > 0 else 'better'}" if share >= 0.005 else "the same"


def _nothing(_repository: Repository) -> CalibrationTable:
    return CalibrationTable()
