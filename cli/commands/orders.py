"""pause, resume, freeze, unfreeze."""

from __future__ import annotations

from cli.commands.options import Json, OptimizationId, Reason


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
