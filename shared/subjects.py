"""Every subject, stream, consumer and bucket name, built in one place.

    cox.req.optimize                            a client's request (stream REQUESTS)
    cox.req.allow                               an operator's leave to load, without a planner
    cox.cmd.<service>.<verb>                    work that must not be lost (stream COMMANDS)
    cox.cmd.<service>.<verb>.<shard>.<host>     the same for a host (stream COMMANDS-<shard>)
    cox.svc.<service>.<endpoint>[.<host>]       short questions (request/reply)
    cox.evt.<service>.<fact>.<optimization>.<host>  what happened (stream EVENTS); `_` for none
    cox.span.<service>.<trace id>               finished spans (stream SPANS)
    cox.dead.<stream>                           what nobody could handle (stream DEAD)
    cox.hb.<service>.<instance>                 heartbeats
    cox.call                                    a roll call: everybody gives a sign of life at once

The first token is a namespace: tests and several fleets on one server use another one.

Hosts are spread over shards, a stream each, because what nats-server does for one message of a
work queue grows with the number of consumers on its stream.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shared.errors import InputError

Service = Literal["observer", "planner", "executor", "learner", "relay", "cli"]

StreamName = Literal["COMMANDS", "REQUESTS", "EVENTS", "SPANS", "DEAD"]

SHARDS = 256
"""For ten thousand hosts some 40 in each. Another number would strand the queues of the old."""

NO_HOST = "_"
"""Where an event's subject names its host, and it is none's. No host may be called this."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def token(value: str, what: str) -> str:
    """One subject token, checked: a host, an id, a verb. Raises InputError."""
    if not _TOKEN.fullmatch(value):
        raise InputError(
            f"{what} cannot be part of a subject",
            expected="1 to 64 letters, digits, '-' or '_'",
            got=repr(value),
            advice=f"Choose another name for the {what}.",
        )
    return value


def host_token(host: str) -> str:
    """A host's name as a subject token, checked. Raises InputError."""
    if host == NO_HOST:
        raise InputError(
            "a host cannot be called that",
            expected="a name with a letter or a digit",
            got=repr(host),
            advice="Choose another name for the host.",
        )
    return token(host, "host name")


NO_OPTIMIZATION = "_"
"""Where an event's subject names its optimization, and it is none's: what operators order."""


class Told(NamedTuple):
    """What an event's subject says of it."""

    service: str
    fact: str
    optimization: str
    host: str
    """NO_HOST for what a service says for all."""

    @classmethod
    def on(cls, subject: str) -> Told:
        """Of an event's subject. Raises ValueError for any other."""
        _, kind, *parts = subject.split(".")
        if kind != "evt" or len(parts) != len(cls._fields):
            raise ValueError(subject)
        return cls(*parts)


def shard(host: str) -> str:
    """Which shard a host is in: its name's CRC-32 modulo SHARDS, two hexadecimal digits."""
    return f"{zlib.crc32(host.encode()) % SHARDS:02x}"


@dataclass(frozen=True, slots=True)
class Subjects:
    """All names under one namespace."""

    namespace: str = "cox"

    def __post_init__(self) -> None:
        token(self.namespace, "namespace")

    # Subjects -----------------------------------------------------------------------------

    @property
    def optimize(self) -> str:
        """Where anybody asks for an optimization."""
        return f"{self.namespace}.req.optimize"

    @property
    def allow(self) -> str:
        """Where an operator says what may be loaded by commands of his own, as benches do."""
        return f"{self.namespace}.req.allow"

    def command(self, service: Service, verb: str, host: str | None = None) -> str:
        """Work that must not be lost."""
        if host is None:
            return self._join("cmd", service, verb)
        return self._join("cmd", service, verb, shard(host), host)

    def commands(self, service: Service, verb: str = "*", host: str | None = None) -> str:
        """A filter over commands to one host or to all; the verb may be the wildcard."""
        where = "*.*" if host is None else f"{shard(host)}.{host_token(host)}"
        return f"{self.namespace}.cmd.{service}.{verb}.{where}"

    def endpoint(self, service: Service, name: str, host: str | None = None) -> str:
        """A short question to one service, or to the one on a host."""
        return self._join("svc", service, name, host)

    def endpoints(self, service: Service, name: str) -> str:
        """A filter over a short question to a service on any host: its last token says which."""
        return f"{self.endpoint(service, name)}.*"

    def event(self, service: Service, fact: str, optimization: str, host: str | None = None) -> str:
        """What happened in an optimization's life, as its host says, or a service for all."""
        where = NO_HOST if host is None else host_token(host)
        return self._join("evt", service, fact, optimization, where)

    def events(
        self, service: str = "*", fact: str = "*", optimization: str = "*", host: str = "*"
    ) -> str:
        """A filter over events; every part may be the wildcard, and the host NO_HOST."""
        return f"{self.namespace}.evt.{service}.{fact}.{optimization}.{host}"

    def span(self, service: Service, trace_id: str) -> str:
        """Where finished spans of one trace go."""
        return self._join("span", service, trace_id)

    def spans(self, trace_id: str) -> str:
        """A filter over one trace's spans."""
        return f"{self.namespace}.span.*.{token(trace_id, 'trace id')}"

    def dead(self, stream: str) -> str:
        """Where a message goes that nobody could handle."""
        return self._join("dead", stream)

    def heartbeat(self, service: Service, instance: str) -> str:
        """One service instance's sign of life."""
        return self._join("hb", service, instance)

    def heartbeats(self, service: str = "*") -> str:
        """A filter over all signs of life, or over those of one service."""
        return f"{self.namespace}.hb.{service}.*"

    @property
    def roll_call(self) -> str:
        """Where everybody is asked for a sign of life."""
        return f"{self.namespace}.call"

    # Streams, consumers, buckets --------------------------------------------------------------

    def stream(self, name: StreamName, host: str | None = None) -> str:
        """A stream's name; with a host the name of its shard of commands."""
        whole = f"{self.namespace}-{name}"
        return whole if host is None else f"{whole}-{shard(host)}"

    def stream_subjects(self, name: StreamName, host: str | None = None) -> str:
        """All that a stream keeps."""
        match name:
            case "COMMANDS":
                tail = "*.*" if host is None else f"*.*.{shard(host)}.*"
                return f"{self.namespace}.cmd.{tail}"
            case "REQUESTS":
                return f"{self.namespace}.req.*"
            case "EVENTS":
                return f"{self.namespace}.evt.>"
            case "SPANS":
                return f"{self.namespace}.span.>"
            case "DEAD":
                return f"{self.namespace}.dead.>"

    def stream_kind(self, stream: str) -> str:
        """`COMMANDS` of each stream of commands: for figures that add up over shards."""
        return stream.removeprefix(f"{self.namespace}-").partition("-")[0]

    def bucket(
        self, name: Literal["hosts", "optimizations", "policies", "fleet", "artifacts"]
    ) -> str:
        """A key-value bucket's or the object store's name."""
        return f"{self.namespace}-{name}"

    @staticmethod
    def consumer(service: Service, role: str, host: str | None = None) -> str:
        """A durable consumer's name: one for a role, or one for a role on a host."""
        parts = [service, token(role, "role")]
        if host is not None:
            parts.append(host_token(host))
        return "-".join(parts)

    def _join(self, kind: str, *parts: str | None) -> str:
        words = [token(part, "subject part") for part in parts if part is not None]
        return ".".join((self.namespace, kind, *words))
