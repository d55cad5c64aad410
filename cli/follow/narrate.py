"""An optimization's events as lines for people, in the order they came.

Every line is permanent: the same on a terminal, in a file and in a CI log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli import figures, limits
from shared.messages import (
    Accepted,
    Built,
    Confirmed,
    Deployed,
    Drifted,
    Ended,
    Judged,
    Plan,
    Profiled,
    Progress,
    Reverted,
    Round,
    TrialEnded,
    Weighed,
)
from shared.workloads import neighbours_metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from cli.follow.facts import Fact
    from cli.follow.life import Life
    from shared.messages import Artifact
    from shared.optimization import Optimization

TERMINAL_STYLES = {
    "promoted": "bold green",
    "kept-default": "bold cyan",
    "rejected": "bold yellow",
    "cancelled": "bold yellow",
    "failed": "bold red",
}
VERDICT_STYLES = {"promote": "green", "revert": "red", "inconclusive": "cyan", "continue": "dim"}
_LABEL_WIDTH = 9
_NARROWEST_STRIP, _WIDEST_STRIP = 13, 33


class Narrator:
    """Turns facts into lines. Holds a round back until the judge has spoken of it."""

    def __init__(self) -> None:
        self._held: dict[str, Round] = {}
        self._screens: set[str] = set()

    def tell(  # noqa: C901, PLR0912 - one case for each kind of event
        self, fact: Fact, life: Life, record: Optimization | None
    ) -> Iterator[RenderableType]:
        """The lines for a fact that `life` has taken already."""
        message = fact.message
        match message:
            case Accepted():
                yield from _accepted(message, record)
            case Profiled():
                yield from _profiled(message, record)
            case Plan():
                yield from _planned(message)
            case Built():
                yield from _built(message)
            case Progress(phase="trying"):
                yield entry("try", Text(message.text, style="bold"))
            case Progress(phase="queued"):
                yield entry("wait", message.text)
            case Progress(phase="deploying"):
                yield entry("roll out", message.text)
            case Round():
                yield from self._release(message.trial)
                self._held[message.trial] = message
            case Judged():
                yield from self._judged(message, life)
            case TrialEnded():
                yield from self._release(message.trial)
                yield from _trial_ended(message)
            case Deployed():
                yield from _deployed(message)
            case Confirmed():
                yield _confirmed(message)
            case Weighed():
                yield entry("weigh", Text(f"cohort {message.cohort}: {message.verdict}"))
                yield from _bullets(message.reasons, style="dim")
            case Drifted():
                yield entry("drift", Text(f"{message.on} does not do what it did"))
                yield from _bullets(message.reasons, style="dim")
            case Reverted():
                text = f"{message.host} is back on the kernel's default: {message.reason}"
                yield entry("revert", Text(text))
            case Ended():
                for trial in list(self._held):
                    yield from self._release(trial)
                yield from _ended(message, life)

    def _judged(self, message: Judged, life: Life) -> Iterator[RenderableType]:
        held = self._held.get(message.trial)
        if held is not None and held.index + 1 <= message.pairs:
            del self._held[message.trial]
            yield RoundLine(held, message)
        trial = life.trials[message.trial]
        if message.verdict != "continue" and trial.decision == message:
            yield entry(
                "verdict",
                Text.assemble(
                    (message.verdict, VERDICT_STYLES[message.verdict] + " bold"),
                    f" after {message.pairs} pairs",
                ),
            )
            yield from _bullets(message.reasons)

    def _release(self, trial: str) -> Iterator[RenderableType]:
        held = self._held.pop(trial, None)
        if held is not None:
            yield RoundLine(held, None)


def entry(label: str, text: Text | str, style: str = "bold blue") -> Table:
    """A labelled paragraph; its lines stay to the right of the label."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=_LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style=style), text if isinstance(text, Text) else Text(text))
    return grid


def _bullets(lines: list[str], style: str = "") -> Iterator[RenderableType]:
    for line in lines:
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text("·", style="dim"), Text(line, style=style))
        yield Padding(grid, (0, 0, 0, _LABEL_WIDTH + 1))


def _accepted(message: Accepted, record: Optimization | None) -> Iterator[RenderableType]:
    request = message.request
    yield entry(
        "optimize",
        Text.assemble(
            (request.workload, "bold"), " on ", (", ".join(message.hosts), "bold"),
            (f"   {message.optimization}", "dim"),
        ),
    )  # fmt: skip
    if record is not None and record.because:
        yield entry("because of", record.because)
    if record is not None:
        wanted = limits.in_words(record.objective, limits.wanted_ratio(record.objective))
        guarded = "".join(
            f"; guarded: {limits.in_words(guardrail, limits.allowed_ratio(guardrail))}"
            for guardrail in record.guardrails
        )
        yield entry("", f"wanted: {wanted} the {limits.baseline(record.against)}'s{guarded}")
    budget = request.budget
    text = f"budget: {budget.rounds} paired rounds, {figures.seconds(budget.seconds)}"
    yield entry("", Text(text, style="dim"))


def _company(record: Optimization) -> Iterator[RenderableType]:
    """Who ran beside the workload: asked for, or found there when the turn came."""
    for each in record.beside:
        guarded = ", ".join(
            limits.in_words(guardrail, limits.allowed_ratio(guardrail))
            for guardrail in record.guardrails
            if guardrail.metric.startswith(neighbours_metric(each.workload, ""))
        )
        yield entry("beside", Text.assemble((each.workload, "bold"), f": {each.why}"))
        yield entry("", Text(f"guarded: {guarded}", style="dim"))
    if record.against is not None:
        kept = record.against
        text = f"compared with {kept.policy}, which {kept.optimization} has deployed: {kept.gained}"
        yield entry("", text)


def _profiled(message: Profiled, record: Optimization | None) -> Iterator[RenderableType]:
    profile = message.profile
    if profile is None:
        yield entry("observe", Text(f"{message.host}: {message.problem}", style="red"))
        return
    sure = f"{profile.confidence * 100:.0f} % sure"
    watched = f"watched for {figures.seconds(profile.seconds)}"
    text = Text(f"{message.host} is {profile.workload_class}", style="bold")
    yield entry("observe", text.append(f" ({sure}, {watched})", style="not bold dim"))
    yield entry("", profile.summary)
    if record is not None:
        yield from _company(record)


def _planned(plan: Plan) -> Iterator[RenderableType]:
    if plan.problem is not None:
        yield entry("plan", Text(str(plan.problem), style="red"))
        return
    yield entry("plan", Text.assemble((plan.kind, "bold"), f": {plan.why}"))
    for each in plan.declined:
        said = f"the mind {each.mind} was asked first: {each.problem}"
        yield entry("", Text(said, style="yellow"))
    for candidate in plan.candidates:
        text = Text.assemble(
            (candidate.policy, "bold green"),
            f" {parameters(candidate.parameters)}: {candidate.why}; predicts ratio ",
            (figures.ratio(candidate.predicted_ratio), "bold"),
            f" {figures.interval(candidate.predicted_low, candidate.predicted_high)}",
        )
        yield entry("", text)
    chosen = {candidate.policy for candidate in plan.candidates}
    left = [each for each in plan.considered if each.policy not in chosen]
    yield from _bullets(
        [f"{each.policy} ({each.score:.2f}): {each.reason}" for each in left], style="dim"
    )


def parameters(values: dict[str, int]) -> str:
    """A candidate's parameters in one line."""
    return " ".join(f"{name}={value}" for name, value in values.items()) or "with its defaults"


def _siege(artifact: Artifact) -> str:
    """Whether it was besieged in the gate's sandbox; empty for a gate that does not say."""
    told = {0.0: ", not besieged (the gate's sandbox is off)", 1.0: ", besieged"}
    return told.get(artifact.evidence.get("sandboxed", -1.0), "")


def _built(message: Built) -> Iterator[RenderableType]:
    if message.artifact is not None:
        artifact = message.artifact
        took = f" in {figures.seconds(message.cost.wall_s)}" if message.cost.wall_s else ""
        yield entry(
            "build",
            Text.assemble(
                ("✓ ", "green"), (message.policy, "bold"),
                f" passed the gate{took}: {artifact.size_bytes / 1024:.0f} KiB, ",
                (artifact.sha256[:12], "dim"),
                _siege(artifact),
            ),
        )  # fmt: skip
        return
    if message.problem is not None:
        yield entry("build", Text(f"✗ {message.policy}: {message.problem}", style="red"))
    for reason in message.reasons:
        where = f" (line {reason.line})" if reason.line else ""
        text = f"✗ {message.policy}: {reason.stage}/{reason.rule}{where}: {reason.text}"
        yield entry("build", Text(text, style="yellow"))


class RoundLine:
    """One pair, and where the trial stands after it; narrower terminals get less of it."""

    def __init__(self, measured: Round, judged: Judged | None) -> None:
        self._measured = measured
        self._judged = judged

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        line = self._pair()
        judged = self._judged
        if judged is not None and judged.pairs > 1:
            stands = Text("  median ", style="dim").append(figures.ratio(judged.ratio))
            stands.append(f" {figures.interval(judged.low, judged.high)}")
            room = options.max_width - line.cell_len - stands.cell_len - 2
            if room >= _NARROWEST_STRIP:
                width = min(_WIDEST_STRIP, room - 1 + room % 2)
                better = self._measured.spec.objective.direction
                line.append("  ").append_text(
                    figures.strip(judged.ratio, judged.low, judged.high, better=better, width=width)
                )
            line.append_text(stands)
        line.no_wrap, line.overflow = True, "ellipsis"
        yield line

    def _pair(self) -> Text:
        measured = self._measured
        objective = measured.spec.objective
        before = measured.baseline.get(objective.metric)
        after = measured.candidate.get(objective.metric)
        line = Text(" " * (_LABEL_WIDTH + 1))
        line.append(f"{measured.index + 1:>3} {measured.order} ", style="dim")
        if before is None or after is None:
            return line.append("no usable number", style="red")
        line.append(f"{figures.quantity(before, objective.unit):>10} → ")
        line.append(f"{figures.quantity(after, objective.unit):<10}")
        if before > 0:
            good = (after < before) == (objective.direction == "lower")
            shown = f" ×{figures.ratio(after / before):<6}"
            line.append(shown, style="green" if good else "red")
        return line


def _trial_ended(message: TrialEnded) -> Iterator[RenderableType]:
    if message.end in {"completed", "stopped"}:
        return
    yield entry("try", Text(f"✗ {message.end}: {message.problem or ''}".rstrip(": "), style="red"))
    if message.exit_record is not None:
        record = message.exit_record
        text = f"exit record: {record.kind_name} {record.reason} {record.message}".rstrip()
        yield entry("", Text(text, style="red"))
    if message.verifier_log:
        yield from _bullets(message.verifier_log.strip().splitlines()[-8:], style="dim")


def _deployed(message: Deployed) -> Iterator[RenderableType]:
    if message.problem is not None:
        yield entry("deploy", Text(f"✗ {message.host}: {message.problem}", style="red"))
        return
    state = message.state
    runs = f" runs {state.ops}" if state is not None else ""
    gap = f", attached in {message.gap_ns / 1e6:.0f} ms" if message.gap_ns else ""
    yield entry("deploy", Text.assemble(("✓ ", "green"), (message.host, "bold"), f"{runs}{gap}"))


def _confirmed(message: Confirmed) -> RenderableType:
    if message.problem is not None:
        return entry("confirm", Text(f"✗ {message.host}: {message.problem}", style="red"))
    return entry(
        "confirm", Text.assemble(("✓ ", "green"), (message.host, "bold"), " still runs it")
    )


def _ended(message: Ended, life: Life) -> Iterator[RenderableType]:
    """The terminal state, and why as far as no verdict has said it already."""
    style = TERMINAL_STYLES[message.terminal]
    yield entry("result", Text(message.terminal, style=style), style=style)
    words = [trial.decision for trial in life.trials.values()]
    yield from _bullets(
        untold(message.reasons, [word.reasons for word in words if word is not None])
    )


def untold(reasons: Iterable[str], told: Iterable[Sequence[str]]) -> list[str]:
    """Reasons of an end that repeat no verdict's: `told` has those of each verdict."""
    verdicts = [said for said in told if said]
    return [
        reason
        for reason in reasons
        if not any(reason in said or "; ".join(said) in reason for said in verdicts)
    ]
