"""Servers on loopback between the real SDK and a model.

One listens in: it hands each request on to the real server, with the key, and keeps what was said
without it. One plays back: the first request gets the first recorded answer, and so on, and what
was asked is compared with what was asked then.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from bench.talking.conversation import (
    MOST_SAID,
    STREAM,
    Conversation,
    Exchange,
    Json,
    answer_of,
    differences,
    digest,
    unmarked,
)
from shared.errors import InputError

ANTHROPIC: Final = "https://api.anthropic.com"
PATH: Final = "/v1/messages"
HANDED_ON: Final = ("x-api-key", "authorization", "anthropic-version", "anthropic-beta")
HANDED_BACK: Final = ("retry-after", "retry-after-ms")
UPSTREAM_S: Final = 3600.0
"""Who answers for a model may be a person."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """An answer on its way to the SDK."""

    status: int
    kind: str
    body: bytes
    headers: Mapping[str, str] = {}


class Recorder:
    """What was said through it so far. Requests come one after another."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream or ANTHROPIC)
        if self._upstream.scheme not in {"http", "https"} or not self._upstream.hostname:
            raise InputError(
                "ANTHROPIC_BASE_URL is not valid", expected="http(s)://…", got=upstream[:80]
            )
        self.exchanges: list[Exchange] = []

    def answer(self, path: str, body: bytes, headers: Mapping[str, str]) -> Said:
        """Hand it on, and keep both."""
        began = time.monotonic()
        try:
            said = self._ask(path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            said = _failure(502, "api_error", f"the server cannot be reached: {error}")
        self.exchanges.append(
            Exchange(
                request=json.loads(body),
                status=said.status,
                kind=said.kind,
                body=said.body,
                seconds=time.monotonic() - began,
            )
        )
        return said

    def _ask(self, path: str, body: bytes, headers: Mapping[str, str]) -> Said:
        to = self._upstream
        kind = http.client.HTTPSConnection if to.scheme == "https" else http.client.HTTPConnection
        connection = kind(to.hostname or "", to.port, timeout=UPSTREAM_S)
        try:
            handed = {name: headers[name] for name in HANDED_ON if name in headers}
            connection.request(
                "POST",
                to.path.rstrip("/") + path,
                body,
                {"content-type": "application/json", **handed},
            )
            response = connection.getresponse()
            return Said(
                status=response.status,
                kind=response.getheader("content-type") or "application/json",
                body=response.read(),
                headers={
                    name: value for name in HANDED_BACK if (value := response.getheader(name))
                },
            )
        finally:
            connection.close()


class Player:
    """A conversation that is played back, and where it is asked otherwise than then."""

    def __init__(self, conversation: Conversation) -> None:
        self._turns = conversation.turns
        self._then = list(conversation.requests())
        self.asked: list[Json] = []
        self.differences: list[list[str]] = []
        """Of each request; none where it is the one that was recorded."""

    def answer(self, _path: str, body: bytes, _headers: Mapping[str, str]) -> Said:
        """The next recorded answer."""
        request = unmarked(json.loads(body))
        place = len(self.asked)
        self.asked.append(request)
        if place >= len(self._turns):
            self.differences.append(["nothing was asked any more when this was recorded"])
            return _failure(400, "invalid_request_error", "the recorded conversation ends here")
        turn = self._turns[place]
        same = digest(request) == turn.sha256
        self.differences.append([] if same else differences(self._then[place], request))
        return Said(status=turn.status, kind=turn.kind, body=answer_of(turn), headers=_AT_ONCE)

    @property
    def differing(self) -> int:
        """Requests that are not those that were recorded; left out ones, too."""
        left_out = max(0, len(self._turns) - len(self.asked))
        return sum(map(bool, self.differences)) + left_out

    @property
    def said(self) -> list[str]:
        """Where they differ, in lines."""
        lines = [
            f"request {number}: {difference}"
            for number, found in enumerate(self.differences, 1)
            for difference in found[:MOST_SAID]
        ]
        if len(self.asked) < len(self._turns):
            lines.append(
                f"{len(self._turns) - len(self.asked)} recorded answers were not asked for"
            )
        return lines


_AT_ONCE: Final = {"retry-after-ms": "1"}
"""The SDK tries again where it did when this was recorded, but does not wait for it."""


def _failure(status: int, kind: str, text: str) -> Said:
    body = {"type": "error", "error": {"type": kind, "message": text}}
    return Said(
        status=status, kind="application/json", body=json.dumps(body).encode(), headers=_AT_ONCE
    )


@contextmanager
def serving(answer: Callable[[str, bytes, Mapping[str, str]], Said]) -> Iterator[str]:
    """A server that speaks the Messages API while the context is open; its URL."""
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if self.path.split("?")[0] == PATH:
                with turn:
                    said = answer(self.path, body, headers)
            else:
                said = _failure(404, "not_found_error", "only messages are told here")
            try:
                self.send_response(said.status)
                for name, value in {"content-type": said.kind, **said.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)
            except OSError:
                pass  # nobody waits any more

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


__all__ = ["STREAM", "Player", "Recorder", "Said", "serving"]
