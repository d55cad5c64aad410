"""What a process stands on: the streams, consumers and buckets that it needs, and their loss.

Somebody may delete any of them, or nats-server may come back with an empty store. What is gone is
noticed where it is used (a pull that is refused), when the connection is back, when a planner
misses what hosts have written (a roll call that says so), and by looking from time to time. It is
told once: in the log as an error, in the metrics, in heartbeats, and by a health check that is not
fed any more. Services do not end of it, and may not make it again: whoever runs the bus does
(`shared.bus.upkeep`), and they go on with what is there then.

A stream or consumer is known by the time of its creation. One of the same name that was made later
is another one: what was in the old one is lost, even if nobody saw it go.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import structlog
from nats.js.errors import NotFoundError

from shared.bus.away import AWAY
from shared.errors import GoneError
from shared.metrics import declared

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.bus.connection import Bus

LOOK_S = 2.0
"""How often a service looks."""
HOST_LOOK_S = 900.0
"""How often a host's does: there are ten thousand. A pull or a planner's call tells it earlier."""
LOST_LOOK_S = 5.0
"""How often a host's does while something is gone."""
SETTLE_S = 0.2
"""Many refusals come in one moment: one look is enough for them."""
PATIENCE_S = 15.0
"""What does not answer for so long, while the connection is there, counts as gone: an election
among servers takes less."""

ADVICE = (
    "`cox up` and the bus's own container make it again within seconds; if they do not, start them"
    " again. What was in it is lost."
)

log = structlog.get_logger(__name__)


class Thing(NamedTuple):
    """A stream, or one of its consumers; a bucket is a stream, too."""

    stream: str
    consumer: str = ""

    def __str__(self) -> str:
        for prefix, kind in (("KV_", "bucket"), ("OBJ_", "store")):
            if self.stream.startswith(prefix):
                return f"{kind} {self.stream.removeprefix(prefix)}"
        return f"consumer {self.consumer} of {self.stream}" if self.consumer else self.stream


def is_missing(error: Exception) -> bool:
    """Whether the server says that a stream, a consumer or a bucket is not there.

    A key that is not in its bucket is no such thing.
    """
    return isinstance(error, NotFoundError) and getattr(error, "err_code", None) in {
        _NO_STREAM,
        _NO_CONSUMER,
    }


_NO_CONSUMER, _NO_STREAM = 10014, 10059
"""nats-server's own numbers for these errors (server/errors.json)."""


def gone(what: object, got: str = "nothing of that name") -> GoneError:
    """The error that says so."""
    return GoneError(
        f"{what} is gone", expected="what provisioning has made", got=got, advice=ADVICE
    )


class Footing:
    """Knows what is needed, what of it is gone, and tells who wants to know."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._needed: dict[Thing, str] = {}
        """When each was made, as it was last seen; empty before."""
        self._silent_s: dict[Thing, float] = {}
        """Since when it gives no answer."""
        self.lost: dict[Thing, GoneError] = {}
        self._returns: Counter[Thing] = Counter()
        self.look_s = LOOK_S
        self._wake = asyncio.Event()
        self._change = asyncio.Event()
        self._told: set[Callable[[], None]] = set()
        self._looking = asyncio.Lock()

    def need(self, stream: str, consumer: str = "") -> None:
        """Watch this, too."""
        self._needed.setdefault(Thing(stream, consumer), "")

    def born(self, stream: str) -> str:
        """When the stream was made that was there at the last look; empty while it is gone."""
        thing = Thing(stream)
        return "" if thing in self.lost else self._needed.get(thing, "")

    def returns(self, stream: str, consumer: str = "") -> int:
        """How often it was found to be back, or to be another one: what was asked of it is void."""
        return self._returns[Thing(stream, consumer)]

    def check(self) -> None:
        """Raise GoneError while anything that is needed is gone."""
        for error in self.lost.values():
            raise error

    def is_lost(self, stream: str, consumer: str = "") -> bool:
        """Whether this was gone at the last look."""
        return Thing(stream, consumer) in self.lost

    def suspect(self) -> None:
        """Something was missed: look now."""
        self._wake.set()

    def on_change(self, told: Callable[[], None], *, no_more: bool = False) -> None:
        """Call `told` whenever something is gone, is back, or was made anew; or no more."""
        if no_more:
            self._told.discard(told)
        else:
            self._told.add(told)

    async def changed(self) -> None:
        """Return when that happens next."""
        await self._change.wait()

    async def whole(self) -> None:
        """Return once nothing is gone; at once while that is so."""
        while self.lost:
            await self.changed()

    async def keep(self) -> None:
        """Look for ever."""
        self._bus.on_return(self.suspect)
        while True:
            self._wake.clear()
            if self._bus.nc.is_connected:
                await self.look()
            with contextlib.suppress(TimeoutError):
                pause_s = min(self.look_s, LOST_LOOK_S) if self.lost else self.look_s
                # Not all hosts in one moment.
                async with asyncio.timeout(pause_s * random.uniform(0.8, 1.2)):  # noqa: S311
                    await self._wake.wait()
            if self._wake.is_set():
                await asyncio.sleep(SETTLE_S)

    async def look(self) -> None:
        """Look once at everything."""
        async with self._looking:
            news = False
            for thing in list(self._needed):
                try:
                    born = await self._ask(thing)
                except AWAY as error:
                    news |= self._no(thing, error)
                else:
                    news |= self._yes(thing, born)
        if news:
            self._tell()

    async def _ask(self, thing: Thing) -> str:
        js = self._bus.js
        if thing.consumer:
            return str((await js.consumer_info(thing.stream, thing.consumer)).created)
        return str((await js.stream_info(thing.stream)).created)

    def _yes(self, thing: Thing, born: str) -> bool:
        """It is there; whether that is news."""
        self._silent_s.pop(thing, None)
        was, self._needed[thing] = self._needed[thing], born
        missed = self.lost.pop(thing, None)
        anew = was not in {"", born}
        if anew and missed is None:
            self._count(thing)
        if anew:
            log.error(
                "bus.made_anew",
                what=str(thing),
                expected=f"the one of {was}",
                got=f"one of {born}",
                advice="What was in the old one is lost; work goes on with the new one.",
            )
        elif missed is not None:
            log.warning("bus.there_again", what=str(thing))
        news = anew or missed is not None
        self._returns[thing] += news
        return news

    def _no(self, thing: Thing, error: Exception) -> bool:
        """It is not there, or does not answer; whether that is news."""
        if not self._bus.nc.is_connected:
            self._silent_s.pop(thing, None)
            return False  # nobody can say
        if not is_missing(error):
            since_s = self._silent_s.setdefault(thing, time.monotonic())
            if time.monotonic() - since_s < PATIENCE_S:
                return False
        if thing in self.lost:
            return False
        problem = gone(thing, got=str(error))
        self.lost[thing] = problem
        self._count(thing)
        log.error(
            "bus.gone",
            what=str(thing),
            expected=problem.expected,
            got=problem.got,
            advice=problem.advice,
        )
        return True

    def _count(self, thing: Thing) -> None:
        self._bus.metrics.count(declared.LOSSES, stream=self._kind(thing))

    def _kind(self, thing: Thing) -> str:
        name = thing.stream.removeprefix("KV_").removeprefix("OBJ_")
        return self._bus.subjects.stream_kind(name)

    def _tell(self) -> None:
        self._bus.metrics.forget(declared.GONE)
        for kind, number in Counter(map(self._kind, self.lost)).items():
            self._bus.metrics.set(declared.GONE, number, stream=kind)
        change, self._change = self._change, asyncio.Event()
        change.set()
        for told in list(self._told):
            told()
