"""A publisher that keeps what it is given, and spans made by the real SDK."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry import Telemetry, otlp_json, start_telemetry
from shared.telemetry.convert import to_record
from shared.telemetry.records import SpanRecord


@dataclass
class FakeBus:
    """Takes payloads; raises the next of `failures` instead, while there are any."""

    failures: list[Exception] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    async def publish(self, subject: str, payload: bytes) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append((subject, payload))

    @property
    def spans(self) -> list[SpanRecord]:
        return [span for _, payload in self.sent for span in otlp_json.decode(payload)]

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


@pytest.fixture(autouse=True)
def patient_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests must not cut short what is to be flushed."""
    monkeypatch.setattr(Telemetry.shutdown, "__defaults__", (60.0,))


@pytest.fixture
def fake_bus() -> FakeBus:
    return FakeBus()


class Recorder:
    """Telemetry whose finished spans can be looked at."""

    def __init__(self) -> None:
        self.telemetry: Telemetry = start_telemetry("planner", "lab-1", publish=None)
        self._memory = InMemorySpanExporter()
        self.telemetry.provider.add_span_processor(SimpleSpanProcessor(self._memory))

    @property
    def spans(self) -> list[SpanRecord]:
        return [to_record(span) for span in self._memory.get_finished_spans()]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
