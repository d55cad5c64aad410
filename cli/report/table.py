"""The result of an optimization as a table, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli import figures
from cli.follow.narrate import TERMINAL_STYLES, VERDICT_STYLES, parameters
from cli.limits import baseline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from cli.report.model import MetricReport, Report, TrialReport

STATE_STYLES = {"clear": "green", "open": "yellow", "violated": "red"}


def result(report: Report, files: Iterable[str] = ()) -> RenderableType:
    """What came of it: the verdict, every metric, where things are, what it cost."""
    trial = report.decisive_trial
    parts: list[RenderableType] = [_headline(report)]
    if trial is not None and trial.metrics:
        parts.append(Padding(_metrics(report, trial), (0, 0, 0, 1)))
    parts.append(_facts(report, files))
    return Group(*parts)


def _headline(report: Report) -> Text:
    terminal = report.terminal or "not over yet"
    style = TERMINAL_STYLES.get(terminal, "bold")
    text = Text.assemble(("\n" + terminal, style), (f"  {report.request.workload}", "bold"))
    trial = report.decisive_trial
    if trial is not None:
        text.append(f"  {trial.candidate.policy} {parameters(trial.candidate.parameters)}")
        text.append(f"  on {trial.host}, {trial.pairs} paired rounds", style="dim")
    return text


def _metrics(report: Report, trial: TrialReport) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim", border_style="bright_black")
    table.add_column("metric")
    for column in (baseline(report.against), trial.candidate.policy, "ratio", "95 % interval"):
        table.add_column(column, justify="right")
    table.add_column("")
    for metric in trial.metrics:
        table.add_row(
            Text(metric.metric, style="bold" if metric.role == "objective" else ""),
            figures.quantity(metric.baseline, metric.unit),
            figures.quantity(metric.candidate, metric.unit),
            Text(figures.ratio(metric.ratio), style="bold") if metric.ratio is not None else "?",
            figures.interval(metric.low, metric.high)
            if metric.low is not None and metric.high is not None
            else "",
            _remark(metric, trial),
            style="" if metric.role != "other" else "dim",
        )
    return table


def _remark(metric: MetricReport, trial: TrialReport) -> Text:
    if metric.role == "objective":
        style = VERDICT_STYLES.get(trial.verdict, "dim")
        return Text.assemble("objective: ", (trial.verdict or "not judged", style))
    for finding in trial.guardrails:
        if finding.metric == metric.metric:
            return Text.assemble("guardrail: ", (finding.state, STATE_STYLES[finding.state]))
    return Text()


def _facts(report: Report, files: Iterable[str]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")

    def row(label: str, text: str) -> None:
        if text:
            grid.add_row(Text(label, style="dim"), Text(text))

    running = [each.host for each in report.deployments if each.problem is None]
    row("beside", "; ".join(f"{each.workload}: {each.why}" for each in report.beside))
    row("runs now", _runs(report, running))
    if report.predicted_ratio is not None and report.ratio is not None:
        row(
            "predicted",
            f"ratio {figures.ratio(report.predicted_ratio)}, "
            f"measured {figures.ratio(report.ratio)}",
        )
    versions = report.versions
    row("measured", f"kernel {versions.kernel}, {versions.virtualization}, {versions.cpu_model}")
    row("fingerprint", report.fingerprint_key)
    row("cost", _cost(report))
    row("trace", report.trace_id)
    row("files", "  ".join(files))
    return grid


def _runs(report: Report, running: list[str]) -> str:
    others = [host.host for host in report.hosts if host.host not in running]
    if report.terminal == "promoted" and report.candidate is not None:
        text = f"{report.candidate.policy} on {', '.join(running)}"
        return f"{text}; the default on {', '.join(others)}" if others else text
    return f"what ran before on {', '.join(host.host for host in report.hosts)}"


def _cost(report: Report) -> str:
    stages = ", ".join(
        f"{stage} {figures.seconds(cost.wall_s)}" for stage, cost in report.cost.items()
    )
    model = ""
    if report.total.tokens:
        model = f"; {report.total.tokens:,} tokens, ${report.total.dollars:.4f}"
    return f"{figures.seconds(report.seconds)} in all ({stages}){model}"
