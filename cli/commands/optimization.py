"""optimize, status, optimizations, cancel, report, explain, trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import Json, OptimizationId

Reports = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="DIR", help="Write report.json, trace.json and report.png there."
    ),
]


WHERE, ROLLOUT = "Options: where", "Options: roll-out"


def optimize(
    workload: Annotated[str, typer.Argument(help="What to make better: see workloads/.")],
    hosts: Annotated[
        str, typer.Option("--hosts", help="Where, comma-separated; by default every ready host.")
    ] = "",
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--beside",
            metavar="WORKLOAD",
            help="Run this at the same time; it must not get worse. Up to three times.",
        ),
    ] = None,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="No neighbours but those, whatever a host keeps for others."),
    ] = False,
    made: Annotated[
        bool,
        typer.Option(
            "--made/--no-made", help="Try hooks that a mind has written, or only what ships."
        ),
    ] = True,
    drift: Annotated[
        str,
        typer.Option(
            "--drift",
            metavar="off|tell|optimize",
            help="When what was kept does not do any more what it did: nothing, say so, or"
            " optimize again, for 30 days.",
        ),
    ] = "tell",
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="NAME=PATTERN",
            help="Only hosts with such a label (COX_LABELS); may be given several times.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    kernel: Annotated[
        str,
        typer.Option(
            "--kernel",
            metavar="PATTERN",
            help="Only hosts with such a kernel, as in `7.3*`.",
            rich_help_panel=WHERE,
        ),
    ] = "",
    cpu_model: Annotated[
        str,
        typer.Option(
            "--cpu-model",
            metavar="PATTERN",
            help="Only hosts with such a CPU, as in `*EPYC*`.",
            rich_help_panel=WHERE,
        ),
    ] = "",
    fingerprint: Annotated[
        str,
        typer.Option(
            "--fingerprint",
            metavar="KEY",
            help="Only hosts with the hardware and kernel of this one: see `cox optimizations`.",
            rich_help_panel=WHERE,
        ),
    ] = "",
    cohorts: Annotated[
        str,
        typer.Option(
            "--cohorts",
            metavar="PERCENTS",
            help="How much of the fleet has a winner after each step.",
            rich_help_panel=ROLLOUT,
        ),
    ] = "10,50,100",
    soak: Annotated[
        float,
        typer.Option(
            "--soak",
            help="How many seconds a step runs before it is judged.",
            rich_help_panel=ROLLOUT,
        ),
    ] = 3.0,
    control: Annotated[
        int,
        typer.Option(
            "--control",
            help="Percent of all hosts (rounded down) that stay on what they run, to compare.",
            rich_help_panel=ROLLOUT,
        ),
    ] = 10,
    lease: Annotated[
        float,
        typer.Option(
            "--lease",
            help="How many seconds a host keeps a winner while the bus is away.",
            rich_help_panel=ROLLOUT,
        ),
    ] = 3600.0,
    rounds: Annotated[
        int, typer.Option("--rounds", help="Budget: paired rounds over all trials (8 to 1000).")
    ] = 24,
    seconds: Annotated[
        int, typer.Option("--seconds", help="Budget: wall seconds for all of it (60 to 86400).")
    ] = 1800,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help="Try only this policy; may be given several times."),
    ] = None,
    priority: Annotated[
        int, typer.Option("--priority", help="0 to 9: the higher one goes first on a host.")
    ] = 5,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="For hosts that are busy, or refuse.")
    ] = True,
    least_effect: Annotated[
        float | None,
        typer.Option("--least-effect", help="Least gain worth having, 0.05 is 5 %."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the load: same seed, same load.")] = 1,
    report: Reports = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return as soon as the request is accepted.")
    ] = False,
    json: Json = False,
) -> None:
    """Find, prove and roll out a better scheduling policy for a workload.

    The workload is observed, candidates are planned, built and checked, and tried against the
    kernel's default on one host in paired rounds; what is proven better goes to the other
    hosts step by step, and is taken back from all of them at the first trouble.
    Ctrl-C cancels: the hosts go back to what ran before. A second Ctrl-C leaves at once and
    lets the planner finish the cancelling.

    Where the host that tries keeps a policy for another workload, that one becomes a neighbour by
    itself, its policy is what candidates are compared with, and it must not get worse either.

    Hosts of several kinds of hardware or kernel are an optimization each, side by side in one
    trace; the budget holds for each. Each one's report has a directory of its own below DIR.

    Exit code: 0 promoted, 1 failed or cancelled, 2 the request cannot be, 3 rejected by the
    gate, 4 nothing was proven and the default was kept; of several optimizations the worst: 1
    before 3 before 4 before 0.

    Example:  cox optimize wakeup --hosts lab-1,lab-2 --rounds 16 --report runs/wakeup
    """
    from cli import session
    from cli.optimizing import optimize as run_optimization
    from cli.requests import make_request

    request = make_request(
        workload=workload,
        beside=beside or [],
        alone=alone,
        made=made,
        drift=drift,
        hosts=[name.strip() for name in hosts.split(",") if name.strip()],
        rounds=rounds,
        seconds=seconds,
        policies=policy or [],
        least_effect=least_effect,
        seed=seed,
        priority=priority,
        wait=wait,
        labels=label or [],
        kernel=kernel,
        cpu_model=cpu_model,
        fingerprint=fingerprint,
        cohorts=cohorts,
        soak_s=soak,
        control_percent=control,
        lease_s=lease,
    )
    code = session.run(run_optimization(request, directory=report, detach=detach, as_json=json))
    raise typer.Exit(code)


def status(
    identity: Annotated[
        str, typer.Argument(metavar="[ID]", help="One optimization's id, or 'last'.")
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it as it changes (Ctrl-C leaves).")
    ] = False,
    json: Json = False,
) -> None:
    """Show the fleet now, or where one optimization stands.

    The fleet: its hosts and what schedules them, the optimizations that are not over with their
    trials and budgets, what ended last, and dead letters. With --watch it is drawn again in place
    when something changes; with --json that is one document a line. One optimization is followed
    to its end.

    Example:  cox status --watch
    """
    from cli import session, standing

    raise typer.Exit(session.run(standing.status(identity, watch=watch, as_json=json)))


def optimizations(
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            help="Only those in this phase (as `trying`) or with this end (as `promoted`); "
            "may be given several times.",
        ),
    ] = None,
    workload: Annotated[str, typer.Option("--workload", help="Only those of this one.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 20,
    json: Json = False,
) -> None:
    """List optimizations, newest first: what was asked for, and what came of it.

    Example:  cox optimizations --state promoted --workload wakeup
    """
    from cli import optimizations as listing
    from cli import session

    session.run(
        listing.list_optimizations(states=state or [], workload=workload, limit=limit, as_json=json)
    )


def cancel(identity: OptimizationId, json: Json = False) -> None:
    """Stop an optimization; its hosts go back to what ran before it.

    Example:  cox cancel o1123-014512-ab12cd
    """
    from cli import session, standing

    session.run(standing.cancel_one(identity, as_json=json))


def report(
    identity: OptimizationId,
    directory: Reports = None,
    json: Json = False,
) -> None:
    """Show an optimization's result again, and write its files if --report is given.

    Made from what the bus keeps, at any time later.

    Example:  cox report last --report runs/again
    """
    from cli import session, standing

    session.run(standing.report_one(identity, directory=directory, as_json=json))


def explain(identity: OptimizationId, json: Json = False) -> None:
    """Say why a policy was chosen, what else there was, what it cost, and what disappoints.

    The decision against its prediction; the mind's grounds; every trial before and after; what
    the policy does in its manifest's words; who waited for a CPU; where time and money went; what
    runs where now. What was not measured is said to be not measured. Of one that still runs: so
    far.

    Example:  cox explain last
    """
    from cli import session
    from cli.explaining import gather

    session.run(gather.explain_one(identity, as_json=json))


def trace(
    source: Annotated[
        str,
        typer.Argument(
            metavar="ID|FILE", help="An optimization's id, its trace's, 'last', or a trace.json."
        ),
    ] = "last",
    everything: Annotated[
        bool, typer.Option("--all", help="Show every event of every span.")
    ] = False,
    json: Json = False,
) -> None:
    """Draw who decided what, when, and why, as a tree.

    With --json the trace is printed as an OTLP JSON document.

    Example:  cox trace runs/demo/trace.json
    """
    from cli import session, tracing

    session.run(tracing.draw(source, everything=everything, as_json=json))
