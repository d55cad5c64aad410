"""What was seen of a run: all that invariants are checked on, and nothing else."""

from __future__ import annotations

import msgspec
from msgspec import field

from bench.hosts.ledger import Line
from shared.fleet import Claims


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact in the stream of events."""

    sequence: int
    subject: str
    sha256: str
    """Of its bytes."""
    said: Said


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Those fields of a fact that invariants look at, where it has them."""

    trial: str = ""
    index: int = -1
    pairs: int = 0
    verdict: str = ""
    terminal: str = ""
    end: str = ""
    problem: dict[str, object] | None = None


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """The server has said to a publisher that it keeps this fact under this sequence."""

    sequence: int
    subject: str
    sha256: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An optimization's record, as far as invariants look at it."""

    id: str
    created_unix_ns: int = 0
    ended_unix_ns: int = 0
    fence: int = 0
    """Which turn it had, of all: of two on a host the later one has the larger. 0 for none."""
    over: bool
    unsent: int = 0
    """Messages that still stand in its outbox."""
    terminal: str = ""
    reasons: list[str] = field(default_factory=list)
    request_sha256: str = ""
    winner: str = ""
    """The promoted trial."""
    least_pairs: int = 0
    """So many must be judged before that trial may be promoted."""
    decided_pairs: int = 0
    """So many were, when the judge's word was first clear."""
    kept_on: list[str] = field(default_factory=list)
    """Hosts that it was promoted to."""


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """What time a process is shown from a moment on, which is CLOCK_MONOTONIC."""

    from_ns: int
    ahead_ns: int
    """Its wall clock less CLOCK_MONOTONIC."""


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """A host's journal: tokens that it has redeemed, in order, and what it keeps."""

    redeemed: list[str] = field(default_factory=list)
    kept: str = ""
    """An optimization; empty for the kernel's default."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A run, from its first request until all had come to rest."""

    most_canaries: int
    events: list[Event] = field(default_factory=list)
    """In the order of the stream."""
    acknowledged: list[Acknowledged] = field(default_factory=list)
    """As far as a listener on the bus has heard it."""
    claims: list[Claims] = field(default_factory=list)
    """Every value that it has heard of who works where."""
    records: dict[str, Record] = field(default_factory=dict)
    promised: list[str] = field(default_factory=list)
    """Optimizations that clients were told are accepted."""
    requests: list[str] = field(default_factory=list)
    """Hashes of all requests in their stream."""
    kernels: dict[str, list[Line]] = field(default_factory=dict)
    """By host."""
    held: list[str] = field(default_factory=list)
    """Hosts on whose kernel something hangs in the end."""
    books: dict[str, Book] = field(default_factory=dict)
    clocks: dict[str, list[Clock]] = field(default_factory=dict)
    """By host, the oldest first."""
    left_alone: list[str] = field(default_factory=list)
    """Hosts that no request has named."""
    fallen: list[str] = field(default_factory=list)
    """Processes that ended though nobody killed them."""
    restless: list[str] = field(default_factory=list)
    """What had not come to rest in time."""
