"""A server that speaks the Messages API on loopback, and says what a script says.

It is asked by the real SDK. A script is a list of turns, one for each request: a message's content,
or whatever a bad server may send. The last turn is repeated.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

KEY = "sk-ant-of-nobody"


class Turn(NamedTuple):
    """One answer, as bytes."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = {}
    after_s: float = 0.0
    claims: int = 0
    """Bytes that it says are still to come, and that never do."""


class MessagesApi:
    def __init__(self, url: str, script: Sequence[Turn]) -> None:
        self.url = url
        self.script = list(script)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []


Event = dict[str, Any]


def events_of(
    *content: dict[str, Any], stop: str = "tool_use", usage: dict[str, Any] | None = None
) -> list[Event]:
    """A message as the API streams it, tools' input in two pieces."""
    counts = {"input_tokens": 100, "output_tokens": 20} if usage is None else usage
    begun = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-of-paper",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": counts | ({"output_tokens": 1} if "output_tokens" in counts else {}),
    }
    events: list[Event] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(content):
        begins, pieces = _pieces(block)
        events.append({"type": "content_block_start", "index": index, "content_block": begins})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in pieces
        ]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": stop, "stop_sequence": None}
    told = {name: count for name, count in counts.items() if name == "output_tokens"}
    events.append({"type": "message_delta", "delta": ending, "usage": told})
    return [*events, {"type": "message_stop"}]


def _pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match block["type"]:
        case "text":
            return block | {"text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "tool_use":
            told = json.dumps(block["input"])
            half = len(told) // 2
            return block | {"input": {}}, [
                {"type": "input_json_delta", "partial_json": piece}
                for piece in (told[:half], told[half:])
            ]
        case _:
            return block, []


def streamed(events: Sequence[Event], **how: Any) -> Turn:
    """Events as the API sends them."""
    body = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)
    return Turn(body.encode(), headers={"content-type": "text/event-stream"}, **how)


def message(
    *content: dict[str, Any], stop: str = "tool_use", usage: dict[str, Any] | None = None
) -> Turn:
    """A message as the API sends it."""
    return streamed(events_of(*content, stop=stop, usage=usage))


def use(tool: str, *, id: str = "toolu_1", **given: Any) -> dict[str, Any]:  # noqa: A002 - as there
    """A block in which the model calls a tool."""
    return {"type": "tool_use", "id": id, "name": tool, "input": given}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def failure(status: int, kind: str, said: str = "no", **headers: str) -> Turn:
    """An error as the API sends it; the SDK is told not to wait long before it tries again."""
    body = {"type": "error", "error": {"type": kind, "message": said}}
    return Turn(json.dumps(body).encode(), status, {"retry-after-ms": "1", **headers})


@contextmanager
def messages_api(*script: Turn) -> Iterator[MessagesApi]:
    """Serve a script while the context is open."""
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.path.split("?")[0] == "/v1/messages", self.path
            length = int(self.headers["content-length"])
            api.requests.append(json.loads(self.rfile.read(length)))
            api.headers.append({name.lower(): value for name, value in self.headers.items()})
            turn = api.script[min(len(api.requests), len(api.script)) - 1]
            ends = time.monotonic() + turn.after_s
            while time.monotonic() < ends and not stopped.wait(0.01):
                pass
            try:
                self.send_response(turn.status)
                for name, value in {"content-type": "application/json", **turn.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(turn.body) + turn.claims))
                self.end_headers()
                self.wfile.write(turn.body)
            except OSError:
                pass  # nobody waits any more
            if turn.claims:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as there
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_whom: object) -> None:
            pass  # who hangs up in mid-answer is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api = MessagesApi(f"http://127.0.0.1:{server.server_address[1]}", script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
