"""A key-value bucket whose writes are compare-and-set on the revision.

A value is JSON. One of more than PLAIN_BYTES is that JSON compressed (zlib, RFC 1950): an
optimization of a thousand hosts says nearly the same of each, and no server takes a megabyte.
"""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

import msgspec
from nats.js.errors import (
    BadRequestError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
    NotFoundError,
)

from shared.bus.away import AWAY
from shared.bus.footing import gone, is_missing
from shared.bus.stored import genuine, stored
from shared.errors import BusUnavailableError, ConflictError, GoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

T = TypeVar("T", bound=msgspec.Struct)
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Records[Any]")


PLAIN_BYTES = 64 * 1024


def _on_the_bus(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, R]], /
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """What the client library raises when the server is away becomes our error."""

    @functools.wraps(method)
    async def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, *args, **kwargs)
        except NoStreamResponseError as error:
            raise self.gone(error) from error
        except AWAY as error:
            if is_missing(error):
                raise self.gone(error) from error
            raise BusUnavailableError(
                "a record could not be reached",
                expected="an answer of the NATS server",
                got=repr(error),
                advice="Check the NATS server; it is tried again.",
            ) from error

    return guarded


def _never(_key: str, _revision: int) -> bool:
    return False


class Record(msgspec.Struct, Generic[T], frozen=True):
    """A value and the revision at which it was read."""

    key: str
    value: T
    revision: int


class Records(Generic[T]):
    """Structs of one type under keys of one bucket."""

    def __init__(
        self,
        js: JetStreamContext,
        name: str,
        bucket: KeyValue,
        kind: type[T],
        missed: Callable[[], None],
    ) -> None:
        """`missed` is called when the bucket turns out to be gone."""
        self._js = js
        self._name = name
        self._bucket = bucket
        self._kind = kind
        self._missed = missed

    def gone(self, error: Exception) -> GoneError:
        """The error of a bucket that is not there any more; who watches over it looks for it."""
        self._missed()
        return gone(f"bucket {self._name}", got=str(error))

    @_on_the_bus
    async def get(self, key: str) -> Record[T] | None:
        """The value now, or None."""
        try:
            entry = await self._bucket.get(key)
        except KeyNotFoundError as error:
            # The client library says so, too, where there is no bucket: its cause tells.
            cause = error.__context__
            if isinstance(cause, NotFoundError) and is_missing(cause):
                raise cause from None
            return None
        return self._record(key, entry.value or b"", entry.revision or 0)

    @_on_the_bus
    async def get_genuine(self, key: str) -> Record[T] | None:
        """The same, but None for a value that a stream was made to send there (bus/stored.py)."""
        subject = f"$KV.{self._name}.{key}"
        try:
            kept = await self._js.get_last_msg(f"KV_{self._name}", subject)
        except NotFoundError as error:
            if is_missing(error):
                raise
            return None
        headers = kept.headers or {}
        if "KV-Operation" in headers or not genuine(headers):
            return None
        return self._record(key, kept.data or b"", kept.seq or 0)

    @_on_the_bus
    async def put(self, key: str, value: T) -> None:
        """Write whatever was there before: for records with one writer."""
        await self._bucket.put(key, _pack(value))

    @_on_the_bus
    async def create(self, key: str, value: T) -> Record[T]:
        """Write a key that must not exist yet. Raises ConflictError."""
        try:
            revision = await self._bucket.create(key, _pack(value))
        except (KeyWrongLastSequenceError, BadRequestError) as error:
            raise ConflictError(f"record {key} exists already") from error
        return Record(key, value, revision)

    @_on_the_bus
    async def replace(self, record: Record[T], value: T) -> Record[T]:
        """Write if nobody wrote since `record` was read. Raises ConflictError."""
        try:
            revision = await self._bucket.update(record.key, _pack(value), last=record.revision)
        except (KeyWrongLastSequenceError, BadRequestError) as error:
            raise ConflictError(
                f"record {record.key} was changed by another instance",
                expected=f"revision {record.revision}",
            ) from error
        return Record(record.key, value, revision)

    @_on_the_bus
    async def all(self, pattern: str = ">") -> list[Record[T]]:
        """Every record whose key matches, sorted by key."""
        prefix = f"$KV.{self._name}."
        found = []
        keys = prefix + pattern
        async for message in stored(self._js, f"KV_{self._name}", keys, last_only=True):
            if not (message.headers or {}).get("KV-Operation"):  # else it was deleted
                key = message.subject.removeprefix(prefix)
                found.append(self._record(key, message.data, message.metadata.sequence.stream))
        return sorted(found, key=lambda record: record.key)

    async def watch(
        self, pattern: str = ">", *, unless: Callable[[str, int], bool] = _never
    ) -> AsyncIterator[Record[T]]:
        """Every record now, then every change, for ever.

        `unless` says, from its key and revision, that a record need not be read: it is known.
        """
        watcher = await self._bucket.watch(pattern, ignore_deletes=True)
        try:
            async for entry in watcher:
                if entry is None or not entry.value:
                    continue
                revision = entry.revision or 0
                if not unless(entry.key, revision):
                    yield self._record(entry.key, entry.value, revision)
        finally:
            await watcher.stop()  # type: ignore[no-untyped-call]

    async def mirror(self, pattern: str, into: dict[str, T]) -> None:
        """Keep every value that there is by its key, for ever; who is removed goes."""
        watcher = await self._bucket.watch(pattern)
        seen: set[str] = set()
        first = True
        try:
            async for entry in watcher:
                if entry is None:  # all that there was has been seen
                    for key in into.keys() - seen if first else ():
                        del into[key]
                    first = False
                elif entry.operation is None:
                    seen.add(entry.key)
                    into[entry.key] = _unpack(entry.value or b"", self._kind)
                else:
                    into.pop(entry.key, None)
        finally:
            await watcher.stop()  # type: ignore[no-untyped-call]

    def _record(self, key: str, data: bytes, revision: int) -> Record[T]:
        return Record(key, _unpack(data, self._kind), revision)


def _pack(value: msgspec.Struct) -> bytes:
    data = msgspec.json.encode(value)
    return data if len(data) <= PLAIN_BYTES else zlib.compress(data, level=1)


def _unpack(data: bytes, kind: type[T]) -> T:
    # A JSON object begins with a brace, a zlib stream never does.
    return msgspec.json.decode(data if data[:1] == b"{" else zlib.decompress(data), type=kind)
