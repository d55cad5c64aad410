"""policies, gate check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import Json

policies = typer.Typer(
    help="List the scheduling policies of the repository, or show one.",
    invoke_without_command=True,
)
gate = typer.Typer(help="Check a policy as the fleet's gate would.", no_args_is_help=True)


@policies.callback(invoke_without_command=True)
def policies_list(context: typer.Context, json: Json = False) -> None:
    """List the scheduling policies of the repository, or show one.

    Example:  cox policies show latency
    """
    if context.invoked_subcommand is None:
        from cli import catalogue

        catalogue.list_policies(as_json=json)


@policies.command("show")
def policies_show(
    name: Annotated[str, typer.Argument(help="A policy's name.")], json: Json = False
) -> None:
    """Show one policy: what it is good for, and its tunables.

    Example:  cox policies show latency
    """
    from cli import catalogue

    catalogue.show_policy(name, as_json=json)


@gate.command("check")
def gate_check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="C source of a policy's hooks.", dir_okay=False)
    ],
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest", help="Its policy.toml; by default the one beside FILE.", dir_okay=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Build and prove a policy's hooks on this machine; nothing is loaded.

    Exit code: 0 accepted, 3 rejected with reasons (stage, rule, line).

    Example:  cox gate check bpf/policies/latency/hooks.bpf.c
    """
    from cli import checking

    raise typer.Exit(checking.check(file, manifest, as_json=json))
