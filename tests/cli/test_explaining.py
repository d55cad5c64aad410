from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from msgspec.structs import replace

from cli.explaining import gather
from cli.explaining.compose import explain
from cli.explaining.draw import explanation
from cli.explaining.known import Known
from cli.explaining.model import Explanation
from cli.explaining.policies import section
from cli.follow.facts import Fact
from cli.follow.life import Life
from cli.harmless import HarmlessConsole
from cli.report.compose import compose
from cli.schema import schema_of
from shared import attributes as names
from shared.bus import Bus
from shared.errors import Problem
from shared.messages import (
    Confirmed,
    Consideration,
    Cost,
    Declined,
    ExitRecord,
    Message,
    Plan,
    Profile,
    Remembered,
    Round,
    SchedulerState,
    Vitals,
    Weighed,
)
from shared.optimization import CohortRecord, Optimization
from shared.telemetry.records import SpanRecord
from shared.telemetry.store import Trace
from tests.cli.conftest import CoxOnBus
from tests.cli.recorded import CANDIDATE, Recorded, optimization, rejected, span

STEP_NS = 10_000_000_000
"""Between one event and the next."""

FEATURES = {
    "tasks_mean_count": 6.0,
    "wait_mean_ms": 3.0,
    "wait_p99_ms": 21.0,
    "run_mean_ms": 4.0,
    "hog_count": 4.0,
    "hog_wait_mean_ms": 2.0,
    "hog_wait_p99_ms": 9.0,
    "hog_run_mean_ms": 4.5,
    "sleeper_count": 2.0,
    "sleeper_wait_mean_ms": 7.0,
    "sleeper_wait_p99_ms": 31.5,
    "short_count": 0.0,
    "short_wait_mean_ms": 0.0,
    "psi_cpu_share": 0.83,
    "psi_io_share": 0.02,
    "host_wait_mean_ms": 2.5,
}


def known(
    recorded: Recorded,
    *,
    spans: Sequence[SpanRecord] = (),
    recalled: Optimization | None = None,
    states: dict[str, SchedulerState] | None = None,
) -> Known:
    """What a bus would have told, its events ten seconds apart."""
    record = recorded.record
    life = Life()
    at_ns = record.created_unix_ns
    for number, (service, name, message) in enumerate(recorded.events):
        at_ns = record.created_unix_ns + number * STEP_NS
        life.take(Fact(service=service, name=name, message=message, unix_ns=at_ns, sequence=number))
    return Known(
        record=record,
        life=life,
        report=compose(record, life, {}),
        now_unix_ns=at_ns + STEP_NS,
        trace=Trace(trace_id=record.trace_id, spans=tuple(spans)) if spans else None,
        policies=gather.written(record),
        workload=gather.workload_of(record.request.workload),
        recalled=recalled,
        states=states or {},
    )


def text_of(found: Explanation, width: int = 80) -> str:
    console = HarmlessConsole(width=width, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(explanation(found))
    return captured.get()


def flat(found: Explanation) -> str:
    """Its text without line breaks, for what may stand on two lines."""
    return " ".join(text_of(found).split())


def edited(recorded: Recorded, **fields: object) -> Recorded:
    return Recorded(replace(recorded.record, **fields), recorded.events)


def with_profile(recorded: Recorded) -> Recorded:
    profile = recorded.record.profile
    assert isinstance(profile, Profile)
    return edited(recorded, profile=replace(profile, features=FEATURES))


def with_counters(recorded: Recorded) -> Recorded:
    """Each pair's candidate counted two waits of 1 ms, the longest of them growing."""
    events: list[tuple[str, str, Message]] = [
        (
            service,
            fact,
            replace(
                message,
                counters={
                    "runs": 2,
                    "wait_ns": 2_000_000,
                    "wait_max_ns": 1_000_000 * (message.index + 1),
                    "preemptions": 5,
                },
            )
            if isinstance(message, Round)
            else message,
        )
        for service, fact, message in recorded.events
    ]
    return Recorded(recorded.record, events)


def faulty() -> Recorded:
    """Its candidate was thrown out by the kernel's watchdog in the fifth pair."""
    recorded = optimization(pairs=4)
    (trial,) = recorded.record.trials
    assert trial.ended is not None
    ended = replace(
        trial.ended,
        end="fault",
        problem=Problem(what="the kernel ended the scheduler", kind="LoadError"),
        exit_record=ExitRecord(
            kind=1026, kind_name="SCX_EXIT_ERROR_STALL", message="hog[7] failed to run for 10 s"
        ),
    )
    record = replace(
        recorded.record,
        trials=[replace(trial, ended=ended)],
        winner=None,
        terminal="failed",
        reasons=["latency: fault: the kernel ended the scheduler"],
    )
    return Recorded(record, recorded.events)


def cancelled_early() -> Recorded:
    """Before anybody had looked at its workload."""
    recorded = optimization()
    record = replace(
        recorded.record,
        profile=None,
        fingerprint=None,
        plan=None,
        builds={},
        trials=[],
        winner=None,
        deployments={},
        terminal="cancelled",
        reasons=["asked to"],
        costs={},
    )
    return Recorded(record, [*recorded.events[:2], recorded.events[-1]])


def planned_by_a_model() -> tuple[Recorded, list[SpanRecord]]:
    """A model gave no plan, so the embedded mind did; and what its calls left in the trace."""
    recorded = optimization()
    plan = recorded.record.plan
    assert isinstance(plan, Plan)
    plan = replace(
        plan,
        declined=[
            Declined(
                mind="llm", problem=Problem(kind="PlanError", what="the model proposed nothing")
            )
        ],
        cost=Cost(wall_s=9.0, tokens=1500, dollars=0.0123),
        evidence={"wait_p99_ms": 21.0},
        recalled="o0",
    )
    recorded = edited(
        recorded,
        plan=plan,
        plans_asked=2,
        costs={**recorded.record.costs, "plan": plan.cost},
    )
    record = recorded.record
    root = span(record, "optimize wakeup", "planner", "a" * 16, "")
    thinking = span(record, "plan llm", "planner", "b" * 16, root.span_id)
    calls = [
        replace(
            span(record, "chat some-model", "planner", letter * 16, thinking.span_id),
            attributes={
                names.GEN_AI_REQUEST_MODEL: "some-model",
                names.GEN_AI_INPUT_TOKENS: 700,
                names.GEN_AI_OUTPUT_TOKENS: 50,
            },
        )
        for letter in "cd"
    ]
    recall = replace(
        span(record, "recall", "learner", "e" * 16, thinking.span_id),
        attributes={names.RECALL_EXACT: 3, names.RECALL_NEAR: 4},
    )
    # Another part of the same request asked as well: none of this one's business.
    other = replace(
        span(record, "chat some-model", "planner", "f" * 16, root.span_id),
        attributes={names.OPTIMIZATION_ID: "another", names.GEN_AI_INPUT_TOKENS: 9999},
    )
    return recorded, [root, thinking, *calls, recall, other]


def rolled_out() -> Recorded:
    """A canary, a cohort of one, and a host held out."""
    recorded = optimization()

    def looks(wait_s: float, soaking_s: float) -> dict[str, Vitals | None]:
        """One second of work before and one while it soaked, with so much waiting each."""
        marks = {"before-0": (0, 0.0), "before-1": (1, wait_s)}
        marks |= {"soak-1-0": (2, wait_s), "soak-1-1": (3, wait_s + soaking_s)}
        return {
            mark: Vitals(
                boot_id="boot", at_ns=at * 10**9, run_ns=at * 10**9, wait_ns=round(waited * 1e9)
            )
            for mark, (at, waited) in marks.items()
        }

    weighed = Weighed(
        optimization=recorded.record.id, cohort=1, verdict="untold", reasons=["too few hosts."]
    )
    confirmed = Confirmed(
        optimization=recorded.record.id,
        host="lab-2",
        counters={"runs": 1000, "wait_ns": 500_000_000, "wait_max_ns": 40_000_000},
    )
    record = replace(
        recorded.record,
        hosts=["lab-1", "lab-2", "lab-3"],
        control=["lab-3"],
        confirmed=["lab-1", "lab-2"],
        cohorts=[
            CohortRecord(hosts=["lab-1"], stage="done", asked=1),
            CohortRecord(hosts=["lab-2"], stage="done", asked=1, weighed=weighed),
        ],
        vitals={"lab-2": looks(0.5, 0.4), "lab-3": looks(0.5, 0.6)},
    )
    events = [*recorded.events[:-1], ("executor", "confirmed", confirmed), recorded.events[-1]]
    return Recorded(record, events)


# --- The decision and its grounds --------------------------------------------------------------


def test_a_promotion_is_told_with_what_was_predicted_and_before_and_after() -> None:
    found = explain(known(optimization()))
    decision = found.decision
    assert (decision.terminal, decision.verdict) == ("promoted", "promote")
    assert decision.candidate == CANDIDATE
    assert decision.wanted == pytest.approx(0.95)
    assert decision.prediction is not None
    assert (decision.prediction.ratio, decision.prediction.came) == (0.5, "as predicted")
    (trial,) = found.tried
    objective = trial.metrics[0]
    assert objective.ratio is not None
    assert objective.candidate < objective.baseline
    assert [each.metric for each in trial.guardrails] == ["requests_per_s"]
    assert trial.guardrails[0].allowed == pytest.approx(1 / 1.05)
    assert found.trouble is None
    shown = flat(found)
    assert "it came as predicted" in shown
    assert "What disappoints" not in shown


@pytest.mark.parametrize(
    ("gain", "came", "overlaps"),
    [(0.45, "as predicted", True), (0.1, "better than predicted", False)],
)
def test_the_mind_s_prediction_is_held_against_what_came(
    gain: float,
    came: str,
    overlaps: bool,  # noqa: FBT001 - a case of the table above
) -> None:
    prediction = explain(known(optimization(gain=gain))).decision.prediction
    assert prediction is not None
    assert (prediction.came, prediction.overlaps) == (came, overlaps)


def test_parameters_that_differ_from_their_defaults_are_told_apart() -> None:
    recorded = optimization()
    trial = recorded.record.trials[0]
    tuned = replace(CANDIDATE, parameters={"short_ns": 8_000_000, "slice_ns": 8_000_000})
    trials = [replace(trial, candidate=tuned)]
    found = explain(known(edited(recorded, trials=trials, winner=trials[0])))
    assert [(each.name, each.value, each.default) for each in found.decision.changed] == [
        ("short_ns", 8_000_000, 2_000_000)
    ]
    assert "short_ns=8_000_000 (default 2_000_000)" in flat(found)
    described = {each.name: each for each in found.policies[0].parameters}
    assert described["slice_ns"].summary
    assert "slice_ns = 8_000_000 ns (its default)" in flat(found)


def test_a_policy_of_another_version_gets_no_words_of_this_one() -> None:
    recorded = optimization()
    trial = recorded.record.trials[0]
    trials = [replace(trial, candidate=replace(CANDIDATE, version="9.9.9"))]
    found = explain(known(edited(recorded, trials=trials, winner=trials[0])))
    policy = found.policies[0]
    assert (policy.version, policy.known, policy.overview) == ("9.9.9", False, "")
    assert found.decision.changed[0].default is None
    assert "does not have it in this version" in flat(found)


def test_what_else_was_considered_stands_with_why_it_was_left() -> None:
    recorded = optimization()
    plan = recorded.record.plan
    assert plan is not None
    second = replace(CANDIDATE, parameters={"short_ns": 4_000_000})
    plan = replace(plan, candidates=[CANDIDATE, second])
    events: list[tuple[str, str, Message]] = [
        (service, fact, plan if isinstance(message, Plan) else message)
        for service, fact, message in recorded.events
    ]
    found = explain(known(Recorded(replace(recorded.record, plan=plan), events)))
    assert found.why is not None
    assert [each.policy for each in found.why.taken] == ["latency"]
    left = {each.policy: each.reason for each in found.why.left}
    assert left["longtail"] == "no batch in sight"
    assert "no trial of it was begun" in left["latency short_ns=4000000"]
    kept = edited(Recorded(recorded.record, events))
    left = {each.policy: each.reason for each in explain(known(kept)).why.left}  # type: ignore[union-attr]
    assert "the canary keeps it already" in left["latency short_ns=4000000"]


def test_a_mind_that_declined_and_what_a_model_cost_are_told() -> None:
    recorded, spans = planned_by_a_model()
    remembered = optimization().record
    found = explain(known(recorded, spans=spans, recalled=replace(remembered, id="o0")))
    why = found.why
    assert why is not None
    assert [each.mind for each in why.declined] == ["llm"]
    assert (why.remembered_exact, why.remembered_near) == (3, 4)
    assert why.recalled is not None
    assert (why.recalled.optimization, why.recalled.state) == ("o0", "promoted")
    model = found.spent.model
    assert model is not None
    assert (model.models, model.calls) == (["some-model"], 2)
    assert (model.input_tokens, model.output_tokens, model.tokens) == (1400, 100, 1500)
    shown = flat(found)
    assert "the mind llm was asked first: the model proposed nothing" in shown
    assert "wait_p99_ms 21" in shown
    assert "asked 2 times" in shown
    assert "some-model, 2 answers in 0.0 s, 1,500 tokens (1,400 in, 100 out), $0.0123" in shown
    assert "3 outcomes of this fingerprint, 4 of similar ones were known" in shown


def test_without_spans_a_model_s_calls_are_not_known_and_its_price_is() -> None:
    recorded, _ = planned_by_a_model()
    found = explain(known(recorded))
    model = found.spent.model
    assert model is not None
    assert (model.calls, model.input_tokens, model.tokens) == (None, None, 1500)
    assert any("spans" in each for each in found.unknown)
    assert found.why is not None
    assert found.why.recalled is not None
    assert found.why.recalled.state == ""
    assert "whose record is not kept any more" in flat(found)


# --- Time, and the run queue -------------------------------------------------------------------


def test_phases_add_up_to_the_time_between_the_events() -> None:
    recorded = optimization()
    spent = explain(known(recorded)).spent
    # Accepted, profiling, profiled, planning, planned, building, built, trying, …, ended.
    assert [each.phase for each in spent.phases] == [
        *("queued", "profiling", "planning", "building", "trying")
    ]
    whole = (len(recorded.events) - 1) * STEP_NS / 1e9
    assert sum(each.seconds for each in spent.phases) == pytest.approx(whole)
    assert sum(each.share for each in spent.phases) == pytest.approx(1.0)
    assert spent.phases[1].seconds == pytest.approx(20.0)
    pairs = recorded.record.trials[0].pairs
    assert spent.rounds.pairs == pairs
    assert spent.rounds.seconds == pytest.approx(9.1 * pairs)
    assert spent.rounds.waiting_s == pytest.approx(spent.phases[-1].seconds - 9.1 * pairs)
    assert spent.model is None
    assert spent.seconds == pytest.approx(150.0)


def test_events_that_are_gone_leave_the_phases_unknown() -> None:
    recorded = optimization()
    found = explain(known(Recorded(recorded.record, [])))
    assert found.spent.phases == []
    assert found.spent.rounds.waiting_s is None
    assert any("each phase" in each for each in found.unknown)
    assert any("raw rounds" in each for each in found.unknown)
    assert found.decision.ratio is not None
    assert text_of(found)


def test_who_waited_before_and_how_long_with_the_candidate() -> None:
    found = explain(known(with_counters(with_profile(optimization()))))
    waited = {each.who: each for each in found.queue.waited}
    assert set(waited) == {"all tasks", "hogs", "sleepers"}
    assert waited["sleepers"].wait_p99_ms == 31.5
    assert waited["sleepers"].run_mean_ms is None
    counted = found.queue.counted
    pairs = found.tried[0].pairs
    assert counted is not None
    assert counted.counters["runs"] == 2 * pairs
    assert counted.wait_mean_ms == pytest.approx(1.0)
    assert counted.wait_longest_ms == pytest.approx(float(pairs))
    shown = flat(found)
    assert "1 ms on average" in shown
    assert f"{5 * pairs} a waking task took a CPU from another" in shown
    assert "sleepers 2 not measured 7 ms 31.5 ms" in shown


def test_no_counters_are_said_to_be_not_measured() -> None:
    found = explain(known(optimization()))
    assert found.queue.counted is None
    assert "not measured: no pair with counters" in flat(found)
    assert any("no counters" in each for each in found.unknown)


# --- Hosts -------------------------------------------------------------------------------------


def test_hosts_stand_with_what_they_run_now_and_what_was_counted() -> None:
    recorded = rolled_out()
    state = SchedulerState(
        host="lab-1",
        boot_id="boot",
        state="enabled",
        ops="coxswain_latency",
        ours=True,
        policy="latency",
        purpose="deployed",
        optimization=recorded.record.id,
    )
    states = {
        "lab-1": state,
        "lab-2": SchedulerState(host="lab-2", boot_id="boot", state="disabled"),
    }
    found = explain(known(recorded, states=states))
    hosts = {each.host: each for each in found.hosts}
    assert [hosts[name].role for name in ("lab-1", "lab-2", "lab-3")] == [
        *("canary", "rollout", "control")
    ]
    assert hosts["lab-1"].has_it
    assert not hosts["lab-2"].has_it
    assert hosts["lab-2"].confirmed
    assert hosts["lab-2"].counters["runs"] == 1000
    assert found.steps[1].weighed is not None
    (treated,), (control,) = found.steps[1].treated, found.steps[1].control
    assert (treated.host, treated.before.wait_s) == ("lab-2", 0.5)
    assert treated.soaking.wait_s == pytest.approx(0.4)
    assert control.soaking.wait_s == pytest.approx(0.6)
    shown = flat(found)
    assert "lab-1: latency, by this one" in shown
    assert "lab-2: the kernel's default, not by this one any more" in shown
    assert "lab-3: what it runs now is not known" in shown
    assert "lab-2: done; untold: too few hosts." in shown
    assert "lab-2: 1 000 runs, waits of 0.500 ms, 40 ms the longest" in shown.replace("\u2009", " ")


# --- What disappoints --------------------------------------------------------------------------


def test_harm_is_told_with_its_worst_pair_who_waited_and_a_next_step() -> None:
    recorded = with_profile(optimization(gain=0.9, harm=0.8))
    measured = [message for _, _, message in recorded.events if isinstance(message, Round)]
    found = explain(known(recorded))
    trouble = found.trouble
    assert trouble is not None
    (worse,) = trouble.worse
    assert (worse.metric, worse.role, worse.state) == ("requests_per_s", "guardrail", "violated")
    assert (worse.pairs, worse.pairs_worse) == (len(measured), len(measured))
    ratios = [r.candidate["requests_per_s"] / r.baseline["requests_per_s"] for r in measured]
    assert worse.worst.ratio == min(ratios)
    assert worse.worst.index == measured[ratios.index(min(ratios))].index
    assert trouble.why == [
        "it ended as kept-default",
        "guardrail requests_per_s is beyond what it allows",
    ]
    assert trouble.next[0].command == "cox policies show latency"
    shown = flat(found)
    assert "sleepers longest: p99 31.5 ms for a CPU, in the profile" in shown
    assert "stalled on a CPU 83 %, storage 2 % of the time" in shown
    assert "hog: CPU hogs" in shown


def test_an_objective_that_got_worse_is_said_to_have() -> None:
    found = explain(known(optimization(gain=1.5)))
    assert found.trouble is not None
    assert "the objective wakeup_p99_us got worse" in found.trouble.why
    assert [each.role for each in found.trouble.worse] == ["objective"]
    assert "at most 0.950× was wanted" in flat(found)


def test_a_promotion_with_a_guardrail_near_its_bound_is_worth_a_look() -> None:
    found = explain(known(optimization(harm=0.97)))
    assert found.decision.terminal == "promoted"
    assert found.trouble is not None
    assert found.trouble.why == ["guardrail requests_per_s is near what it allows"]
    (bound,) = found.tried[0].guardrails
    assert bound.used is not None
    assert 0.5 <= bound.used < 1


def test_a_small_price_well_within_a_guardrail_disappoints_nobody() -> None:
    assert explain(known(optimization(harm=0.99))).trouble is None


def test_a_gain_that_could_not_be_proven_is_offered_more_rounds() -> None:
    found = explain(known(optimization(gain=0.7, noise=1.2, pairs=8)))
    assert found.decision.verdict == "inconclusive"
    assert found.trouble is not None
    commands = [each.command for each in found.trouble.next]
    assert "cox optimize wakeup --hosts lab-1,lab-2 --rounds 48" in commands


def test_a_fault_is_told_with_the_kernel_s_own_words() -> None:
    found = explain(known(faulty()))
    (trial,) = found.tried
    assert trial.end == "fault"
    assert trial.exit_record is not None
    assert found.trouble is not None
    assert "the trial of latency ended by fault: the kernel ended the scheduler" in (
        found.trouble.why
    )
    # A guardrail's median of four pairs is a little worse: that is noise, and nobody's harm.
    assert found.trouble.worse == []
    assert found.trouble.next[0].command == "cox hosts"
    shown = flat(found)
    assert "SCX_EXIT_ERROR_STALL: hog[7] failed to run for 10 s" in shown
    assert "fault: the kernel ended the scheduler" in shown


def test_what_the_gate_refused_is_told_with_its_rule() -> None:
    found = explain(known(rejected()))
    assert found.tried == []
    assert [each.policy for each in found.refused] == ["latency"]
    assert found.why is not None
    assert any("the gate did not build it" in each.reason for each in found.why.left)
    assert found.trouble is not None
    assert found.trouble.next[0].command == "cox gate check bpf/policies/latency/hooks.bpf.c"
    assert "proof/calls (line 7): the hook calls helper 36" in flat(found)


def test_a_plan_to_try_nothing_offers_to_measure_the_next_best() -> None:
    recorded = optimization()
    plan = recorded.record.plan
    assert plan is not None
    plan = replace(
        plan,
        kind="keep-default",
        candidates=[],
        considered=[Consideration(policy="fair", score=0.1, reason="not made for it")],
    )
    record = replace(
        recorded.record, plan=plan, trials=[], winner=None, builds={}, terminal="kept-default"
    )
    found = explain(known(Recorded(record, [recorded.events[0], recorded.events[-1]])))
    assert found.trouble is not None
    assert found.trouble.next[0].command == (
        "cox optimize wakeup --hosts lab-1,lab-2 --policy fair"
    )


def test_one_that_was_cancelled_before_its_plan_says_what_is_not_known() -> None:
    found = explain(known(cancelled_early()))
    assert found.decision.terminal == "cancelled"
    assert (found.why, found.tried, found.policies, found.trouble) == (None, [], [], None)
    assert any("not profiled" in each for each in found.unknown)
    shown = flat(found)
    assert "There is no plan." in shown
    assert "Nothing was tried." in shown
    assert "asked to" in shown


def test_one_that_still_runs_is_explained_so_far() -> None:
    recorded = optimization()
    (trial,) = recorded.record.trials
    record = replace(
        recorded.record,
        phase="trying",
        terminal=None,
        reasons=[],
        winner=None,
        deployments={},
        trials=[replace(trial, ended=None, decision=None)],
        ended_unix_ns=0,
    )
    till = next(n for n, (_, fact, _) in enumerate(recorded.events) if fact == "trial_ended")
    found = explain(known(Recorded(record, recorded.events[:till])))
    assert (found.over, found.decision.terminal, found.decision.phase) == (False, "", "trying")
    assert found.spent.seconds == pytest.approx(till * STEP_NS / 1e9)
    assert found.tried[0].end == ""
    shown = flat(found)
    assert "so far" in shown
    assert "it has not ended" in shown


# --- What it looks like ------------------------------------------------------------------------


KINDS = {
    "promoted": lambda: with_counters(with_profile(optimization())),
    "kept-default": lambda: with_profile(optimization(gain=0.9, harm=0.8)),
    "faulty": faulty,
    "rejected": rejected,
    "cancelled": cancelled_early,
    "model": lambda: planned_by_a_model()[0],
    "rolled out": rolled_out,
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_fits_80_columns_and_reads_back_from_json(kind: str) -> None:
    found = explain(known(KINDS[kind]()))
    wide = [line for line in text_of(found).splitlines() if len(line) > 80]
    assert wide == []
    # Nothing was cut off to make it fit.
    assert "…" not in text_of(found)
    data = msgspec.json.encode(found)
    assert msgspec.json.decode(data, type=Explanation) == found
    assert json.loads(data)["type"] == "explanation"


def test_words_of_a_model_are_shown_and_not_obeyed() -> None:
    recorded = optimization()
    plan = recorded.record.plan
    assert plan is not None
    plan = replace(plan, why="[red]\x1b]0;title\x07 fits")
    shown = text_of(explain(known(edited(recorded, plan=plan))))
    assert "\x1b]" not in shown
    assert "[red]" in shown


def test_a_readme_s_section_ends_where_the_next_begins() -> None:
    readme = "# p\n\n## Overview\nShort\nfirst.\n\n## When not\nNever.\n"
    assert section(readme, "Overview") == "Short first."
    assert section(readme, "When not") == "Never."
    assert section(readme, "Tunables") == ""


def test_its_json_has_a_schema() -> None:
    assert schema_of("Explanation")["$defs"]["Explanation"]["properties"]["trouble"]


# --- On a bus ----------------------------------------------------------------------------------


async def test_cox_explain_tells_what_the_bus_keeps(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    recorded = with_counters(with_profile(optimization()))
    remembered = Remembered(optimization=recorded.record.id, outcomes=[])
    recorded.events.insert(-1, ("learner", "remembered", remembered))
    await recorded.publish(bus)
    await recorded.publish_spans(bus)
    told = await cox_on_bus("explain", "last")
    assert told.code == 0, told.err
    for title in ("The decision", "Why", "What was tried", "Where time and money went", "Hosts"):
        assert f"\n{title}\n" in told.out
    assert told.out.startswith("promoted  wakeup")
    as_json = await cox_on_bus("explain", recorded.record.id, "--json")
    assert as_json.code == 0
    found = msgspec.json.decode(as_json.out, type=Explanation)
    assert found.optimization == recorded.record.id
    assert found.decision.ratio == recorded.record.trials[0].decision.ratio  # type: ignore[union-attr]
    assert {each.phase for each in found.spent.phases} >= {"queued", "trying"}
    assert found.queue.counted is not None
    unknown = await cox_on_bus("explain", "o-nobody", "--json")
    assert unknown.code == 2
    assert unknown.document["problem"]["what"] == "unknown optimization"
