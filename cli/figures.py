"""Numbers for people: three digits, their unit, and ratios drawn on a small log axis."""

from __future__ import annotations

import math

from rich.text import Text

UNBOUNDED = 1e6
"""The judge cuts ratios to this and its inverse: a bound there knows nothing."""
AXIS_FROM, AXIS_TO = 0.25, 4.0
"""Ratios outside are drawn at the edge."""


def number(value: float) -> str:
    """Three significant digits, thousands set apart, never in scientific notation."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "?"
    size = abs(value)
    if value == round(value) and size < 1e15:
        return f"{value:,.0f}".replace(",", "\u2009")
    if size >= 100:
        return f"{value:,.0f}".replace(",", "\u2009")
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.001 or size == 0 else f"{value:.1e}"


def quantity(value: float, unit: str) -> str:
    """A value in the unit that suits it."""
    if unit in {"us", "µs"}:
        return f"{number(value / 1000)} ms" if abs(value) >= 1000 else f"{number(value)} µs"
    if unit == "ratio":
        return number(value)
    # "1/s" is a unit's proper name, and reads badly behind a number.
    return f"{number(value)} {unit.removeprefix('1') if unit.startswith('1/') else unit}".rstrip()


def ratio(value: float) -> str:
    """A ratio with three decimals where they mean something."""
    if not math.isfinite(value) or value >= UNBOUNDED:
        return "∞" if value > 0 else "?"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def interval(low: float, high: float) -> str:
    """Two ratios; a side that nothing bounds is open."""
    return f"[{'0' if low <= 1 / UNBOUNDED else ratio(low)}, {ratio(high)}]"


def change(value: float, direction: str) -> str:
    """A ratio in words: `57 % lower`, and if that is worse."""
    if not math.isfinite(value) or value <= 0:
        return "unknown"
    percent = abs(value - 1) * 100
    if percent < 0.05:
        return "no change"
    lower = value < 1
    better = lower == (direction == "lower")
    shown = f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}"
    return f"{shown} % {'lower' if lower else 'higher'}{'' if better else ' (worse)'}"


def seconds(value: float) -> str:
    """A duration: `0.4 s`, `42 s`, `3 min 05 s`."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 100:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def bar(share: float, width: int, style: str = "blue") -> Text:
    """How much of something is done, as a small bar."""
    full = round(min(1.0, max(0.0, share)) * width)
    return Text.assemble(("━" * full, style), ("╌" * (width - full), "bright_black"))


def strip(value: float, low: float, high: float, *, better: str, width: int = 33) -> Text:
    """A ratio and its interval on a log axis from ¼ to 4; the line in the middle is `no change`."""
    cells = ["·"] * width
    styles = ["bright_black"] * width
    middle = width // 2

    def place(at: float) -> int:
        if at <= 0 or math.isnan(at):
            return 0
        if math.isinf(at):
            return width - 1
        share = math.log(at / AXIS_FROM) / math.log(AXIS_TO / AXIS_FROM)
        return min(width - 1, max(0, round(share * (width - 1))))

    first, last = place(low), place(high)
    for cell in range(first, last + 1):
        cells[cell], styles[cell] = "─", "default"
    cells[middle], styles[middle] = (
        "│",
        "bright_black" if not first <= middle <= last else "default",
    )
    good = (value < 1) == (better == "lower")
    cells[place(value)] = "●"
    styles[place(value)] = "green" if good else "red"
    return Text.assemble(*zip(cells, styles, strict=True))
