"""`cox optimize`: ask, follow, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from cli.follow.follower import Follower
from cli.follow.views import view_for
from cli.output import console, print_json, print_json_line, show
from cli.report.collect import report_of
from cli.report.table import result
from cli.session import connected
from shared.errors import InputError, RemoteError
from shared.messages import OptimizeReply, OptimizeRequest

if TYPE_CHECKING:
    from pathlib import Path

    from cli.report.model import Report
    from shared.bus import Bus

ASK_S = 10.0
EXIT_CODES = {"promoted": 0, "failed": 1, "cancelled": 1, "rejected": 3, "kept-default": 4}
HINT = "Ctrl-C cancels"


async def optimize(
    request: OptimizeRequest, *, directory: Path | None, detach: bool, as_json: bool
) -> int:
    """Ask for an optimization and follow it to its end; the exit code."""
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
            for host, why in reply.left_out.items():
                show(Text(f"{host} is left out: {why}", "dim"))
            if reply.waits and detach:
                show(Text(f"it waits: {reply.waits}", "yellow"))
        if detach:
            if as_json:
                print_json(reply)
            else:
                console().print(f"accepted {reply.optimization}, trace {reply.trace_id}")
                console().print(f"follow it with `cox status {reply.optimization} --watch`")
            return 0
        return await see_through(bus, reply.optimization, directory=directory, as_json=as_json)


async def ask(bus: Bus, request: OptimizeRequest) -> OptimizeReply:
    """Have a request accepted. Raises RemoteError with the planner's problem."""
    reply = await bus.ask(bus.subjects.optimize, request, OptimizeReply, timeout_s=ASK_S)
    if reply.problem is not None:
        raise RemoteError(reply.problem)
    return reply


async def see_through(bus: Bus, optimization: str, *, directory: Path | None, as_json: bool) -> int:
    """Follow an optimization to its end, and show what came of it; the exit code."""
    with view_for(as_json=as_json, hint=HINT) as view:
        follower = Follower(bus, optimization, view)
        await follower.run()
    if follower.detached:
        if not as_json:
            console().print(f"left it to the planner; `cox status {optimization} --watch`")
        return 1
    await show_result(bus, optimization, directory=directory, as_json=as_json)
    record = follower.record
    return EXIT_CODES[record.terminal] if record is not None and record.terminal else 1


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
