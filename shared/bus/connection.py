"""One connection to the bus, handed to whoever needs it; services never open their own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import ConnectionClosedError, NoRespondersError
from nats.js.errors import BucketNotFoundError, NoStreamResponseError, NotFoundError

from shared.bus.away import AWAY
from shared.bus.consume import Routes, consume
from shared.bus.credentials import Credentials
from shared.bus.footing import HOST_LOOK_S, Footing, gone, is_missing
from shared.bus.records import Records
from shared.bus.serve import Answer, AnswerAsked, Endpoint, Inquiry, Refuse
from shared.bus.stored import Kept, genuine, stored
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
from shared.tasks import end
from shared.telemetry.context import inject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from datetime import datetime

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext
    from nats.js.object_store import ObjectStore

    from shared.subjects import Subjects

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Message)
T = TypeVar("T", bound=msgspec.Struct)


def _refuse(problem: Problem) -> Message:
    return Reply(problem=problem)


OPEN = Credentials()
"""For a server that asks nobody who they are."""

STORE_S = 20.0
"""How long an artifact may take to be read."""

KNOCK_S = 1.0
"""Who has not answered by then is asked if he is there at all."""

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
        self._secret = secrets.token_hex(8)
        self._endpoints: list[Endpoint] = []
        self._consumers: list[asyncio.Task[None]] = []
        self._lasting: list[asyncio.Task[None]] = []
        self._standing: asyncio.Task[None] | None = None
        self.metrics = Metrics()
        """What consuming counts; a process puts its own here."""
        self.queues: list[tuple[str, str]] = []
        """(stream, consumer) of all that is consumed here."""
        self.footing = Footing(self)
        """What is needed here; watched once there is work, until this rests."""

    @property
    def clustered(self) -> bool:
        """Whether the server is one of several, any of which may lead what we need."""
        return bool(self.nc._server_info.get("cluster"))  # noqa: SLF001 - nats-py tells it nowhere else

    # Telling ------------------------------------------------------------------------------

    async def publish(self, subject: str, message: Message, *, message_id: str) -> None:
        """Keep a message in its stream. Tries again while the server is away.

        The stream drops a second copy with the same `message_id` from this connection within two
        minutes; otherwise handlers being idempotent is what protects us. Others cannot guess the
        id, or they could have it dropped by being quicker. Raises BusUnavailableError, which is
        GoneError where no stream keeps it.
        """
        await self.publish_bytes(
            subject, encode(message), message_id=f"{message_id}~{self._secret}"
        )

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
                if isinstance(caught, NoStreamResponseError):
                    self.footing.suspect()
                await asyncio.sleep(min(0.2 * 2**attempt, 5.0))
            else:
                return
        if isinstance(error, NoStreamResponseError):
            raise gone(f"the stream that keeps {subject}", got=str(error)) from error
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
        self,
        subject: str,
        message: Message | OptimizeRequest,
        kind: type[M],
        *,
        timeout_s: float,
        beside: str = "",
    ) -> M:
        """A question and its answer.

        Where a stream keeps the question too, the server does not tell that nobody else hears it:
        `beside` is another subject of who should answer, which tells.

        Raises RemoteError with the other side's problem, NoResponderError, DeadlineError,
        BusUnavailableError.
        """
        try:
            reply = await self._request(subject, encode(message), timeout_s, beside)
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

    async def _request(self, subject: str, data: bytes, timeout_s: float, beside: str) -> Msg:
        """A request that ends when the connection does: its answer would never arrive."""
        asking = asyncio.ensure_future(
            self.nc.request(subject, data, timeout=timeout_s, headers=inject() or None)
        )
        losing = asyncio.ensure_future(self._link.lost.wait())
        try:
            patience_s = KNOCK_S if beside else None
            tasks = {asking, losing}
            await asyncio.wait(tasks, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if beside and not (asking.done() or losing.done()):
                # Nothing is asked by no bytes; an answer, whatever it says, is a sign of life.
                with contextlib.suppress(TimeoutError):
                    await self.nc.request(beside, b"", timeout=timeout_s)
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
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

        async def plain(message: Message | OptimizeRequest, _inquiry: Inquiry) -> Message:
            return await answer(message)

        await self.serve_asked(
            subject, kind, plain, queue=queue, concurrency=concurrency, refuse=refuse
        )

    async def serve_asked(
        self,
        subject: str,
        kind: type[Message | OptimizeRequest],
        answer: AnswerAsked,
        *,
        queue: str,
        concurrency: int = 64,
        refuse: Refuse = _refuse,
    ) -> None:
        """The same for who must know how the question came; the subject may be a filter."""
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
        if host is not None:
            self.footing.look_s = HOST_LOOK_S
        self.depend(stream, consumer)
        task = asyncio.create_task(consume(self, stream, consumer, routes, concurrency=concurrency))
        self._consumers.append(task)
        self.queues.append((stream, consumer))
        return task

    def depend(self, stream: str, consumer: str = "") -> None:
        """Notice when this is gone, until the bus is closed; see `footing`."""
        self.footing.need(stream, consumer)
        if self._standing is None:
            self._standing = asyncio.create_task(self.footing.keep())
            self._consumers.append(self._standing)

    async def away(self) -> None:
        """Return once the connection is lost; at once while it is."""
        await self._link.lost.wait()

    def on_return(self, told: Callable[[], None], *, no_more: bool = False) -> None:
        """Call `told` whenever a lost connection is back, or no more."""
        if no_more:
            self._link.returned.discard(told)
        else:
            self._link.returned.add(told)

    async def history(
        self,
        stream: Literal["EVENTS", "SPANS", "DEAD"],
        subject_filter: str,
        since: datetime | None = None,
    ) -> AsyncIterator[tuple[str, bytes]]:
        """What a stream keeps now for a filter, oldest first: (subject, data). Raises BusError.

        `since`: nothing that the stream took before that moment.

        What another stream has sent there is left out: it is nobody's word.
        """
        async for message in self.messages(stream, subject_filter, since):
            yield message.subject, message.data

    async def messages(
        self,
        stream: Literal["EVENTS", "SPANS", "DEAD"],
        subject_filter: str,
        since: datetime | None = None,
    ) -> AsyncIterator[Msg]:
        """The same as messages, which know when the stream took them. Raises BusError."""
        name = self.subjects.stream(stream)
        try:
            async for message in stored(self.js, name, subject_filter, since=since):
                if genuine(message.headers):
                    yield message
        except NotFoundError as error:
            if not is_missing(error):
                raise
            self.footing.suspect()
            raise gone(f"stream {name}", got=str(error)) from error

    async def requests_from(self, sequence: int, born: str = "") -> AsyncIterator[Kept]:
        """What clients have asked for, from a sequence on, oldest first. Raises BusError.

        `born`: when the stream was made that the sequence is of; another one is read from its
        beginning.
        """
        name = self.subjects.stream("REQUESTS")
        try:
            info = await self.js.stream_info(name)
        except NotFoundError as error:
            raise gone(f"stream {name}", got=str(error)) from error
        except AWAY as error:
            raise BusUnavailableError(
                f"stream {name} could not be reached",
                expected="an answer of the NATS server",
                got=repr(error),
                advice="Check the NATS server, and that `cox up` has provisioned it.",
            ) from error
        made, last = str(info.created), info.state.last_seq
        if born not in {"", made}:
            sequence = 1
        if last < sequence:
            return
        subjects = self.subjects.stream_subjects("REQUESTS")
        async for message in stored(self.js, name, subjects, start=sequence):
            yield Kept(
                message.subject,
                message.data,
                message.metadata.sequence.stream,
                int(message.metadata.timestamp.timestamp() * 1e9),
                genuine(message.headers),
                made,
            )

    # Keeping ------------------------------------------------------------------------------

    async def records(
        self, bucket: Literal["hosts", "optimizations", "policies", "fleet"], kind: type[T]
    ) -> Records[T]:
        """A key-value bucket of one type of struct."""
        name = self.subjects.bucket(bucket)
        try:
            found = await self.js.key_value(name)
        except NotFoundError as error:
            raise gone(f"bucket {name}") from error
        except AWAY as error:
            raise BusUnavailableError(
                "a bucket could not be reached",
                expected="an answer of the NATS server",
                got=repr(error),
                advice="Check the NATS server.",
            ) from error
        self.footing.need(f"KV_{name}")
        return Records(self.js, name, found, kind, self.footing.suspect)

    async def put_artifact(self, data: bytes) -> str:
        """Keep bytes under their sha256, which is returned; the same bytes are kept once."""
        digest = hashlib.sha256(data).hexdigest()
        store = await self._store()
        try:
            await store.get_info(digest)
        except NotFoundError:
            await store.put(digest, data)
        return digest

    async def get_artifact(self, sha256: str) -> bytes:
        """The bytes with this hash. Raises BusError when they are missing or altered."""
        data = await self._object(sha256)
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise BusError("artifact was altered", expected=sha256, got=actual)
        return data

    async def has_artifact(self, sha256: str) -> bool:
        """Whether the store still has it, by its name. Raises BusUnavailableError."""
        try:
            store = await self._store()
            await store.get_info(sha256)
        except NotFoundError:
            return False
        except AWAY as error:
            raise _store_away(error) from error
        return True

    async def put_provenance(self, sha256: str, source_sha256: str, record: bytes) -> None:
        """Keep where an artifact has come from; two sources may come to the same bytes."""
        store = await self._store()
        await store.put(f"{sha256}.from.{source_sha256}", record)

    async def get_provenance(self, sha256: str, source_sha256: str) -> bytes:
        """The record, which says nothing that its own signature does not. Raises BusError."""
        return await self._object(f"{sha256}.from.{source_sha256}")

    async def _object(self, name: str) -> bytes:
        try:
            # Whoever can make the store lie must not be able to make us wait for ever.
            async with asyncio.timeout(STORE_S):
                store = await self._store()
                return (await store.get(name)).data or b""
        except NotFoundError as error:
            raise BusError(f"artifact {name[:12]} is not in the store") from error
        except AWAY as error:
            raise _store_away(error) from error

    def forever(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin what goes on beside; `failed` tells if it ends by itself. Its caller ends it."""
        task = asyncio.create_task(job)
        self._lasting.append(task)
        return task

    async def _store(self) -> ObjectStore:
        """Where artifacts are. Raises GoneError when it is not there: no artifact is missing."""
        name = self.subjects.bucket("artifacts")
        try:
            return await self.js.object_store(name)
        except BucketNotFoundError as error:
            self.footing.suspect()
            raise gone(f"store {name}") from error

    async def failed(self) -> None:
        """Return never, but raise what ended a task that should have gone on for ever."""
        lasting = [*self._consumers, *self._lasting]
        if not lasting:
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(lasting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    # Ending -------------------------------------------------------------------------------

    async def rest(self) -> None:
        """Take no more work, and let what runs finish."""
        await end(self._consumers)
        await asyncio.gather(*(endpoint.stop() for endpoint in self._endpoints))
        self._consumers.clear()
        self._endpoints.clear()
        self._standing = None

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


def _store_away(error: Exception) -> BusUnavailableError:
    return BusUnavailableError(
        "the store of artifacts could not be reached",
        expected="an answer of the NATS server",
        got=repr(error),
        advice="Check the NATS server.",
    )


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
