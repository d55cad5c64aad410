"""pause, resume, freeze, unfreeze, drain, undrain."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.options import Json, OptimizationId

Reason = Annotated[str, typer.Option("--reason", help="Told to everybody who asks.")]
HostName = Annotated[str, typer.Argument(metavar="HOST", help="A host that has joined.")]


def pause(identity: OptimizationId, json: Json = False) -> None:
    """Let an optimization begin nothing new: no trial, no cohort.

    What runs goes on to its end, and what hosts have stays. The budget's clock stands still.

    Example:  cox pause last
    """
    from cli import orders, session

    session.run(orders.pause(identity, as_json=json))


def resume(identity: OptimizationId, json: Json = False) -> None:
    """Let a paused optimization go on.

    Example:  cox resume last
    """
    from cli import orders, session

    session.run(orders.resume(identity, as_json=json))


def freeze(reason: Reason = "", json: Json = False) -> None:
    """Let nothing new begin in the whole fleet, as for maintenance. Going back always works.

    Requests wait until `cox unfreeze`; what is under way stands still at its next step.

    Example:  cox freeze --reason "kernel updates"
    """
    from cli import orders, session

    session.run(orders.freeze(reason, frozen=True, as_json=json))


def unfreeze(json: Json = False) -> None:
    """Let a frozen fleet go on.

    Example:  cox unfreeze
    """
    from cli import orders, session

    session.run(orders.freeze("", frozen=False, as_json=json))


def drain(host: HostName, reason: Reason = "", json: Json = False) -> None:
    """Let nothing new begin on a host. What runs there stays: see `cox revert`.

    Example:  cox drain lab-1 --reason "new memory"
    """
    from cli import orders, session

    session.run(orders.drain(host, reason, drained=True, as_json=json))


def undrain(host: HostName, json: Json = False) -> None:
    """Let work begin on a host again.

    Example:  cox undrain lab-1
    """
    from cli import orders, session

    session.run(orders.drain(host, "", drained=False, as_json=json))
