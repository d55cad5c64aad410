"""Who knows of policies: the learner on the bus; without one, the catalogue that ships.

Both give the same answers of the same form. The catalogue's have no builds and no outcomes, and
say why.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from cli.session import connected, settings
from services.learner.repository import Repository
from shared.errors import BusUnavailableError, DeadlineError, NoResponderError
from shared.fleet import ORDERS, Orders
from shared.policies import Catalogue

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from shared.bus import Bus
    from shared.messages import Message

M = TypeVar("M", bound="Message")

KNOCK_S = 1.0
"""Who wants a list must not wait for a server that is not there, which is no error here."""
ASK_S = 10.0


class Answer(NamedTuple, Generic[M]):
    """What is known, and why that is without outcomes: empty if it is with them."""

    known: M
    without: str


async def ask(
    question: Literal["calibration", "policies", "policy", "history", "search"],
    request: Message,
    kind: type[M],
    shipped: Callable[[Repository], M],
) -> Answer[M]:
    """The learner's answer, or the one that `shipped` makes of the catalogue alone.

    Raises RemoteError and InputError for what neither knows.
    """
    url = settings().nats_url
    if not await _listens(url):
        return Answer(shipped(Repository(Catalogue.load())), f"no NATS server answers at {url}")
    try:
        async with connected() as bus:
            return Answer(await ask_on(bus, question, request, kind), "")
    except (BusUnavailableError, NoResponderError, DeadlineError) as error:
        return Answer(shipped(Repository(Catalogue.load())), error.problem.what)


async def standing_orders() -> Orders:
    """What operators have said; without a bus nothing, which whoever asks for more says too."""
    if not await _listens(settings().nats_url):
        return Orders()
    try:
        async with connected() as bus:
            found = await (await bus.records("fleet", Orders)).get(ORDERS)
    except BusUnavailableError:
        return Orders()
    return Orders() if found is None else found.value


async def _listens(url: str) -> bool:
    """Whether anybody takes connections at one of these addresses."""
    for server in url.split(","):
        address = urlsplit(server if "//" in server else f"nats://{server}")
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(KNOCK_S):
                _, writer = await asyncio.open_connection(address.hostname, address.port or 4222)
            writer.close()
            return True
    return False


async def ask_on(bus: Bus, question: str, request: Message, kind: type[M]) -> M:
    """The learner's answer. Raises BusError."""
    subject = bus.subjects.endpoint("learner", question)
    return await bus.ask(subject, request, kind, timeout_s=ASK_S)
