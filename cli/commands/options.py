"""Options that several commands have in the same form."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of text; nothing else goes to stdout.")
]
Reason = Annotated[str, typer.Option("--reason", help="Told to everybody who asks.")]
OptimizationId = Annotated[
    str, typer.Argument(metavar="ID", help="An optimization's id, or 'last' for the newest.")
]
