"""doctor, demo, bench, schema, version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import Json


def doctor(
    host: Annotated[
        bool, typer.Option("--host", help="Only whether this machine can itself be a host.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what this machine can do, and what is missing for lab hosts and `make demo`.

    Also whether it could be a host itself: kernel, BTF, BPF compiler, PREEMPT_RT, isolated CPUs,
    other people's schedulers, rights, clocks. For `make demo` these are notes; with --host they
    are what counts. What other hosts lack is shown by `cox hosts`.

    Exit code: 0 if nothing that is needed is missing, else 1.

    Example:  cox doctor
    """
    from cli import doctor as examination
    from cli import session

    raise typer.Exit(session.run(examination.doctor(host=host, as_json=json)))


def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Which one to run.")] = "",
    json: Json = False,
) -> None:
    """List the benches, or run one; what follows NAME is given to it.

    Example:  cox bench policies --help
    """
    from cli import benches

    if not name:
        benches.list_benches(as_json=json)
        return
    raise typer.Exit(benches.run_bench(name, context.args))


def schema(
    message: Annotated[
        str, typer.Argument(metavar="[MESSAGE]", help="Only this message's JSON schema.")
    ] = "",
    json: Json = False,
) -> None:
    """Print the AsyncAPI document of the bus, or one message's JSON schema.

    The output is JSON with or without --json.

    Example:  cox schema OptimizeRequest
    """
    from cli import schema as schemas
    from cli.output import print_json
    from shared.settings import Settings

    del json
    subjects = Settings.from_environment().subjects
    print_json(schemas.schema_of(message) if message else schemas.document(subjects))


def demo(
    workload: Annotated[str, typer.Option("--workload", help="What to optimize.")] = "wakeup",
    hosts: Annotated[int, typer.Option("--hosts", min=1, max=8, help="Lab hosts.")] = 2,
    rounds: Annotated[int, typer.Option("--rounds", min=8, help="Budget of paired rounds.")] = 16,
    report: Annotated[
        Path, typer.Option("--report", metavar="DIR", help="Where the report goes.")
    ] = Path("runs/demo"),
) -> None:
    """Run one real optimization on lab hosts, from nothing to its report.

    Starts what `cox up --hosts 2` starts, optimizes a workload, shows the result and the trace,
    and takes everything down again, also on Ctrl-C.

    Exit code: 0 if it came to an honest end (promoted, or the default kept), else 1.

    Example:  cox demo --workload wakeup --report runs/demo
    """
    from cli import demo as demonstration
    from cli import session
    from cli.fleet import background
    from cli.fleet.supervisor import choose_port

    if (state := background.running()) is not None:
        raise background.already(state)
    code = session.run(
        demonstration.demo(
            workload=workload,
            hosts=hosts,
            port=choose_port(None),
            rounds=rounds,
            directory=report,
        )
    )
    raise typer.Exit(code)


def version(json: Json = False) -> None:
    """Print the version."""
    import importlib.metadata

    from cli.output import console, print_json

    number = importlib.metadata.version("coxswain")
    if json:
        print_json({"type": "version", "coxswain": number})
    else:
        console().print(f"coxswain {number}")
