"""`report.png`: the deciding trial at a glance.

Each dot is a paired round's ratio candidate / baseline on a log axis; the band is the judge's
confidence sequence, which has to lie beyond the dashed line for a promotion. Colours are those
of Okabe and Ito ("Color Universal Design", 2008), told apart by everybody.
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from cli import figures
from cli.limits import allowed_ratio, baseline, wanted_ratio

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from cli.report.model import Report, RoundReport, TrialReport
    from shared.messages import GuardrailFinding

BLUE, GREEN, ORANGE, RED, INK, GREY, PALE = (
    "#0072B2",
    "#009E73",
    "#E69F00",
    "#D55E00",
    "#222222",
    "#777777",
    "#E8E8E8",
)
TERMINAL_COLOURS = {
    "promoted": GREEN,
    "kept-default": BLUE,
    "rejected": ORANGE,
    "cancelled": ORANGE,
    "failed": RED,
}
STATE_COLOURS = {"clear": GREEN, "open": GREY, "violated": RED}
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
         1.1, 1.2, 1.4, 1.6, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 50.0, 100.0)  # fmt: skip
COARSE_TICKS = {
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    1.0,
    1.4,
    2.0,
    3.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
}
FINE_TICKS = tuple(round(0.8 + 0.02 * step, 2) for step in range(21))
WIDTH_IN, DPI = 11.0, 150
GAP_IN = 0.8
"""Between the rounds and the guardrails."""


def draw(report: Report, path: Path) -> None:
    """Write the picture."""
    trial = report.decisive_trial
    guardrails = trial.guardrails if trial else []
    strip_in = 0.55 + 0.36 * len(guardrails) if guardrails else 0.0
    height_in = 6.2 + strip_in
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    left, right, top, bottom = 0.085, 0.965, 1 - 1.15 / height_in, 0.75 / height_in
    _headline(figure, report, trial, height_in)
    strip = strip_in / height_in
    main = figure.add_axes(
        (left, bottom + strip + (GAP_IN / height_in if guardrails else 0), right - left,
         top - bottom - strip - (GAP_IN / height_in if guardrails else 0))
    )  # fmt: skip
    usable = [each for each in trial.rounds if each.ratio is not None] if trial else []
    if trial is None or not usable:
        _nothing(main, report)
    else:
        _rounds(main, trial, usable, baseline(report.against))
    if trial is not None and guardrails:
        # A neighbour's metric has its workload's name before it.
        room = max(0.14, 0.0068 * max(len(each.metric) for each in guardrails) - 0.07)
        below = figure.add_axes((left + room, bottom, right - left - room, strip))
        _guardrails(below, trial, guardrails)
    _footline(figure, report, trial, height_in)
    figure.savefig(path)


# --- Words -------------------------------------------------------------------------------------


def _headline(figure: Figure, report: Report, trial: TrialReport | None, height_in: float) -> None:
    terminal = report.terminal or "not over yet"
    colour = TERMINAL_COLOURS.get(terminal, GREY)
    y = 1 - 0.32 / height_in
    word = figure.text(0.03, y, terminal, color=colour, size=17, weight="bold", va="center")
    figure.canvas.draw()
    box = word.get_window_extent()
    after = box.x1 / (WIDTH_IN * DPI) + 0.012
    figure.text(after, y, _claim(report, trial), color=INK, size=14, va="center")
    figure.text(0.03, 1 - 0.66 / height_in, _substance(report, trial), color=GREY, size=10,
                va="center")  # fmt: skip


def _claim(report: Report, trial: TrialReport | None) -> str:
    workload = report.request.workload
    if trial is None or trial.ratio is None or not trial.pairs:
        return f"{workload}: no trial decided"
    objective = report.objective
    change = figures.change(trial.ratio, objective.direction)
    said = {"promote": "", "revert": ", reverted", "": ", not judged"}.get(
        trial.verdict, ", not proven"
    )
    return f"{workload}: {objective.metric} {change} with {trial.candidate.policy}{said}"


def _substance(report: Report, trial: TrialReport | None) -> str:
    parts = []
    if trial is not None and trial.ratio is not None and trial.low is not None:
        assert trial.high is not None
        parts.append(
            f"median ratio {figures.ratio(trial.ratio)} {figures.interval(trial.low, trial.high)}"
            f" over {trial.pairs} paired rounds, verdict {trial.verdict}"
        )
        parts.append(f"on {trial.host}")
    parts += [f"kernel {report.versions.kernel}", report.versions.virtualization]
    return "  ·  ".join(part for part in parts if part)


def _footline(figure: Figure, report: Report, trial: TrialReport | None, height_in: float) -> None:
    seed = f"  ·  seed {trial.seed}" if trial else ""
    figure.text(
        0.03,
        0.2 / height_in,
        f"{report.optimization}  ·  trace {report.trace_id}{seed}"
        f"  ·  coxswain {report.versions.coxswain}",
        color=GREY,
        size=8,
        va="center",
    )


def _nothing(axes: Axes, report: Report) -> None:
    axes.set_axis_off()
    why = "\n".join(line for reason in report.reasons for line in textwrap.wrap(reason, 90))
    axes.text(0.5, 0.5, why or "There are no measured rounds.", ha="center", va="center",
              color=INK, size=12, transform=axes.transAxes)  # fmt: skip


# --- The rounds --------------------------------------------------------------------------------


def _rounds(axes: Axes, trial: TrialReport, rounds: list[RoundReport], before: str) -> None:
    low, high = _limits(trial, rounds)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    last = max(each.index for each in rounds) + 1
    axes.set_xlim(0.4, last + 1.9)
    _background(axes, trial, last)
    _running(axes, rounds)
    for order, marker, label in (
        ("AB", "o", f"{before.split(maxsplit=1)[0]} first"),
        ("BA", "s", "candidate first"),
    ):
        some = [each for each in rounds if each.order == order]
        axes.plot(
            [each.index + 1 for each in some],
            [each.ratio or math.nan for each in some],
            marker,
            markersize=7,
            markerfacecolor=BLUE if order == "AB" else "white",
            markeredgecolor=BLUE,
            markeredgewidth=1.6,
            label=f"round, {label}",
            zorder=5,
        )
    _final(axes, trial, last + 1.15)
    _dress(axes, low, high, last, before)


def _limits(trial: TrialReport, rounds: list[RoundReport]) -> tuple[float, float]:
    """Room for every dot, for `no change` and for what was wanted."""
    known = [each.ratio for each in rounds if each.ratio is not None]
    shown = [*known, 1.0, wanted_ratio(trial.spec.objective), trial.low or 1.0, trial.high or 1.0]
    bottom, top = math.log(min(shown)), math.log(max(shown))
    pad = max(0.12 * (top - bottom), 0.02)
    return math.exp(bottom - pad), math.exp(top + pad)


def _background(axes: Axes, trial: TrialReport, last: float) -> None:
    wanted = wanted_ratio(trial.spec.objective)
    lower = trial.spec.objective.direction == "lower"
    axes.axhspan(
        *((1e-9, wanted) if lower else (wanted, 1e9)), color=GREEN, alpha=0.06, lw=0, zorder=0
    )
    axes.axhline(1.0, color=GREY, lw=1.2, zorder=1)
    axes.axhline(wanted, color=GREEN, lw=1.4, ls=(0, (5, 3)), zorder=1)
    better = f"wanted: {'at most' if lower else 'at least'} {figures.ratio(wanted)}×"
    for at, text, colour, side in (
        (1.0, "no change", GREY, lower),
        (wanted, better, GREEN, not lower),
    ):
        axes.annotate(
            text,
            (last + 1.9, at),
            xytext=(-4, 4 if side else -4),
            textcoords="offset points",
            ha="right",
            va="bottom" if side else "top",
            color=colour,
            size=9,
        )


def _running(axes: Axes, rounds: list[RoundReport]) -> None:
    """The judge's confidence sequence and the running median, round by round."""
    seen = [
        (each.index + 1, each.standing)
        for each in rounds
        if each.standing is not None and each.standing.sequence_high < figures.UNBOUNDED
    ]
    if seen:
        (first, begin), (last, end) = seen[0], seen[-1]
        widened = [(first - 0.5, begin), *seen, (last + 0.5, end)]
        axes.fill_between(
            [at for at, _ in widened],
            [standing.sequence_low for _, standing in widened],
            [standing.sequence_high for _, standing in widened],
            color=BLUE,
            alpha=0.16,
            lw=0,
            label="confidence sequence of the mean",
            zorder=2,
        )
    medians = [(each.index + 1, each.standing.ratio) for each in rounds if each.standing]
    if medians:
        axes.plot(
            *zip(*medians, strict=True), color=BLUE, lw=1.4, alpha=0.75,
            label="running median", zorder=3,
        )  # fmt: skip


def _final(axes: Axes, trial: TrialReport, at: float) -> None:
    if trial.ratio is None or trial.low is None or trial.high is None:
        return
    axes.plot([at, at], [trial.low, trial.high], color=INK, lw=2.2, solid_capstyle="butt", zorder=6)
    axes.plot([at], [trial.ratio], "D", color=INK, markersize=8, zorder=7,
              label="median and its 95 % interval")  # fmt: skip
    axes.annotate(
        figures.ratio(trial.ratio), (at, trial.ratio), xytext=(9, 0), textcoords="offset points",
        va="center", color=INK, size=11, weight="bold",
    )  # fmt: skip


def _dress(axes: Axes, low: float, high: float, last: int, before: str) -> None:
    ticks = [tick for tick in TICKS if low <= tick <= high]
    if len(ticks) > 10:
        ticks = [tick for tick in ticks if tick in COARSE_TICKS]
    if len(ticks) < 4:
        ticks = [tick for tick in FINE_TICKS if low <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    step = max(1, math.ceil(last / 16))
    axes.xaxis.set_major_locator(FixedLocator(list(range(1, last + 1, step))))
    axes.grid(axis="y", color=PALE, lw=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK, labelsize=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.set_xlabel("round", color=GREY, size=10)
    axes.set_ylabel(f"candidate ÷ {before}", color=GREY, size=10)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=5, frameon=False, fontsize=9,
        labelcolor=INK, handletextpad=0.4, columnspacing=1.6, borderaxespad=0.2,
    )  # fmt: skip


# --- The guardrails ----------------------------------------------------------------------------


def _guardrails(axes: Axes, trial: TrialReport, findings: list[GuardrailFinding]) -> None:
    """One row each: the interval of its ratio against what is allowed."""
    allowed = {each.metric: allowed_ratio(each) for each in trial.spec.guardrails}
    shown = [1.0]
    for row, finding in enumerate(reversed(findings)):
        limit = allowed[finding.metric]
        colour = STATE_COLOURS[finding.state]
        low = max(finding.low, 1 / figures.UNBOUNDED)
        axes.plot([low, finding.high], [row, row], color=colour, lw=5, alpha=0.35,
                  solid_capstyle="butt")  # fmt: skip
        axes.plot([finding.ratio], [row], "o", color=colour, markersize=7)
        axes.plot([limit, limit], [row - 0.34, row + 0.34], color=RED, lw=2)
        shown += [limit, finding.ratio, *(
            bound for bound in (low, finding.high)
            if 1 / figures.UNBOUNDED < bound < figures.UNBOUNDED
        )]  # fmt: skip
        axes.annotate(
            f"{finding.metric}", (0, row), xycoords=("axes fraction", "data"), xytext=(-8, 0),
            textcoords="offset points", ha="right", va="center", size=9.5, color=INK,
        )  # fmt: skip
        axes.annotate(
            f"{finding.state}", (1, row), xycoords=("axes fraction", "data"), xytext=(0, 0),
            textcoords="offset points", ha="right", va="center", size=9.5, color=colour,
            weight="bold",
        )  # fmt: skip
    reach = max(abs(math.log(value)) for value in shown) * 1.25 + 0.02
    axes.set_xscale("log")
    axes.set_xlim(math.exp(-reach), math.exp(reach * 1.35))
    axes.set_ylim(-0.7, len(findings) - 0.3)
    axes.axvline(1.0, color=GREY, lw=1.0, zorder=0)
    axes.set_yticks([])
    ticks = [t for t in TICKS if math.exp(-reach) <= t <= math.exp(reach)]
    if len(ticks) > 7:
        ticks = [t for t in ticks if t in {0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0}]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.tick_params(length=0, colors=GREY, labelsize=9)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(
        "guardrails: the mean ratio's interval must stay on the right side of the red mark",
        loc="left", size=9.5, color=GREY, pad=4, x=-0.16,
    )  # fmt: skip
