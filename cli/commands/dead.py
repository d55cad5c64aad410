"""dead list, dead show, dead replay."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.options import Json

LAST = 2**63 - 1
"""Of a stream's sequences."""

dead = typer.Typer(
    help="List, show and replay dead letters: messages that nobody could handle.",
    no_args_is_help=True,
)


@dead.command("list")
def dead_list(json: Json = False) -> None:
    """List the dead letters, oldest first: what it was, how often it was tried, why it died.

    Example:  cox dead list
    """
    from cli import session
    from cli.dead import show

    session.run(show.list_letters(as_json=json))


@dead.command("show")
def dead_show(
    identity: Annotated[
        int, typer.Argument(metavar="ID", min=1, max=LAST, help="As `cox dead list` shows it.")
    ],
    json: Json = False,
) -> None:
    """Show one dead letter: its message, its headers, and whether it can be replayed.

    Example:  cox dead show 3
    """
    from cli import session
    from cli.dead import show

    session.run(show.show_letter(identity, as_json=json))


@dead.command("replay")
def dead_replay(
    identities: Annotated[
        list[int],
        typer.Argument(metavar="ID...", min=1, max=LAST, help="As `cox dead list` shows them."),
    ],
    json: Json = False,
) -> None:
    """Hand dead letters out again, after what killed them was put right.

    Each goes to its own subject once, and is taken out of the dead letters. Refused: what nobody
    can read, what comes too late, and what would begin something for an optimization that is
    over. Either all are sent or none.

    Example:  cox dead replay 3
    """
    from cli import session
    from cli.dead import show

    session.run(show.replay_letters(identities, as_json=json))
