"""up, down, keys, revert."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.options import Json


def up(
    hosts: Annotated[
        int, typer.Option("--hosts", min=0, max=16, help="Also boot this many lab hosts.")
    ] = 0,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=1, max=65535, help="NATS's port; by default 4222 or a free one."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background; return when ready.")
    ] = False,
    json: Json = False,
) -> None:
    """Start the bus and the services on this machine.

    An embedded NATS server, the planner, the learner and the gate run until Ctrl-C (or until
    `cox down` after --detach). Whatever crashes is started again. With --hosts N,
    N microVMs on a kernel with sched_ext join as lab-1 … lab-N.

    Example:  cox up --detach --hosts 2
    """
    from cli import session
    from cli.fleet import background, foreground
    from cli.fleet.supervisor import choose_port
    from cli.output import console, print_json

    if not detach:
        if (state := background.running()) is not None:
            raise background.already(state)
        session.run(foreground.stay(port=choose_port(port), hosts=hosts, as_json=json))
        return
    if json:
        print_json(foreground.fleet_document(background.start(port=port, hosts=hosts)))
        return
    with foreground.watching() as watch:
        state = background.start(port=port, hosts=hosts, watch=watch)
    console().print(foreground.FleetTable(state, hint="`cox down` stops everything."))


def down(json: Json = False) -> None:
    """Stop what `cox up` started on this machine.

    Says so if nothing ran. What is kept (optimizations, events, outcomes) stays.

    Example:  cox down
    """
    from cli.fleet import background
    from cli.output import console, print_json

    stopped = background.stop()
    if json:
        print_json({"type": "down", "stopped": stopped is not None})
    elif stopped is None:
        console().print("nothing ran")
    else:
        names = ", ".join(member.name for member in stopped.members)
        console().print(f"stopped {names}", soft_wrap=True)


def keys(
    rotate: Annotated[
        bool,
        typer.Option("--rotate-signing", help="Make one more key for deployment tokens first."),
    ] = False,
    retire: Annotated[
        bool,
        typer.Option("--retire-signing", help="Forget all of those but the newest first."),
    ] = False,
    json: Json = False,
) -> None:
    """List the members of the bus that runs here, and the files with their keys.

    Any NATS client gets in with one of them: `nats --nkey FILE …`. `client` may ask for
    optimizations, cancel them and see what becomes of them; `operator` may do everything.

    With --rotate-signing the gate has a new key beside the old one, and signs with it for every
    host that knows it; with --retire-signing the old ones end. See docs/operating.md.

    Example:  cox keys
    """
    from cli import enrolment

    if rotate or retire:
        enrolment.rotate_signing(retire=retire)
    enrolment.list_members(as_json=json)


def revert(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[HOST]...", help="Which hosts.")
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Every host that has joined.")] = False,
    json: Json = False,
) -> None:
    """Put hosts back on the kernel's default scheduler, at once.

    Even in the middle of a trial, which then ends. Nobody else's scheduler is touched.

    Example:  cox revert lab-1 lab-2
    """
    from cli import hosts as fleet_hosts
    from cli import session

    raise typer.Exit(
        session.run(fleet_hosts.revert(names or [], everywhere=everywhere, as_json=json))
    )
