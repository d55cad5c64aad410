"""Reading a trace back: from what the bus kept to one trace, one document, one tree.

Payloads come at least once and in any order, from services that may have died in between. So
spans are made unique, sorted by time, and what does not fit into one tree under one root is
reported, never hidden.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from shared.errors import InputError, MessageError
from shared.telemetry import otlp_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.telemetry.records import SpanRecord


@dataclass(frozen=True, slots=True)
class Node:
    """A span and those made inside it, by time."""

    span: SpanRecord
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Forest:
    """All spans of a trace. Well-kept, it is one root and no orphans."""

    roots: tuple[Node, ...]
    orphans: tuple[Node, ...]
    """Spans whose parent is missing, or that are their own ancestor; with what hangs on them."""


@dataclass(frozen=True)
class Trace:
    """The spans of one trace, unique and by time."""

    trace_id: str
    spans: tuple[SpanRecord, ...]
    broken: tuple[str, ...] = ()
    """Why payloads could not be read, one text each."""

    @property
    def start_unix_ns(self) -> int:
        """When its first span began."""
        return self.spans[0].start_unix_ns

    @cached_property
    def duration_ns(self) -> int:
        """From its first span's begin to the last end of any."""
        return max(0, max(span.end_unix_ns for span in self.spans) - self.start_unix_ns)

    def document(self) -> bytes:
        """One OTLP JSON document, readable by people too."""
        return msgspec.json.format(otlp_json.encode(self.spans), indent=2) + b"\n"

    def forest(self) -> Forest:
        """Parents and children."""
        return _grow(self.spans)

    def problems(self) -> list[str]:
        """What keeps this from being one whole tree, in words; empty if nothing does."""
        forest = self.forest()
        problems = [f"a payload could not be read: {reason}" for reason in self.broken]
        if len(forest.roots) != 1:
            problems.append(f"expected one root, got {len(forest.roots)}")
        if forest.orphans:
            count = len(forest.orphans)
            problems.append(
                f"{count} orphan{'s' if count > 1 else ''}: the parent never arrived"
                " (its service died, or it is still open)"
            )
        lost = sum(span.dropped_attributes + span.dropped_events for span in self.spans)
        if lost:
            problems.append(f"{lost} attributes or events did not fit into their spans")
        return problems


def read_trace(payloads: Iterable[bytes], trace_id: str = "") -> Trace:
    """One trace from OTLP JSON payloads; without `trace_id` there must be only one in them.

    Of spans with the same id the first is kept. Raises InputError if there is no such trace.
    """
    unique: dict[str, dict[str, SpanRecord]] = defaultdict(dict)
    broken: list[str] = []
    for payload in payloads:
        try:
            spans = otlp_json.decode(payload)
        except MessageError as error:
            broken.append(error.got)
            continue
        for span in spans:
            unique[span.trace_id].setdefault(span.span_id, span)
    found = [trace_id] if trace_id else list(unique)
    if len(found) != 1 or found[0] not in unique:
        raise InputError(
            "no such trace" if trace_id else "not one trace",
            expected=f"spans of trace {trace_id}" if trace_id else "spans of exactly one trace",
            got=_listed(unique) + (f", {len(broken)} unreadable payloads" if broken else ""),
            advice="See `cox optimizations` for the optimizations there are and their traces.",
        )
    spans = sorted(unique[found[0]].values(), key=_by_time)
    return Trace(trace_id=found[0], spans=tuple(spans), broken=tuple(broken))


def _listed(ids: Iterable[str]) -> str:
    some = sorted(ids)
    if not some:
        return "no spans"
    return "spans of " + ", ".join(some[:3]) + (f" and {len(some) - 3} more" if some[3:] else "")


def _by_time(span: SpanRecord) -> tuple[int, str]:
    return span.start_unix_ns, span.span_id


def _grow(spans: Sequence[SpanRecord]) -> Forest:
    nodes = {span.span_id: Node(span) for span in spans}
    roots: list[Node] = []
    orphans: list[Node] = []
    for span in spans:
        node = nodes[span.span_id]
        if not span.parent_id:
            roots.append(node)
        elif span.parent_id in nodes:
            nodes[span.parent_id].children.append(node)
        else:
            orphans.append(node)
    reached = _reachable([*roots, *orphans])
    # What is left are rings of spans that claim each other as parents: cut each once.
    for span in spans:
        if span.span_id not in reached:
            node = nodes[span.span_id]
            nodes[span.parent_id].children.remove(node)
            orphans.append(node)
            reached |= _reachable([node])
    return Forest(roots=tuple(roots), orphans=tuple(orphans))


def _reachable(nodes: list[Node]) -> set[str]:
    reached: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.span.span_id not in reached:
            reached.add(node.span.span_id)
            waiting += node.children
    return reached
