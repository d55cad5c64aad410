"""What a rollout looks like in the trace: a span a cohort, a link for each of its hosts."""

from __future__ import annotations

from msgspec.structs import replace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.planner.spans import tell_step
from shared import attributes as names
from shared.messages import Deployed, Weighed
from shared.optimization import CohortRecord, Optimization
from shared.telemetry import start_telemetry
from shared.telemetry.convert import to_record
from shared.telemetry.records import SpanRecord
from tests.planner.world import START, opened

TRACE = "0123456789abcdef0123456789abcdef"


def told(before: Optimization, after: Optimization) -> list[SpanRecord]:
    telemetry = start_telemetry("planner", publish=None)
    memory = InMemorySpanExporter()
    telemetry.provider.add_span_processor(SimpleSpanProcessor(memory))
    tell_step(telemetry, before, after)
    return [to_record(span) for span in memory.get_finished_spans()]


def rolling(stage: str) -> Optimization:
    cohort = CohortRecord(
        hosts=["h2", "h3"],
        stage=stage,  # type: ignore[arg-type]
        asked=2,
        began_unix_ns=START,
        weighed=Weighed(optimization="o1", cohort=1, verdict="untold", reasons=["too few"]),
    )
    return replace(
        opened(hosts=("h1", "h2", "h3")),
        cohorts=[CohortRecord(hosts=["h1"], stage="done", began_unix_ns=START), cohort],
        deployments={
            host: Deployed(optimization="o1", host=host, traceparent=f"00-{TRACE}-{number:016x}-01")
            for number, host in enumerate(("h1", "h2", "h3"), start=1)
        },
    )


def test_a_cohort_is_one_span_from_its_beginning_with_a_link_for_each_host() -> None:
    (span,) = told(rolling("weighing"), rolling("done"))
    assert span.name == "cohort 1 of 1"
    assert span.start_unix_ns == START
    assert span.attributes[names.COHORT_HOSTS] == ("h2", "h3")
    assert span.attributes[names.COHORT_STAGE] == "done"
    assert span.attributes[names.VERDICT] == "untold"
    assert span.attributes[names.DECISION_WHY] == "too few"
    assert [link.span_id for link in span.links] == [f"{2:016x}", f"{3:016x}"]


def test_a_cohort_that_was_halted_says_why() -> None:
    after = replace(rolling("halted"), reasons=["h3 fell back to the default: stall"])
    (span,) = told(rolling("soaking"), after)
    assert span.attributes[names.COHORT_STAGE] == "halted"
    assert "stall" in span.attributes[names.DECISION_WHY]


def test_a_cohort_that_goes_on_is_not_told_yet() -> None:
    assert told(rolling("placing"), rolling("soaking")) == []
