"""An explanation as text: short sections, readable in 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli import figures
from cli.explaining.queue import COUNTERS, mean_wait_ms
from cli.follow.narrate import TERMINAL_STYLES, VERDICT_STYLES, parameters, untold
from cli.follow.views import PHASES
from cli.output import plain_table
from cli.policies.wording import hooks, origin
from cli.report.table import STATE_STYLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from cli.explaining.model import (
        Bound,
        Changed,
        Considered,
        Decision,
        Explanation,
        Placed,
        PolicyWords,
        Queue,
        Spent,
        Step,
        Tried,
        Trouble,
        Why,
        Worse,
    )
    from cli.report.model import MetricReport
    from shared.messages import Cost

_LABEL_WIDTH: Final = 10
_MOST_NAMES: Final = 6
_MOST_FEATURES: Final = 12

_FEATURES_OF_EFFORT: Final = frozenset({"seconds", "samples_count", "blind_share"})
"""Of the looking, not of the workload: the last ones to name as grounds of a plan."""

_STALLS: Final = {
    "a CPU": "psi_cpu_share",
    "storage": "psi_io_share",
    "memory": "psi_memory_share",
}


def explanation(found: Explanation) -> RenderableType:
    """All of it."""
    sections: list[RenderableType] = [_title(found)]
    for title, parts in (
        ("The decision", _decision(found, found.decision)),
        ("Why", _why(found.why)),
        ("What was tried", _all_tried(found)),
        ("What the policy does", _policies(found.policies)),
        ("Waiting for a CPU", _queue(found.queue)),
        ("Where time and money went", _spent(found.spent, over=found.over)),
        ("Hosts", _hosts(found)),
        ("What disappoints", _trouble(found.trouble, found.queue)),
        ("Not known", _bullets(found.unknown)),
    ):
        shown = list(parts)
        if shown:
            sections += [Text(f"\n{title}", "bold"), *(Padding(p, (0, 0, 0, 2)) for p in shown)]
    return Group(*sections)


def _title(found: Explanation) -> Text:
    terminal = found.decision.terminal
    state = terminal or PHASES.get(found.decision.phase, found.decision.phase)
    return Text.assemble(
        (state, TERMINAL_STYLES.get(terminal, "yellow")),
        (f"  {found.workload}", "bold"),
        *(f" beside {each.workload}" for each in found.beside),
        (f"  {found.optimization}", "dim"),
    )


# --- Lines -------------------------------------------------------------------------------------


def _row(label: str, text: Text | str, style: str = "dim") -> Table:
    """A label, and a paragraph that stays to the right of it."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=_LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style), text if isinstance(text, Text) else Text(text))
    return grid


def _bullets(lines: Iterable[str]) -> Iterator[RenderableType]:
    for line in lines:
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text("·", "dim"), Text(line))
        yield grid


def _grid(*columns: str, right: Sequence[str] = ()) -> Table:
    table = plain_table()
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in right else "left")
    return table


def _some(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _measured(ratio: float, low: float | None, high: float | None) -> str:
    shown = figures.ratio(ratio)
    return shown if low is None or high is None else f"{shown} {figures.interval(low, high)}"


# --- The decision ------------------------------------------------------------------------------


def _decision(found: Explanation, decision: Decision) -> Iterator[RenderableType]:
    if found.because:
        yield _row("because", found.because)
    objective = found.objective
    aim = "at most" if objective.direction == "lower" else "at least"
    wanted = f"{aim} {figures.ratio(decision.wanted)}× the {found.baseline}'s"
    yield _row("wanted", f"{objective.metric} {wanted}")
    if decision.candidate is None:
        yield _row("candidate", "none was tried" + ("" if found.over else " so far"))
    else:
        candidate = decision.candidate
        yield _row("candidate", Text(f"{candidate.policy} {candidate.version}", "bold"))
        yield _row("changed", _changed(decision.changed, candidate.parameters))
        yield _row("measured", _verdict(decision, objective.direction))
        yield from _predicted(decision)
    yield from _reasons(found)


def _changed(changed: Sequence[Changed], given: Mapping[str, int]) -> str:
    if not given:
        return "it has no parameters"
    if not changed:
        return "nothing: every parameter is at its default"
    return ", ".join(
        f"{each.name}={each.value:_}"
        + (f" (default {each.default:_})" if each.default is not None else " (default not known)")
        for each in changed
    )


def _verdict(decision: Decision, direction: str) -> Text:
    if decision.ratio is None or not decision.pairs:
        return Text("no pair was judged")
    return Text.assemble(
        (_measured(decision.ratio, decision.low, decision.high), "bold"),
        f" in {_count(decision.pairs, 'pair')}: {figures.change(decision.ratio, direction)}, ",
        (decision.verdict or "not judged", VERDICT_STYLES.get(decision.verdict, "dim")),
    )


def _predicted(decision: Decision) -> Iterator[RenderableType]:
    told = decision.prediction
    if told is None:
        return
    text = _measured(told.ratio, told.low, told.high)
    if told.came:
        text += f"; it came {told.came}"
        if told.came != "as predicted":
            common = "overlap" if told.overlaps else "have nothing in common"
            text += f", and the two ranges {common}"
    yield _row("predicted", text)


def _reasons(found: Explanation) -> Iterator[RenderableType]:
    """Those of the trial that decided, and what the planner said beyond any trial's."""
    own = [trial.reasons for trial in found.tried if trial.trial == found.decision.trial]
    more = untold(found.decision.reasons, [trial.reasons for trial in found.tried])
    for number, reason in enumerate([*(each for said in own for each in said), *more]):
        yield _row("" if number else "reasons", reason)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number:,} {what}s"


# --- Why ---------------------------------------------------------------------------------------


def _why(why: Why | None) -> Iterator[RenderableType]:
    if why is None:
        yield Text("There is no plan.")
        return
    again = f", asked {why.asked} times" if why.asked > 1 else ""
    yield _row("mind", f"{why.mind}: {why.kind}{again}")
    if why.problem is not None:
        yield _row("problem", Text(str(why.problem), "red"))
    if why.why:
        yield _row("why", why.why)
    for declined in why.declined:
        text = f"the mind {declined.mind} was asked first: {declined.problem}"
        yield _row("declined", Text(text, "yellow"))
    if why.workload_class:
        sure = f" ({why.confidence * 100:.0f} % sure)" if why.confidence is not None else ""
        yield _row("behaviour", f"{why.workload_class}{sure}: {why.profile}")
    if why.evidence:
        yield _row("evidence", _features(why.evidence))
    yield from _memory(why)
    for label, looked_at in (("taken", why.taken), ("left", why.left)):
        for number, each in enumerate(looked_at):
            yield _row("" if number else label, _considered(each))


def _features(evidence: Mapping[str, float]) -> str:
    """As many as are read; the embedded mind gives the whole profile as its grounds."""
    told = sorted(evidence, key=lambda name: name in _FEATURES_OF_EFFORT)
    shown = [f"{name} {figures.number(evidence[name])}" for name in told[:_MOST_FEATURES]]
    more = len(told) - len(shown)
    return ", ".join(shown) + (f" and {more} more (--json has all)" if more > 0 else "")


def _memory(why: Why) -> Iterator[RenderableType]:
    if why.recalled is not None:
        told = why.recalled
        text = f"it starts from {told.optimization}"
        if not told.state:
            text += ", whose record is not kept any more"
        elif told.ratio is not None:
            ratio = figures.ratio(told.ratio)
            text += f": {told.state} at ratio {ratio} in {_count(told.rounds, 'pair')}"
        yield _row("recalled", text)
    if why.remembered_exact is not None and why.remembered_near is not None:
        exact = _count(why.remembered_exact, "outcome")
        text = f"{exact} of this fingerprint, {why.remembered_near} of similar ones were known"
        yield _row("memory", text)


def _considered(each: Considered) -> Text:
    score = f" ({each.score:.2f})" if each.score is not None else ""
    return Text.assemble((each.policy, "bold"), f"{score}: {each.reason}".rstrip(": "))


# --- What was tried ----------------------------------------------------------------------------


def _all_tried(found: Explanation) -> Iterator[RenderableType]:
    for refused in found.refused:
        for reason in refused.reasons:
            where = f" (line {reason.line})" if reason.line else ""
            text = f"{refused.policy}: {reason.stage}/{reason.rule}{where}: {reason.text}"
            yield _row("gate said", Text(text, "yellow"))
        if refused.problem is not None:
            yield _row("gate said", Text(f"{refused.policy}: {refused.problem}", "red"))
    for number, trial in enumerate(found.tried):
        if number or found.refused:
            yield Text()
        yield from _tried(trial, told=trial.trial == found.decision.trial)
    if not found.tried and not found.refused:
        yield Text("Nothing was tried." if found.over else "Nothing was tried so far.")


def _tried(trial: Tried, *, told: bool) -> Iterator[RenderableType]:
    """One trial; its reasons if they were not told with the decision."""
    candidate = trial.candidate
    yield Text.assemble(
        (f"{trial.stage} {candidate.policy}", "bold"),
        f" {parameters(candidate.parameters)}",
        (f" on {trial.host}", "dim"),
    )
    if candidate.why:
        yield _row("because", candidate.why)
    word = Text(f"{trial.pairs} of at most {_count(trial.most_pairs, 'pair')}")
    if trial.ratio is not None and trial.pairs:
        word.append(f", ratio {_measured(trial.ratio, trial.low, trial.high)}: ")
        word.append(trial.verdict or "not judged", VERDICT_STYLES.get(trial.verdict, "dim"))
    yield _row("judged", word)
    for number, reason in enumerate([] if told else trial.reasons):
        yield _row("" if number else "reasons", reason)
    if trial.metrics:
        yield _metrics(trial.metrics)
    for number, bound in enumerate(trial.guardrails):
        yield _row("" if number else "guardrail", _bound(bound))
    yield from _ended(trial)


def _metrics(metrics: Sequence[MetricReport]) -> Table:
    """Before and after: medians over the rounds."""
    table = _grid("metric", "before", "after", "ratio", right=("before", "after"))
    for each in metrics:
        ratio = "?" if each.ratio is None else _measured(each.ratio, each.low, each.high)
        table.add_row(
            Text(each.metric, "bold" if each.role == "objective" else ""),
            figures.quantity(each.baseline, each.unit),
            figures.quantity(each.candidate, each.unit),
            ratio,
            style="dim" if each.role == "other" else "",
        )
    return table


def _bound(bound: Bound) -> Text:
    side = "at most" if bound.direction == "lower" else "at least"
    text = Text.assemble(
        f"{bound.metric} {_measured(bound.ratio, bound.low, bound.high)}, ",
        f"{side} {figures.ratio(bound.allowed)} is allowed: ",
        (bound.state, STATE_STYLES[bound.state]),
    )
    if bound.used is not None and bound.used > 0:
        text.append(f", {bound.used * 100:.0f} % of that used up")
    return text


def _ended(trial: Tried) -> Iterator[RenderableType]:
    if not trial.end:
        yield _row("end", "it has not ended")
        return
    good = trial.end in {"completed", "stopped"}
    kept = f"; remembered as {trial.remembered}" if trial.remembered else ""
    what = f": {trial.problem}" if trial.problem is not None else ""
    yield _row("end", Text(f"{trial.end}{what}{kept}", "" if good else "red"))
    if trial.exit_record is not None:
        left = trial.exit_record
        parts = [left.kind_name, left.reason, left.message, left.explanation]
        yield _row("exit", Text(": ".join(part for part in parts if part), "red"))


# --- The policy --------------------------------------------------------------------------------


def _policies(policies: Sequence[PolicyWords]) -> Iterator[RenderableType]:
    """The one that decided in full, of the others what they are for."""
    for number, policy in enumerate(policies):
        head = Text.assemble((f"{policy.name} {policy.version}", "bold"))
        if not policy.known:
            yield head.append(": this machine's catalogue does not have it in this version")
            continue
        yield head.append(f": {policy.summary}")
        if number:
            continue
        if policy.overview and policy.overview != policy.summary:
            yield _row("hooks", policy.overview)
        if policy.made is not None:
            yield _row("made", Text(origin(policy.made)))
            yield Padding(hooks(policy.made), (0, 0, 0, 4))
        if policy.when_not:
            yield _row("not for", policy.when_not)
        if policy.longest_wait_s is not None:
            bound = f"{policy.longest_wait_s:.1f} s with 1000 tasks in a queue, whatever it does"
            yield _row("waits", f"no runnable task waits longer than {bound}")
        for each in policy.parameters:
            default = "its default" if each.value == each.default else f"default {each.default:_}"
            yield _row("", Text.assemble((f"{each.name} = {each.value:_}", "bold"),
                f" {each.unit} ({default}): {each.summary}"))  # fmt: skip


# --- The run queue -----------------------------------------------------------------------------


def _queue(queue: Queue) -> Iterator[RenderableType]:
    if queue.waited:
        yield Text("before, while the workload was profiled:", "dim")
        table = _grid(
            "who", "at a time", "a run", "a wait", "p99",
            right=("at a time", "a run", "a wait", "p99"),
        )  # fmt: skip
        for each in queue.waited:
            table.add_row(
                each.who,
                figures.number(each.count) if each.count is not None else "?",
                *(_ms(value) for value in (each.run_mean_ms, each.wait_mean_ms, each.wait_p99_ms)),
            )
        yield table
    if queue.host:
        yield _row("the host", ", ".join(_feature(*item) for item in queue.host.items()))
    counted = queue.counted
    if counted is None:
        yield _row("after", "not measured: no pair with counters")
        return
    runs = _count(counted.runs_of_workload, "run")
    yield Text(f"with the candidate, all tasks of the host in {runs} of the workload:", "dim")
    yield _row("waits", f"{_ms(counted.wait_mean_ms)} on average, {_ms(counted.wait_longest_ms)} "
               "the longest since it was attached")  # fmt: skip
    for name, value in _telling(counted.counters):
        yield _row("", f"{figures.number(value)} {COUNTERS.get(name, name)}")


def _telling(counters: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Counters with something in them, in the frame's order; those we have no words for last."""
    for name in (*COUNTERS, *sorted(counters.keys() - COUNTERS.keys())):
        if counters.get(name) and not name.startswith("wait_"):
            yield name, counters[name]


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{figures.number(value)} ms"


def _feature(name: str, value: float) -> str:
    if name.endswith("_share"):
        return f"{name.removesuffix('_share')} {value * 100:.0f} %"
    if name.endswith("_ms"):
        return f"{name.removesuffix('_ms')} {_ms(value)}"
    return f"{name} {figures.number(value)}"


# --- Time and money ----------------------------------------------------------------------------


def _spent(spent: Spent, *, over: bool) -> Iterator[RenderableType]:
    yield _row("in all", figures.seconds(spent.seconds) + ("" if over else " so far"))
    for number, each in enumerate(spent.phases):
        line = Text(f"{each.phase:<12}{figures.seconds(each.seconds):>12}{each.share * 100:5.0f} %")
        line.append("  ").append_text(figures.bar(each.share, 20))
        yield _row("" if number else "phases", line)
    rounds = spent.rounds
    if rounds.pairs:
        mean = figures.seconds(rounds.seconds / rounds.pairs)
        text = f"{_count(rounds.pairs, 'pair')} in {figures.seconds(rounds.seconds)}, {mean} each"
        if rounds.waiting_s is not None:
            text += f"; {figures.seconds(rounds.waiting_s)} of trying outside of any pair"
        yield _row("measured", text)
    if spent.stages:
        yield _row("charged", ", ".join(_stage(*item) for item in spent.stages.items()))
    yield _row("model", _model(spent))


def _stage(stage: str, cost: Cost) -> str:
    cpu = f" ({figures.seconds(cost.cpu_s)} of CPU)" if cost.cpu_s else ""
    return f"{stage} {figures.seconds(cost.wall_s)}{cpu}"


def _model(spent: Spent) -> str:
    model = spent.model
    if model is None:
        return "none was asked: no tokens, no money"
    parts = [", ".join(model.models)] if model.models else []
    if model.calls is not None and model.seconds is not None:
        parts.append(f"{_count(model.calls, 'answer')} in {figures.seconds(model.seconds)}")
    tokens = _count(model.tokens, "token")
    if model.input_tokens is not None and model.output_tokens is not None:
        tokens += f" ({model.input_tokens:,} in, {model.output_tokens:,} out)"
    return ", ".join([*parts, tokens, f"${model.dollars:.4f}"])


# --- Hosts -------------------------------------------------------------------------------------


def _hosts(found: Explanation) -> Iterator[RenderableType]:
    groups: dict[str, list[str]] = {}
    for host in found.hosts:
        groups.setdefault(_stands(host), []).append(host.host)
    for stands, names in groups.items():
        yield _row("now", f"{_some(names)}: {stands}")
    control = [host.host for host in found.hosts if host.role == "control"]
    if control:
        yield _row("held out", f"{_some(control)}, to compare with")
    for step in found.steps:
        yield _row(_step_name(step), _step(step))
    for host in [host for host in found.hosts if host.problem is not None][:_MOST_NAMES]:
        yield _row("trouble", Text(f"{host.host}: {host.problem}", "red"))
    for host in [host for host in found.hosts if host.reverted][:_MOST_NAMES]:
        yield _row("reverted", Text(f"{host.host}: {host.reverted}", "yellow"))
    yield from _confirmed(found.hosts)


def _stands(host: Placed) -> str:
    if not host.runs:
        return "what it runs now is not known"
    if host.has_it:
        return f"{host.runs}, by this one"
    return f"{host.runs}, not by this one any more" if host.deployed else host.runs


def _step_name(step: Step) -> str:
    return "canary" if step.number == 0 else f"cohort {step.number}"


def _step(step: Step) -> str:
    text = f"{_some(step.hosts)}: {step.stage}"
    if step.weighed is not None:
        word = step.weighed
        ratio = f", waits at {figures.ratio(word.ratio)}×" if word.verdict != "untold" else ""
        text += f"; {word.verdict}{ratio}: {' '.join(word.reasons)}".rstrip(": ")
    return text


def _confirmed(hosts: Sequence[Placed]) -> Iterator[RenderableType]:
    """What the frame had counted when it was asked whether the candidate still ran."""
    for host in [host for host in hosts if host.counters][:_MOST_NAMES]:
        counters = host.counters
        longest_ns = counters.get("wait_max_ns")
        longest = f", {_ms(longest_ns / 1e6)} the longest" if longest_ns is not None else ""
        text = f"{host.host}: {figures.number(counters.get('runs', 0))} runs"
        yield _row("counted", f"{text}, waits of {_ms(mean_wait_ms(counters))}{longest}")


# --- What disappoints --------------------------------------------------------------------------


def _trouble(trouble: Trouble | None, queue: Queue) -> Iterator[RenderableType]:
    if trouble is None:
        return
    yield from _bullets(trouble.why)
    for each in trouble.worse:
        yield _row("worse", _worse(each))
    for number, moved in enumerate(trouble.moved):
        text = (
            f"{moved.metric} {figures.quantity(moved.baseline, moved.unit)} → "
            f"{figures.quantity(moved.candidate, moved.unit)}, {figures.ratio(moved.ratio)}×"
        )
        if moved.summary:
            text += f" ({moved.summary})"
        yield _row("" if number else "moved too", text)
    if trouble.worse:
        yield from _who_waited(queue)
    for number, (comm, what) in enumerate(trouble.victims.items()):
        yield _row("" if number else "victims", f"{comm}: {what}")
    for number, step in enumerate(trouble.next):
        yield _row("" if number else "next", Text.assemble((step.command, "bold"), f"\n{step.why}"))


def _who_waited(queue: Queue) -> Iterator[RenderableType]:
    """The tasks that waited longest in the profile, and what tasks of the host stalled on."""
    kinds = [each for each in queue.waited if each.who != "all tasks"] or queue.waited
    longest = max(kinds, key=lambda each: each.wait_p99_ms or 0.0, default=None)
    if longest is not None and longest.wait_p99_ms:
        text = f"{longest.who} longest: p99 {_ms(longest.wait_p99_ms)} for a CPU"
        yield _row("waited", f"{text}, in the profile, before any candidate")
    stalls = [
        f"{what} {queue.host[name] * 100:.0f} %"
        for what, name in _STALLS.items()
        if name in queue.host
    ]
    if stalls:
        yield _row("on what", f"some task of the host was stalled on {', '.join(stalls)} of "
                   "the time")  # fmt: skip


def _worse(each: Worse) -> Text:
    side = "at most" if each.direction == "lower" else "at least"
    asked = "wanted" if each.role == "objective" else "allowed"
    worst = each.worst
    first = "baseline" if worst.order == "AB" else "candidate"
    return Text.assemble(
        (each.metric, "bold"),
        f" of {each.policy}: {figures.change(each.ratio, each.direction)}, "
        f"{side} {figures.ratio(each.limit)}× was {asked}; "
        f"worse in {each.pairs_worse} of {_count(each.pairs, 'pair')}, most in pair "
        f"{worst.index + 1} ({first} first): {figures.quantity(worst.baseline, each.unit)} → "
        f"{figures.quantity(worst.candidate, each.unit)}, {figures.ratio(worst.ratio)}×",
    )
