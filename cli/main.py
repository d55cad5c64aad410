"""`cox`: one program, a client of the bus like any other."""

from __future__ import annotations

import os
import sys

import typer

from cli.commands import dead, fleet, hosts, optimization, orders, policies, reference
from shared import errors

app = typer.Typer(
    name="cox",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog=(
        "Exit codes: 0 done, 1 failed, 2 usage, 3 rejected by the gate, "
        "4 inconclusive (nothing was proven, so the kernel's default was kept)."
    ),
)


@app.callback()
def _cox() -> None:
    """Steer the CPU schedulers of a fleet of Linux hosts, measurably and safely.

    A first run on this machine:  `make demo`, or step by step:

    cox up --detach --hosts 2,  cox optimize wakeup,  cox trace last,  cox down
    """


def _mount_lab() -> None:
    """`cox lab`. What it needs is imported only when it is asked for."""
    if sys.argv[1:2] == ["lab"]:
        from cli import lab

        app.add_typer(lab.app, name="lab", rich_help_panel=HOSTS)
    else:
        text = "Boot, list, enter and end lab hosts: microVMs with a sched_ext kernel."
        app.add_typer(_stand_in(), name="lab", help=text, rich_help_panel=HOSTS)


def _stand_in() -> typer.Typer:
    group = typer.Typer()
    group.command("up")(lambda: None)
    return group


MACHINE, HOSTS, OPTIMIZE, POLICIES, REFERENCE = (
    "This machine",
    "Hosts",
    "Optimizations",
    "Policies",
    "Reference",
)
app.command(rich_help_panel=MACHINE)(fleet.up)
app.command(rich_help_panel=MACHINE)(fleet.down)
app.command(rich_help_panel=MACHINE)(fleet.keys)
app.command(rich_help_panel=MACHINE)(reference.doctor)
app.command(rich_help_panel=MACHINE)(reference.demo)
app.add_typer(hosts.hosts, name="hosts", rich_help_panel=HOSTS)
app.command(rich_help_panel=HOSTS)(fleet.revert)
app.command(rich_help_panel=HOSTS)(orders.freeze)
app.command(rich_help_panel=HOSTS)(orders.unfreeze)
_mount_lab()
app.command(rich_help_panel=OPTIMIZE)(optimization.optimize)
app.command(rich_help_panel=OPTIMIZE)(optimization.status)
app.command(rich_help_panel=OPTIMIZE)(optimization.optimizations)
app.command(rich_help_panel=OPTIMIZE)(optimization.cancel)
app.command(rich_help_panel=OPTIMIZE)(orders.pause)
app.command(rich_help_panel=OPTIMIZE)(orders.resume)
app.command(rich_help_panel=OPTIMIZE)(optimization.report)
app.command(rich_help_panel=OPTIMIZE)(optimization.explain)
app.command(rich_help_panel=OPTIMIZE)(optimization.trace)
app.add_typer(dead.dead, name="dead", rich_help_panel=HOSTS)
app.add_typer(policies.policies, name="policies", rich_help_panel=POLICIES)
app.add_typer(policies.gate, name="gate", rich_help_panel=POLICIES)
app.command(
    rich_help_panel=REFERENCE,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(reference.bench)
app.command(rich_help_panel=REFERENCE)(reference.schema)
app.command(rich_help_panel=REFERENCE)(reference.version)


def main() -> int:
    """Run one command; its exit code. Our own errors are a few lines, never a traceback."""
    arguments = sys.argv[1:]
    try:
        app(arguments, prog_name="cox")
    except errors.CoxswainError as error:
        if os.environ.get("COX_DEBUG"):
            raise
        _show(error, arguments)
        return exit_code(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what this command started is stopped\n")
        return 130
    except Exception as error:
        if os.environ.get("COX_DEBUG"):
            raise
        _show(_unexpected(error), arguments)
        return 1
    return 0


def _show(error: errors.CoxswainError, arguments: list[str]) -> None:
    from cli.output import show_error

    show_error(error, as_json="--json" in arguments)


def _unexpected(error: Exception) -> errors.CoxswainError:
    """An error that nobody foresaw, in the form of those that somebody did."""
    return errors.CoxswainError(
        "something went wrong that should not have",
        got=f"{type(error).__name__}: {error}",
        advice="Run it again with COX_DEBUG=1 to see where, and tell us.",
    )


def exit_code(error: errors.CoxswainError) -> int:
    """An error's exit code; a problem from the other side of the bus keeps its own kind's."""
    if isinstance(error, errors.RemoteError):
        kind = getattr(errors, error.kind, None)
        if isinstance(kind, type) and issubclass(kind, errors.CoxswainError):
            return kind.exit_code
    return error.exit_code
