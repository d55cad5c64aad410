"""`cox optimize`: ask, follow, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from rich.text import Text

from cli.follow.follower import Follower
from cli.follow.together import follow_to_the_end
from cli.follow.views import views_for
from cli.output import console, print_json, print_json_line, show
from cli.report.collect import report_of
from cli.report.table import result
from cli.session import connected
from shared.errors import InputError, RemoteError
from shared.messages import AcceptedPart, OptimizeReply, OptimizeRequest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cli.report.model import Report
    from shared.bus import Bus
    from shared.optimization import Optimization

ASK_S = 10.0
EXIT_CODES = {"promoted": 0, "failed": 1, "cancelled": 1, "rejected": 3, "kept-default": 4}
WORST_FIRST = (1, 3, 4, 0)
"""Where several optimizations end differently, the first of these counts."""


async def optimize(
    request: OptimizeRequest, *, directory: Path | None, detach: bool, as_json: bool
) -> int:
    """Ask for an optimization and follow it to its end; the exit code.

    Hosts of several kinds are an optimization each: all are followed, and the worst end counts.
    """
    if directory is not None:
        check_directory(directory)
        if detach:
            raise InputError(
                "a report needs the end of the optimization",
                expected="--report or --detach",
                got="both",
                advice="Detach now, and write it later with `cox report ID --report DIR`.",
            )
    async with connected() as bus:
        reply = await ask(bus, request)
        if not as_json:
            _show_accepted(reply)
        if detach:
            if as_json:
                print_json(reply)
            else:
                _show_detached(reply)
            return 0
        return await see_through(bus, reply, directory=directory, as_json=as_json)


async def ask(bus: Bus, request: OptimizeRequest) -> OptimizeReply:
    """Have a request accepted. Raises RemoteError with the planner's problem."""
    reply = await bus.ask(
        bus.subjects.optimize,
        request,
        OptimizeReply,
        timeout_s=ASK_S,
        beside=bus.subjects.endpoint("planner", "cancel"),
    )
    if reply.problem is not None:
        raise RemoteError(reply.problem)
    if not reply.parts:
        # A planner of an older version: what it accepts is a single optimization.
        only = AcceptedPart(optimization=reply.optimization, hosts=reply.hosts, waits=reply.waits)
        return replace(reply, parts=[only])
    return reply


def _show_accepted(reply: OptimizeReply) -> None:
    for host, why in reply.left_out.items():
        show(Text(f"{host} is left out: {why}", "dim"))
    if reply.left_out_more:
        show(Text(f"and {reply.left_out_more} more are left out", "dim"))
    if len(reply.parts) > 1:
        show(Text(f"{len(reply.parts)} kinds of hosts: an optimization for each, in one trace"))
    for part in reply.parts:
        for neighbour in part.beside:
            show(Text(f"beside {neighbour.workload}: {neighbour.why}", "dim"))
        if part.unguarded:
            show(Text(part.unguarded, "yellow"))


def _show_detached(reply: OptimizeReply) -> None:
    for part in reply.parts:
        console().print(f"accepted {part.optimization}, trace {reply.trace_id}")
        if len(reply.parts) > 1:
            console().print(f"on {', '.join(part.hosts)}", soft_wrap=True)
        if part.waits:
            show(Text(f"it waits: {part.waits}", "yellow"))
        console().print(f"follow it with `cox status {part.optimization} --watch`")


async def see_through(
    bus: Bus, reply: OptimizeReply, *, directory: Path | None, as_json: bool
) -> int:
    """Follow what was accepted to its end, and show what came of it; the exit code.

    Of several, each has its report's files in a directory of its own name.
    """
    identities = [part.optimization for part in reply.parts]
    several = len(identities) > 1
    labels = [str(number) for number in range(1, len(identities) + 1)] if several else [""]
    hint = "Ctrl-C cancels all" if several else "Ctrl-C cancels"
    with views_for(labels, as_json=as_json, hint=hint) as views:
        followers = [
            Follower(bus, identity, view) for identity, view in zip(identities, views, strict=True)
        ]
        seen = await follow_to_the_end(followers)
    if not seen:
        if not as_json:
            for identity in identities:
                console().print(f"left it to the planner; `cox status {identity} --watch`")
        return 1
    for identity in identities:
        own = directory / identity if directory is not None and several else directory
        await show_result(bus, identity, directory=own, as_json=as_json)
    return exit_code([follower.record for follower in followers])


def exit_code(records: Iterable[Optimization | None]) -> int:
    """The worst of the ends; one that is not known is a failure."""
    codes = {
        EXIT_CODES[record.terminal] if record is not None and record.terminal else 1
        for record in records
    }
    return min(codes, key=WORST_FIRST.index)


async def show_result(
    bus: Bus, optimization: str, *, directory: Path | None, as_json: bool
) -> Report:
    """The result table, and the three files if a directory is named."""
    files: list[str] = []
    if directory is not None:
        # matplotlib takes a second to import: only those who want a picture wait for it.
        from cli.report.write import write_report  # noqa: PLC0415

        report, paths = await write_report(bus, optimization, directory)
        files = [str(path) for path in paths]
    else:
        report = await report_of(bus, optimization)
    if as_json:
        print_json_line(report)
        return report
    show(result(report, files))
    return report


def check_directory(directory: Path) -> None:
    """Refuse what cannot become a directory before any work is done for it."""
    parent = directory
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(
            "the report needs a directory",
            expected="a directory, or a name for a new one",
            got=f"{parent} is something else",
            advice="Name another one with --report.",
        )
