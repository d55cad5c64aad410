"""What was promoted is looked at while a host keeps it; what drifts is optimized once more.

Its canary, by the host's own word the one that keeps it, is asked for its counters every ten
minutes. Whether they have drifted is the learner's to say. What follows is bounded: the request
that led there must want it (`drift: optimize`), the planner's setting allow it (COX_DRIFT), and of
one fingerprint nothing is opened within a day of the last time. The gate has its own word: it
knows the request, as the client has sent it, for thirty days.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final, Literal

import structlog

from shared.errors import ConflictError, CoxswainError
from shared.fingerprint import key
from shared.messages import LIVE, ProbeCommand, encode

if TYPE_CHECKING:
    from services.planner.accepting import Accepting
    from services.planner.hosts import Hosts
    from services.planner.lives import Lives
    from shared.bus import Bus, Delivery
    from shared.messages import Drifted
    from shared.optimization import Optimization

Most = Literal["off", "tell", "optimize"]

LOOK_S: Final = 600
"""Between two looks at a host."""
EXPIRES_NS: Final = 120 * 10**9
COOL_DOWN_NS: Final = 24 * 3600 * 10**9

log = structlog.get_logger(__name__)


class Drifting:
    """Looks, and opens."""

    def __init__(
        self, bus: Bus, lives: Lives, hosts: Hosts, accepting: Accepting, most: Most
    ) -> None:
        self._bus = bus
        self._lives = lives
        self._hosts = hosts
        self._accepting = accepting
        self._most = most
        self._slot = 0
        self._canaries: dict[str, str] = {}
        """Of promoted optimizations that want to be looked at, empty for the others."""

    async def look(self) -> None:
        """Have those looked at that are due. Raises BusError."""
        now_ns = time.time_ns()
        slot = now_ns // (LOOK_S * 10**9)
        if self._most == "off" or slot == self._slot:
            return
        self._slot = slot
        keeping = self._hosts.keeping()
        kept = set(keeping.values())
        self._canaries = {each: host for each, host in self._canaries.items() if each in kept}
        for identity in sorted(kept):
            host = await self._canary(identity)
            if host and keeping.get(host) == identity:
                await self._bus.publish_bytes(
                    self._bus.subjects.command("observer", "probe", host),
                    encode(
                        ProbeCommand(
                            optimization=identity,
                            mark=f"{LIVE}{slot}",
                            expires_unix_ns=now_ns + EXPIRES_NS,
                        )
                    ),
                    message_id=f"{identity}-{LIVE}{slot}-{host}",
                )

    async def _canary(self, identity: str) -> str:
        if identity not in self._canaries:
            state = await self._lives.read(identity)
            if state is None or not state.over:
                return ""
            wanted = state.terminal == "promoted" and state.request.drift != "off"
            self._canaries[identity] = state.canary if wanted else ""
        return self._canaries[identity]

    async def on_drifted(self, news: Drifted, _delivery: Delivery) -> None:
        """Open an optimization, or say why not. Raises BusError; then the news comes again."""
        state = await self._lives.read(news.optimization)
        why = self._why_not(state, news) or await self._why_not_now(state)
        if state is None or why:
            log.info("drift.told", optimization=news.optimization, host=news.on, why=why)
            return
        because = f"drift in {state.id}: {'; '.join(news.reasons)}"
        try:
            opened = await self._accepting.renew(state, identity_of(news), because)
        except ConflictError:
            return  # by this very news, before
        except CoxswainError as error:
            log.warning("drift.not_opened", optimization=state.id, problem=str(error))
            return
        log.warning("drift.opened", optimization=opened, because=because)

    def _why_not(self, state: Optimization | None, news: Drifted) -> str:
        if self._most != "optimize":
            return f"COX_DRIFT is {self._most}"
        if state is None or state.terminal != "promoted" or not state.over:
            return "it is not known to be promoted"
        if state.request.drift != "optimize":
            return "its request does not want more than to hear of it"
        if news.on != state.canary or self._hosts.keeping().get(news.on) != state.id:
            return f"{news.on} does not keep it"
        return ""

    async def _why_not_now(self, state: Optimization | None) -> str:
        """What is at it already, or was within the cool-down."""
        if state is None:
            return "no record tells of it"
        known = {each.id: each for each in await self._lives.read_all()}
        now_ns = time.time_ns()
        for each in known.values():
            if each.canary == state.canary and not each.over:
                return f"{each.id} is at work on {each.canary}"
            before = known.get(each.after)
            if (
                before is not None
                and _fingerprint(before) == _fingerprint(state)
                and now_ns - each.created_unix_ns < COOL_DOWN_NS
            ):
                return f"{each.id} was opened for this fingerprint within a day"
        return ""


def identity_of(news: Drifted) -> str:
    """The id of what a drift opens: the same for whoever hears of it, and however often."""
    stamp = time.strftime("%m%d-%H%M%S", time.gmtime(news.unix_ns / 1e9))
    what = f"{news.optimization}/{news.on}/{news.figure}/{news.at_ns}"
    return f"o{stamp}-{hashlib.sha256(what.encode()).hexdigest()[:6]}"


def _fingerprint(state: Optimization) -> str:
    return key(state.fingerprint) if state.fingerprint is not None else state.id
