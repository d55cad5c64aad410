"""`cox status` without an id: the page once, or as it changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from nats.errors import Error as NatsError
from rich.live import Live as LiveDisplay

from cli.fleet.foreground import stop_on_signals
from cli.fleet.roster import Roster
from cli.hosts import LISTEN_S, hosts_now
from cli.output import console, print_json, print_json_line, show
from cli.overview.draw import Page
from cli.overview.picture import compose
from cli.session import connected
from shared.errors import CoxswainError
from shared.optimization import Optimization

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from cli.hosts import Host
    from cli.overview.picture import Picture
    from shared.bus import Bus

LOOK_S = 1.0
HOSTS_S = 10.0


class Board:
    """What is known of the fleet: hosts are looked up, optimizations are heard of."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._roster = Roster()
        self._optimizations: dict[str, Optimization] = {}
        self._dead_letters = 0
        self._looked_s = 0.0
        self._known = True
        self.hosts: list[Host] = []
        self.changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Known from here on. Raises BusError if the bus does not tell even once."""
        await self._roster.listen(self._bus)
        records = await self._bus.records("optimizations", Optimization)
        self._optimizations = {found.key: found.value for found in await records.all()}
        await asyncio.sleep(LISTEN_S)
        self.hosts = await hosts_now(self._bus, self._roster)
        self._dead_letters = await self._count_dead()
        self._looked_s = time.monotonic()
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def picture(self) -> Picture:
        """What is known now."""
        return compose(
            self.hosts,
            self._optimizations.values(),
            dead_letters=self._dead_letters,
            connected=self._known and self._bus.nc.is_connected,
        )

    async def wait(self) -> None:
        """Until something may have changed; hosts are looked at again if that is due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self.changed.wait()
        self.changed.clear()
        if time.monotonic() - self._looked_s < HOSTS_S:
            return
        try:
            self.hosts = await hosts_now(self._bus, self._roster)
            self._dead_letters = await self._count_dead()
        except (CoxswainError, NatsError, OSError):
            self._known = False  # what was known is shown as such
        else:
            self._known = True
        self._looked_s = time.monotonic()

    async def _count_dead(self) -> int:
        info = await self._bus.js.stream_info(self._bus.subjects.stream("DEAD"))
        return info.state.messages

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(CoxswainError, NatsError, OSError):
                records = await self._bus.records("optimizations", Optimization)
                async for record in records.watch():
                    self._optimizations[record.key] = record.value
                    self.changed.set()
            await asyncio.sleep(LOOK_S)


async def overview(*, watch: bool, as_json: bool) -> None:
    """Show the fleet; with `watch` until Ctrl-C, again whenever it is another one."""
    async with connected() as bus:
        board = Board(bus)
        async with board.kept():
            picture = board.picture()
            if watch:
                await _watch(board, as_json=as_json)
            elif as_json:
                print_json(picture)
            else:
                show(Page(picture, board.hosts))


async def _watch(board: Board, *, as_json: bool) -> None:
    last: Picture | None = None
    with stop_on_signals(lambda: None) as stop, _view(as_json=as_json) as tell:
        stopping = asyncio.create_task(stop.wait())
        while not stopping.done():
            picture = board.picture()
            if picture != last:
                tell(picture, board.hosts)
            last = picture
            waiting = asyncio.create_task(board.wait())
            await asyncio.wait({stopping, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@contextlib.contextmanager
def _view(*, as_json: bool) -> Iterator[Callable[[Picture, list[Host]], None]]:
    """One document a line; or in place on a terminal; or one page after the other."""
    if as_json:
        yield lambda picture, _hosts: print_json_line(picture)
    elif console().is_terminal:
        with LiveDisplay(console=console(), refresh_per_second=2) as live:
            hint = "Ctrl-C leaves; nothing is stopped"
            yield lambda picture, hosts: live.update(Page(picture, hosts, hint=hint), refresh=True)
    else:
        yield lambda picture, hosts: show(Page(picture, hosts))
