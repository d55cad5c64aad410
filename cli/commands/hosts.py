"""hosts, who of them is let in, and on whom nothing new begins."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.options import Json, Reason

Name = Annotated[str, typer.Argument(metavar="HOST", help="A host's name.")]

hosts = typer.Typer(invoke_without_command=True)


@hosts.callback(invoke_without_command=True)
def hosts_list(context: typer.Context, json: Json = False) -> None:
    """List the hosts on the bus, let one in, throw one out, or drain one.

    The list says what they are, what schedules them, and what stands in the way: drained ones are
    told with the reason, labels where hosts have some (COX_LABELS).

    Example:  cox hosts
    """
    if context.invoked_subcommand is None:
        from cli import hosts as fleet_hosts
        from cli import session

        session.run(fleet_hosts.list_hosts(as_json=json))


@hosts.command("enroll")
def hosts_enroll(name: Name, json: Json = False) -> None:
    """Let a host in: make its keys and its place on the bus, and say where the keys go.

    Example:  cox hosts enroll web-1
    """
    from cli import enrolment, session

    session.run(enrolment.enroll(name, as_json=json))


@hosts.command("revoke")
def hosts_revoke(name: Name, json: Json = False) -> None:
    """Throw a host out: back to the kernel's default, then its keys open nothing any more.

    Its connections end at once. One that does not answer is thrown out as it is, and that is said.

    Example:  cox hosts revoke web-1
    """
    from cli import enrolment, session

    session.run(enrolment.revoke(name, as_json=json))


@hosts.command("drain")
def hosts_drain(name: Name, reason: Reason = "", json: Json = False) -> None:
    """Let nothing new begin on a host. What runs there stays: see `cox revert`.

    Example:  cox hosts drain web-1 --reason "new memory"
    """
    from cli import orders, session

    session.run(orders.drain(name, reason, drained=True, as_json=json))


@hosts.command("probe")
def hosts_probe(
    name: Name,
    workload: Annotated[str, typer.Argument(metavar="WORKLOAD", help="What is run there once.")],
    probe: Annotated[
        str, typer.Argument(metavar="PROBE", help="run-queue, cpu-time, wakes, futex or io.")
    ] = "run-queue",
    beside: Annotated[
        list[str] | None, typer.Option("--beside", help="A workload that runs beside it.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The workload's.")] = 1,
    json: Json = False,
) -> None:
    """Run a workload on a host with a probe in its kernel, and show what that saw.

    Waits for a CPU, time on and off it, who wakes whom, waits for each other and for storage.
    The host compiles it with bcc first; docs/probes.md says what that costs.

    Example:  cox hosts probe lab-1 wakeup wakes
    """
    from cli import probing, session

    session.run(probing.probe(name, workload, probe, beside or [], seed, as_json=json))


@hosts.command("reset")
def hosts_reset(name: Name, json: Json = False) -> None:
    """Let a host load policies again: close its breaker, end its quarantine.

    It opened after too many faults; look for their cause first: `cox hosts` says what it was.

    Example:  cox hosts reset web-1
    """
    from cli import hosts as fleet_hosts
    from cli import session

    session.run(fleet_hosts.reset(name, as_json=json))


@hosts.command("undrain")
def hosts_undrain(name: Name, json: Json = False) -> None:
    """Let work begin on a host again.

    Example:  cox hosts undrain web-1
    """
    from cli import orders, session

    session.run(orders.drain(name, "", drained=False, as_json=json))
