"""policies, gate check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import Json

policies = typer.Typer(
    help="List, show, compare and find scheduling policies, and tell what came of them.",
    invoke_without_command=True,
)
gate = typer.Typer(help="Check a policy as the fleet's gate would.", no_args_is_help=True)


Policy = Annotated[str, typer.Argument(metavar="NAME", help="A policy's name.")]


Versioned = Annotated[
    str,
    typer.Argument(
        metavar="NAME[@VERSION]", help="A policy's name; with a version, that one alone."
    ),
]
PolicyReason = Annotated[str, typer.Option("--reason", help="Told to everybody who asks.")]


@policies.callback(invoke_without_command=True)
def policies_all(context: typer.Context, json: Json = False) -> None:
    """List, show, compare and find scheduling policies, and tell what came of them.

    Example:  cox policies show latency
    """
    if context.invoked_subcommand is None:
        policies_list(json=json)


@policies.command("list")
def policies_list(json: Json = False) -> None:
    """List the policies that ship, and what came of them wherever they were tried.

    Trials and ratios are the learner's: without a bus there are none, and it says so.

    Example:  cox policies list
    """
    from cli import session
    from cli.policies import listing

    session.run(listing.list_policies(as_json=json))


@policies.command("calibration")
def policies_calibration(json: Json = False) -> None:
    """Show how predictions have turned out: by mind, class of workload, and origin.

    `inside` is the share of outcomes within the range that was predicted; where less than four of
    five are, the embedded mind widens its own by the last column.

    Example:  cox policies calibration
    """
    from cli import session
    from cli.policies import calibration

    session.run(calibration.show_calibration(as_json=json))


@policies.command("show")
def policies_show(
    name: Policy,
    version: Annotated[
        str, typer.Option("--version", help="Another one than the one that ships.")
    ] = "",
    json: Json = False,
) -> None:
    """Show one policy: what it is good for, its tunables, its builds, and its record.

    The record is by fingerprint (workload, objective, hardware, kernel, company). Trials of the
    same parameters are combined; those that contradict each other are called conflicting.

    Example:  cox policies show latency
    """
    from cli import session
    from cli.policies import details

    session.run(details.show_policy(name, version, as_json=json))


@policies.command("retire")
def policies_retire(name: Versioned, reason: PolicyReason, json: Json = False) -> None:
    """Have nothing new tried with a policy, nor with what minds have made of it.

    What runs already keeps running, and optimizations that have their plan keep it: it says where,
    and `cox revert` and `cox cancel` end that. `cox policies promote` takes it back.

    Example:  cox policies retire latency --reason "batch jobs complain"
    """
    from cli import session
    from cli.policies import ordering

    session.run(ordering.order("retire", name, reason, as_json=json))


@policies.command("promote")
def policies_promote(name: Versioned, reason: PolicyReason, json: Json = False) -> None:
    """Have a policy tried before its equals; of a retired one, take that back and no more.

    A preference is no evidence: what would not be tried is not, and the judge knows nothing of it.

    Example:  cox policies promote latency --reason "it has served us well"
    """
    from cli import session
    from cli.policies import ordering

    session.run(ordering.order("promote", name, reason, as_json=json))


@policies.command("diff")
def policies_diff(
    name: Policy,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another policy's name.")],
    json: Json = False,
) -> None:
    """Show how two policies that ship differ, manifest and hooks, as unified diffs.

    Example:  cox policies diff fair latency
    """
    from cli.policies import differences

    differences.diff_policies(name, other, as_json=json)


@policies.command("history")
def policies_history(
    name: Policy,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=500, help="So many of the newest.")
    ] = 50,
    json: Json = False,
) -> None:
    """Tell when a policy was built and tried, where, for which optimization, and what came of it.

    Example:  cox policies history latency
    """
    from cli import session
    from cli.policies import story

    session.run(story.show_history(name, limit=limit, as_json=json))


@policies.command("search")
def policies_search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORDS]...",
            help="Of names, manifests, READMEs, and the reasons of verdicts.",
        ),
    ] = None,
    like: Annotated[
        str,
        typer.Option(
            "--like",
            metavar="ID",
            help="Only what was tried on a workload and host like this optimization's, or 'last'.",
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="So many at most.")] = 10,
    json: Json = False,
) -> None:
    """Find policies by words, by what they were tried on, or by both; the best first.

    Example:  cox policies search wake-up latency beside hogs
    """
    from cli import session
    from cli.policies import seeking

    session.run(seeking.search(" ".join(words or []), like=like, limit=limit, as_json=json))


@gate.command("check")
def gate_check(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="C source of a policy's hooks, or an object that clang has made of it.",
            dir_okay=False,
        ),
    ],
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            help="Its policy.toml; by default the one beside FILE, else none.",
            dir_okay=False,
        ),
    ] = None,
    sandbox: Annotated[
        bool,
        typer.Option("--sandbox", help="Then load it in a microVM and besiege it there."),
    ] = False,
    cpus: Annotated[
        str,
        typer.Option(
            "--cpus", metavar="N,…", help="With --sandbox: on so many CPUs, one after another (2)."
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Judge a policy's hooks on this machine as the fleet's gate would; nothing is loaded on it.

    Source goes through all stages: bound, source, compile, proof, link. A compiled object goes
    through those that need no source. Only hooks are judged, no scheduler of its own. docs/gate.md
    says what each stage stops. With --sandbox the result is loaded and besieged in a lab guest:
    that takes a minute or two, and the image of `cox lab up`.

    Exit code: 0 accepted, 3 rejected with reasons (stage, rule, line), 2 wrong usage.

    Example:  cox gate check bpf/policies/latency/hooks.bpf.c
    """
    from cli import checking

    raise typer.Exit(checking.check(file, manifest, as_json=json, sandbox=sandbox, cpus=cpus))
