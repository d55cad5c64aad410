"""`cox status`, `cox cancel`, `cox report`: where things stand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.text import Text

from cli import figures
from cli.follow.follower import Follower, cancel
from cli.follow.together import follow_to_the_end
from cli.follow.views import PHASES, Lines, views_for
from cli.optimizing import check_directory, exit_code, show_result
from cli.output import console, print_json, show
from cli.overview.watching import overview
from cli.report.collect import life_of, record_of, report_of
from cli.session import connected

if TYPE_CHECKING:
    from pathlib import Path

    from shared.bus import Bus
    from shared.optimization import Optimization


async def status(identity: str, *, watch: bool, as_json: bool) -> int:
    """The fleet, or one optimization; the exit code says how a watched one ended."""
    if not identity:
        await overview(watch=watch, as_json=as_json)
        return 0
    async with connected() as bus:
        record = await record_of(bus, identity)
        if watch:
            return await _watch(bus, record, as_json=as_json)
        if as_json:
            print_json(await report_of(bus, record.id))
            return 0
        await _show(bus, record)
        return 0


async def _show(bus: Bus, record: Optimization) -> None:
    """Everything that happened so far, and the result if it is over."""
    life = await life_of(bus, record.id)
    view = Lines()
    for fact in life.facts:
        view.fact(fact, life, record)
    if record.over:
        await show_result(bus, record.id, directory=None, as_json=False)
    else:
        elapsed_s = time.time() - record.created_unix_ns / 1e9
        show(Text(f"{PHASES[record.phase]} · {figures.seconds(elapsed_s)}", "yellow"))


async def _watch(bus: Bus, record: Optimization, *, as_json: bool) -> int:
    with views_for([""], as_json=as_json, hint="Ctrl-C leaves") as (view,):
        follower = Follower(bus, record.id, view)
        seen = await follow_to_the_end([follower], cancels=False)
    if not seen:
        return 0
    await show_result(bus, record.id, directory=None, as_json=as_json)
    return exit_code([follower.record])


async def cancel_one(identity: str, *, as_json: bool) -> None:
    """Ask the planner to stop it."""
    async with connected() as bus:
        record = await record_of(bus, identity)
        await cancel(bus, record.id, "cox cancel")
    if as_json:
        print_json({"type": "cancelled", "optimization": record.id})
    else:
        console().print(f"{record.id} is being cancelled; its hosts go back to what ran before")


async def report_one(identity: str, *, directory: Path | None, as_json: bool) -> None:
    """The result once more."""
    if directory is not None:
        check_directory(directory)
    async with connected() as bus:
        record = await record_of(bus, identity)
        await show_result(bus, record.id, directory=directory, as_json=as_json)
