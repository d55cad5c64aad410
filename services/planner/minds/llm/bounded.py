"""An HTTP client whose answers end: a server may send a body, or one line of it, without end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anthropic
import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST_BYTES: Final = 4 * 2**20
"""Of an answer: one of 2,048 tokens, an event for each of them, has some 400 KiB."""


class TooLongError(ValueError):
    """A server sends more than an answer can have."""


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for piece in self._stream:
            seen += len(piece)
            if seen > MOST_BYTES:
                raise TooLongError(f"an answer of more than {MOST_BYTES} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    # What is packed has no bound that can be seen from outside.
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TooLongError("an answer that is packed, though it was asked not to be")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream)


def bounded_client() -> httpx2.AsyncClient:
    """What the SDK would have made itself, with a bound."""
    return anthropic.DefaultAsyncHttpxClient(
        event_hooks={"response": [_bound]}, headers={"accept-encoding": "identity"}
    )
