"""A trace as a tree: who did what, when, how long, and why.

Each span is a line with its place in time; below it stand its decision, its reasons, its events
and what else it carries. Texts come from models, workloads and strangers, so nothing in them is
taken for markup or for a terminal's control sequences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cli.harmless import harmless
from shared import attributes as names
from shared.telemetry.records import EventRecord, SpanRecord, Status, Value

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from shared.telemetry.store import Node, Trace

_COLOURS = {
    "planner": "magenta",
    "observer": "cyan",
    "executor": "yellow",
    "learner": "green",
    "cli": "blue",
}
_TERMINAL_STYLES = {"promoted": "bold green", "kept-default": "bold cyan"}
_WHO_WIDTH = 20
_TOOK_WIDTH = 8
_WIDTH_FOR_BAR = 80
_WIDTH_FOR_WHO = 60
_LEAST_NAME_WIDTH = 16
_INDENT = 4
_FIRST_EVENTS = 3
_LAST_EVENTS = 2
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_DIGEST_CHARS = 12
_TEXTS = {names.DECISION_WHY: "why", names.PROBLEM_TEXT: "problem"}
_LISTS = {
    names.DECISION_CHOSEN: "chosen",
    names.DECISION_CONSIDERED: "considered",
    names.GATE_REASONS: "reasons",
    names.VERDICT_REASONS: "reasons",
}
_INTERVALS = {
    names.RATIO: (names.RATIO_LOW, names.RATIO_HIGH),
    names.PREDICTED_RATIO: (names.PREDICTED_LOW, names.PREDICTED_HIGH),
}
_NOT_FACTS = frozenset(
    {
        *_TEXTS,
        *_LISTS,
        *(bound for bounds in _INTERVALS.values() for bound in bounds),
        names.OPTIMIZATION_ID,  # in the title, and beside each part
        names.OUTCOME,  # beside the name
        names.ERROR_TYPE,  # with the error's text
        names.EXCEPTION_STACKTRACE,  # in trace.json, for who needs it
    }
)
_DIGEST = re.compile(r"[0-9a-f]{32,}")


class TraceTree:
    """A rich renderable of a whole trace; at its best from 100 columns."""

    def __init__(self, trace: Trace, *, everything: bool = False) -> None:
        """`everything` shows all events of a span instead of its first and last ones."""
        self._trace = trace
        self._everything = everything

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        trace = self._trace
        columns = _Columns(options.max_width)
        forest = trace.forest()
        yield _title(trace)
        for problem in trace.problems():
            yield Text(f"⚠ {_clean(problem)}", style="bold red")
        yield Text()
        if columns.bar:
            yield columns.ruler(trace)
        for root in forest.roots:
            yield self._tree(root, columns)
        if forest.orphans:
            yield Text("\n⚠ orphans: their parent is not in this trace", style="bold red")
            for orphan in forest.orphans:
                yield self._tree(orphan, columns)

    def _tree(self, root: Node, columns: _Columns) -> Tree:
        tree = Tree(self._label(root.span, columns), guide_style="bright_black")
        waiting = [(root, tree, tree, 1)]
        while waiting:  # no recursion: a forged trace may be as deep as it likes
            node, branch, parent, depth = waiting.pop()
            deeper = depth < columns.depth
            for child in node.children:
                # Where there is no more room for an indent a child stands beside its parent.
                under = branch if deeper else parent
                label = self._label(child.span, columns, mark="" if deeper else "↳ ")
                waiting.append((child, under.add(label), under, min(depth + 1, columns.depth)))
        return tree

    def _label(self, span: SpanRecord, columns: _Columns, *, mark: str = "") -> RenderableType:
        line = columns.line(
            _name(span, mark),
            _who(span),
            _bar(span, self._trace, columns.bar),
            Text(duration(span.duration_ns), style="bold"),
        )
        details = list(_details(span, self._trace, everything=self._everything))
        return Group(line, Padding(Group(*details), (0, 0, 0, 2))) if details else line


class _Columns:
    """How a line is divided: equal on the right, whatever the indent on the left."""

    def __init__(self, width: int) -> None:
        self.bar = 0 if width < _WIDTH_FOR_BAR else min(48, width // 4)
        self.who = 0 if width < _WIDTH_FOR_WHO else _WHO_WIDTH
        name = width - self.bar - self.who - _TOOK_WIDTH - 3
        self.depth = max(1, (name - _LEAST_NAME_WIDTH) // _INDENT)
        """How many levels can be indented before no name could be read."""

    def line(self, name: Text, who: Text, bar: Text, took: Text) -> Table:
        """One line of the tree."""
        grid = Table.grid(expand=True, padding=(0, 1, 0, 0), pad_edge=False)
        grid.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
        cells = [name]
        for cell, width in ((who, self.who), (bar, self.bar)):
            if width:
                grid.add_column(width=width, overflow="ellipsis", no_wrap=True)
                cells.append(cell)
        grid.add_column(width=_TOOK_WIDTH, justify="right", no_wrap=True)
        grid.add_row(*cells, took)
        return grid

    def ruler(self, trace: Trace) -> Table:
        """The line above the tree: what the bars are measured with."""
        end = duration(trace.duration_ns)
        line = "─" * max(0, self.bar - len(end) - 4)
        style = "bright_black"
        return self.line(
            Text(), Text(), Text(f"0 {line}→ {end}"[: self.bar], style), Text("took", style)
        )


def duration(ns: int) -> str:
    """A duration for people: 3 digits or so, in the unit that suits it."""
    seconds = ns / 1e9
    if seconds < 1e-4:
        return "<0.1 ms"
    if seconds < 0.01:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"


# --- The lines above ---------------------------------------------------------------------------


def _title(trace: Trace) -> Text:
    services = dict.fromkeys(_clean(span.resource.get(names.SERVICE_NAME)) for span in trace.spans)
    text = Text()
    roots = [span for span in trace.spans if not span.parent_id]
    text.append(_clean(roots[0].name) if roots else "a trace without its root", style="bold")
    # One for each optimization that has ended, by time.
    terminals = [_clean(value) for value in _values(trace, names.OPTIMIZATION_TERMINAL)]
    for index, word in enumerate(terminals):
        text.append(", " if index else "  →  ")
        text.append(word, style=_TERMINAL_STYLES.get(word, "bold red"))
    text.append("\n")
    facts = []
    identities = dict.fromkeys(_clean(value) for value in _values(trace, names.OPTIMIZATION_ID))
    if identities:
        facts.append(f"optimization{'s' if len(identities) > 1 else ''} {', '.join(identities)}")
    count = len(trace.spans)
    facts += [f"{count} span{'' if count == 1 else 's'}", duration(trace.duration_ns)]
    text.append(f"trace {trace.trace_id}  ·  {'  ·  '.join(facts)}\n", style="bright_black")
    for index, service in enumerate(services):
        text.append("  " if index else "").append("■ ", style=_COLOURS.get(service, "white"))
        text.append(service, style="bright_black")
    return text


def _values(trace: Trace, attribute: str) -> list[Value]:
    """What spans say of it, by time."""
    return [span.attributes[attribute] for span in trace.spans if attribute in span.attributes]


# --- A span's line -----------------------------------------------------------------------------


def _name(span: SpanRecord, prefix: str) -> Text:
    outcome = span.attributes.get(names.OUTCOME)
    if span.status is Status.ERROR:
        mark, style = "✗ ", "bold red"
    elif outcome is not None:
        mark, style = "⊘ ", "bold yellow"
    else:
        mark, style = "● ", _colour(span)
    text = Text(prefix + mark, style=style)
    text.append(_clean(span.name) or "(no name)", style="bold")
    if outcome is not None:
        text.append(f"  {_clean(outcome)}", style="yellow")
    return text


def _who(span: SpanRecord) -> Text:
    text = Text(_clean(span.resource.get(names.SERVICE_NAME, "?")), style=_colour(span))
    host = span.resource.get(names.HOST_NAME)
    if host:
        text.append(f"@{_clean(host)}", style="bright_black")
    return text


def _colour(span: SpanRecord) -> str:
    return _COLOURS.get(str(span.resource.get(names.SERVICE_NAME)), "white")


def _bar(span: SpanRecord, trace: Trace, width: int) -> Text:
    """Where the span lies in the trace, to an eighth of a column; never invisible."""
    whole = max(1, trace.duration_ns)
    begin = (span.start_unix_ns - trace.start_unix_ns) * width * 8 // whole
    length = max(1, span.duration_ns * width * 8 // whole)
    begin = min(max(0, begin), width * 8 - 1)
    cell, offset = divmod(begin, 8)
    # There are no blocks that begin inside a cell, so the first one is drawn from its left edge.
    eighths = min(length + (offset if length >= 8 else 0), (width - cell) * 8)
    full, rest = divmod(eighths, 8)
    blocks = "█" * full + (_EIGHTHS[rest] if rest else "")
    return Text.assemble(("╶" * cell, "dim bright_black"), (blocks, _colour(span)))


# --- What stands below it ----------------------------------------------------------------------


def _details(span: SpanRecord, trace: Trace, *, everything: bool) -> list[RenderableType]:
    rows: list[RenderableType] = []
    if span.status is Status.ERROR:
        kind = _clean(span.attributes.get(names.ERROR_TYPE, "error"))
        rows.append(_labelled(kind, _clean(span.status_text) or "no text", "red"))
    if span.name.startswith("part ") and names.OPTIMIZATION_ID in span.attributes:
        # The title has several: what hangs here is this one's.
        identity = _clean(span.attributes[names.OPTIMIZATION_ID])
        rows.append(_labelled("optimization", identity, "default"))
    rows += [
        _labelled(label, _clean(span.attributes[key]), "default")
        for key, label in _TEXTS.items()
        if key in span.attributes
    ]
    for key, label in _LISTS.items():
        rows += _listed(label, span.attributes.get(key))
    facts = _Facts(span.attributes)
    if facts:
        rows.append(facts)
    rows += [
        Text(f"linked with span {link.span_id} of trace {link.trace_id}", style="bright_black")
        for link in span.links
    ]
    rows += _events(span, trace, everything=everything)
    return rows


def _labelled(label: str, text: str, style: str) -> Table:
    """A text that wraps beside its label."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style="italic bright_black"), Text(text, style=style))
    return grid


def _listed(label: str, value: Value) -> list[RenderableType]:
    if value is None:
        return []
    items = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for index, item in enumerate(items):
        grid.add_row(
            Text("" if index else label, style="italic bright_black"),
            Text("·", style="bright_black"),
            Text(_clean(item)),
        )
    return [grid] if items else []


class _Facts:
    """Names and values side by side; a line never ends between a name and its value."""

    def __init__(self, attributes: Mapping[str, Value], *, lead: Text | None = None) -> None:
        self._lead = lead
        self._facts = [
            Text.assemble((f"{label} ", "bright_black"), shown)
            for label, shown in (
                _fact(key, attributes) for key in attributes if key not in _NOT_FACTS
            )
        ]

    def __bool__(self) -> bool:
        return bool(self._facts or self._lead)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = self._lead.copy() if self._lead is not None else Text()
        for fact in self._facts:
            if line.plain and line.cell_len + 2 + fact.cell_len > options.max_width:
                yield line
                line = Text("  " if self._lead is not None else "")
            elif line.plain:
                line.append("  ")
            line.append_text(fact)
        yield line


def _fact(key: str, attributes: Mapping[str, Value]) -> tuple[str, str]:
    """An attribute's label and value, with what belongs to it."""
    value = attributes[key]
    label = _clean(key.removeprefix("coxswain."))
    if isinstance(value, int) and key.endswith("_ns"):
        return label.removesuffix("_ns"), duration(value)
    shown = _clean(value)
    if _DIGEST.fullmatch(shown):
        shown = f"{shown[:_DIGEST_CHARS]}…"
    low, high = (attributes.get(bound) for bound in _INTERVALS.get(key, ("", "")))
    if low is not None and high is not None:
        shown += f" [{_clean(low)}, {_clean(high)}]"
    return label, shown


def _events(span: SpanRecord, trace: Trace, *, everything: bool) -> list[RenderableType]:
    rows = [_event(event, trace) for event in span.events if not _told(event, span)]
    hidden = len(rows) - _FIRST_EVENTS - _LAST_EVENTS
    if everything or hidden <= 1:
        return rows
    more = Text(f"… {hidden} more events", style="italic bright_black")
    return [*rows[:_FIRST_EVENTS], more, *rows[-_LAST_EVENTS:]]


def _told(event: EventRecord, span: SpanRecord) -> bool:
    """Whether the span's status says the same as this event."""
    return event.attributes.get(names.EXCEPTION_MESSAGE) == span.status_text != ""


def _event(event: EventRecord, trace: Trace) -> RenderableType:
    offset = duration(max(0, event.unix_ns - trace.start_unix_ns))
    lead = Text.assemble(("◦ ", "bright_black"), (f"+{offset}  ", "bright_black"))
    return _Facts(event.attributes, lead=lead.append(_clean(event.name), style="italic"))


def _clean(value: Value) -> str:
    """A value as plain text on one line, without anything that a terminal would obey."""
    if isinstance(value, bool) or value is None:
        text = str(value).lower()
    elif isinstance(value, float):
        text = f"{value:.4g}"
    elif isinstance(value, bytes):
        text = value.hex()
    elif isinstance(value, Mapping):
        text = ", ".join(f"{key}={_clean(item)}" for key, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        text = ", ".join(_clean(item) for item in value)
    else:
        text = str(value)
    return harmless(" ".join(text.splitlines()).replace("\t", " "))
