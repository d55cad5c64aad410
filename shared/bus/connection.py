"""One connection to the bus, handed to whoever needs it; services never open their own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import ConnectionClosedError, NoRespondersError
from nats.js.errors import NotFoundError

from shared.bus.away import AWAY
from shared.bus.consume import Routes, consume
from shared.bus.credentials import Credentials
from shared.bus.records import Records
from shared.bus.serve import Answer, Endpoint, Refuse
from shared.bus.stored import stored
from shared.errors import (
    BusError,
    BusUnavailableError,
    DeadlineError,
    MessageError,
    NoResponderError,
    Problem,
    RemoteError,
)
from shared.messages import Message, OptimizeRequest, Reply, decode, encode
from shared.metrics import Metrics
from shared.telemetry.context import inject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from shared.subjects import Subjects

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Message)
T = TypeVar("T", bound=msgspec.Struct)


def _refuse(problem: Problem) -> Message:
    return Reply(problem=problem)


OPEN = Credentials()
"""For a server that asks nobody who they are."""

PUBLISH_ATTEMPTS = 6
"""With their growing pauses some 20 s: longer than a restart of the server."""


class Link:
    """Whether the connection is there, and who wants to know when it is back."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.returned: set[Callable[[], None]] = set()


class Bus:
    """What a service does with NATS. See the package's docstring for the table of calls."""

    def __init__(self, nc: Client, subjects: Subjects, link: Link) -> None:
        self.nc = nc
        self._link = link
        self.js: JetStreamContext = nc.jetstream(timeout=5.0)
        self.subjects = subjects
        self._endpoints: list[Endpoint] = []
        self._consumers: list[asyncio.Task[None]] = []
        self.metrics = Metrics()
        """What consuming counts; a process puts its own here."""
        self.queues: list[tuple[str, str]] = []
        """(stream, consumer) of all that is consumed here."""

    # Telling ------------------------------------------------------------------------------

    async def publish(self, subject: str, message: Message, *, message_id: str) -> None:
        """Keep a message in its stream. Tries again while the server is away.

        The stream drops a second copy with the same `message_id` within two minutes; after
        that, handlers being idempotent is what protects us. Raises BusUnavailableError.
        """
        await self.publish_bytes(subject, encode(message), message_id=message_id)

    async def publish_bytes(self, subject: str, data: bytes, *, message_id: str = "") -> None:
        """The same for bytes that are no Message (spans)."""
        headers = inject()
        if message_id:
            headers["Nats-Msg-Id"] = message_id
        error: Exception | None = None
        for attempt in range(PUBLISH_ATTEMPTS):
            try:
                await self.js.publish(subject, data, headers=headers or None)
            except AWAY as caught:
                error = caught
                await asyncio.sleep(min(0.2 * 2**attempt, 5.0))
            else:
                return
        raise BusUnavailableError(
            f"could not publish on {subject}",
            expected="an acknowledgement from its stream",
            got=repr(error),
            advice="Check that the NATS server runs and that `cox up` has provisioned it.",
        ) from error

    async def tell(self, subject: str, message: Message) -> None:
        """Send without an answer and without keeping it."""
        with contextlib.suppress(*AWAY):
            await self.nc.publish(subject, encode(message), headers=inject() or None)

    # Asking and answering -----------------------------------------------------------------

    async def ask(
        self, subject: str, message: Message | OptimizeRequest, kind: type[M], *, timeout_s: float
    ) -> M:
        """A question and its answer.

        Raises RemoteError with the other side's problem, NoResponderError, DeadlineError,
        BusUnavailableError.
        """
        try:
            reply = await self._request(subject, encode(message), timeout_s)
        except NoRespondersError as error:
            raise NoResponderError(
                f"nobody answers on {subject}",
                expected="a service that serves it",
                advice="Start the service (`cox status` shows who is alive).",
            ) from error
        except TimeoutError as error:
            raise DeadlineError(
                f"no answer on {subject}", expected=f"one within {timeout_s:.0f} s"
            ) from error
        except AWAY as error:
            raise BusUnavailableError(
                "the bus is not connected", got=repr(error), advice="Check the NATS server."
            ) from error
        try:
            return decode(reply.data, kind)
        except MessageError:
            refusal = decode(reply.data, Reply)
            if refusal.problem is None:
                raise
            raise RemoteError(refusal.problem) from None

    async def _request(self, subject: str, data: bytes, timeout_s: float) -> Msg:
        """A request that ends when the connection does: its answer would never arrive."""
        asking = asyncio.ensure_future(
            self.nc.request(subject, data, timeout=timeout_s, headers=inject() or None)
        )
        losing = asyncio.ensure_future(self._link.lost.wait())
        try:
            await asyncio.wait({asking, losing}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return await asking
            raise ConnectionClosedError
        finally:
            for task in (asking, losing):
                task.cancel()
            await asyncio.gather(asking, losing, return_exceptions=True)

    async def serve(
        self,
        subject: str,
        kind: type[Message | OptimizeRequest],
        answer: Answer,
        *,
        queue: str,
        concurrency: int = 64,
        refuse: Refuse = _refuse,
    ) -> None:
        """Answer questions on a subject until the bus is closed.

        Whoever asks after this returned is heard. An error becomes the reply that `refuse` makes
        of its problem.
        """
        endpoint = Endpoint(self, kind, answer, concurrency, refuse)
        await endpoint.start(subject, queue)
        self._endpoints.append(endpoint)
        with contextlib.suppress(*AWAY):  # a lost connection subscribes anew when it is back
            await self._settle()

    # Working ------------------------------------------------------------------------------

    def consume(
        self,
        name: Literal["COMMANDS", "EVENTS"],
        consumer: str,
        routes: Routes,
        *,
        host: str | None = None,
        concurrency: int = 1,
    ) -> asyncio.Task[None]:
        """Handle a durable consumer's messages until the bus is closed; a host's, if given."""
        stream = self.subjects.stream(name, host)
        task = asyncio.create_task(consume(self, stream, consumer, routes, concurrency=concurrency))
        self._consumers.append(task)
        self.queues.append((stream, consumer))
        return task

    def on_return(self, told: Callable[[], None], *, no_more: bool = False) -> None:
        """Call `told` whenever a lost connection is back, or no more."""
        if no_more:
            self._link.returned.discard(told)
        else:
            self._link.returned.add(told)

    async def history(
        self, stream: Literal["EVENTS", "SPANS", "DEAD"], subject_filter: str
    ) -> AsyncIterator[tuple[str, bytes]]:
        """What a stream keeps now for a filter, oldest first: (subject, data)."""
        name = self.subjects.stream(stream)
        async for message in stored(self.js, name, subject_filter):
            yield message.subject, message.data

    # Keeping ------------------------------------------------------------------------------

    async def records(
        self, bucket: Literal["hosts", "optimizations", "policies", "fleet"], kind: type[T]
    ) -> Records[T]:
        """A key-value bucket of one type of struct."""
        try:
            name = self.subjects.bucket(bucket)
            return Records(self.js, name, await self.js.key_value(name), kind)
        except NotFoundError as error:
            raise BusError(
                f"bucket {self.subjects.bucket(bucket)} does not exist",
                advice="Provision the bus first: `cox up` does it.",
            ) from error
        except AWAY as error:
            raise BusUnavailableError(
                "a bucket could not be reached",
                expected="an answer of the NATS server",
                got=repr(error),
                advice="Check the NATS server.",
            ) from error

    async def put_artifact(self, data: bytes) -> str:
        """Keep bytes under their sha256, which is returned; the same bytes are kept once."""
        digest = hashlib.sha256(data).hexdigest()
        store = await self.js.object_store(self.subjects.bucket("artifacts"))
        try:
            await store.get_info(digest)
        except NotFoundError:
            await store.put(digest, data)
        return digest

    async def get_artifact(self, sha256: str) -> bytes:
        """The bytes with this hash. Raises BusError when they are missing or altered."""
        store = await self.js.object_store(self.subjects.bucket("artifacts"))
        try:
            data = (await store.get(sha256)).data or b""
        except NotFoundError as error:
            raise BusError(f"artifact {sha256[:12]} is not in the store") from error
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise BusError("artifact was altered", expected=sha256, got=actual)
        return data

    async def failed(self) -> None:
        """Return never, but raise what ended a consumer that should have gone on for ever."""
        if not self._consumers:
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(self._consumers, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    # Ending -------------------------------------------------------------------------------

    async def rest(self) -> None:
        """Take no more work, and let what runs finish."""
        for task in self._consumers:
            task.cancel()
        await asyncio.gather(*self._consumers, return_exceptions=True)
        await asyncio.gather(*(endpoint.stop() for endpoint in self._endpoints))
        self._consumers.clear()
        self._endpoints.clear()

    async def _settle(self) -> None:
        """Return once the server has taken in all that was said until now.

        Twice, because nats-py's first PING overtakes what it has not written yet.
        """
        for _ in range(2):
            await self.nc.flush(timeout=2)

    async def close(self) -> None:
        """Rest, then disconnect."""
        await self.rest()
        if not self.nc.is_closed:
            with contextlib.suppress(*AWAY):
                async with asyncio.timeout(3):
                    await self._settle()
            with contextlib.suppress(*AWAY):
                await self.nc.close()


async def connect(
    url: str,
    subjects: Subjects,
    name: str,
    *,
    credentials: Credentials = OPEN,
    patience_s: float = 60.0,
) -> Bus:
    """Connect, waiting up to `patience_s` for a server that is not there yet.

    `url` may name several servers of a cluster, with commas between them.

    Once connected, reconnecting never gives up. Raises BusUnavailableError, and InputError for
    credentials that cannot be used.
    """
    options = credentials.options()
    refusals: list[str] = []
    connected = asyncio.Event()
    link = Link()

    async def on_error(error: Exception) -> None:
        if not connected.is_set() and "authorization" in str(error).lower():
            refusals.append(str(error))
        # While the server is away every refused attempt would be a line.
        if connected.is_set() and not link.lost.is_set():
            log.warning("bus.error", error=repr(error))

    async def on_disconnect() -> None:
        link.lost.set()
        if not nc.is_closed:
            log.warning("bus.disconnected", url=url)

    async def on_reconnect() -> None:
        link.lost.clear()
        log.info("bus.reconnected", url=url)
        for told in list(link.returned):
            told()

    nc = Client()
    try:
        async with asyncio.timeout(patience_s):
            await nc.connect(
                url.split(","),
                name=name,
                error_cb=on_error,
                disconnected_cb=on_disconnect,
                reconnected_cb=on_reconnect,
                connect_timeout=5,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,  # type: ignore[arg-type]
                # A server that hangs is noticed within 15 s: a host must not wait longer for it.
                ping_interval=5,
                max_outstanding_pings=2,
                **options,
            )
    except AWAY as error:
        with contextlib.suppress(Exception):
            await nc.close()
        if refusals:
            raise BusUnavailableError(
                f"the NATS server at {url} does not let us in",
                expected="a key that it knows",
                got=f"{refusals[-1]} for {credentials.key or 'no key'}",
                advice="Set COX_NATS_KEY to this member's seed; `cox keys` lists the members.",
            ) from error
        raise BusUnavailableError(
            f"no NATS server answers at {url}",
            expected=f"a connection within {patience_s:.0f} s",
            got=repr(error),
            advice="Start it with `cox up`, or set COX_NATS_URL.",
        ) from error
    connected.set()
    link.lost.clear()
    return Bus(nc, subjects, link)
