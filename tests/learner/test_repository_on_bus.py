"""The repository with a real gate and a real learner: what one builds the other can tell of."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from services.learner.service import Learner
from shared.bus import Bus
from shared.bus.server import free_port
from shared.messages import BuildCommand
from shared.policies import Catalogue
from shared.repository import (
    PolicyHistory,
    PolicyHistoryRequest,
    PolicyRecord,
    PolicyRequest,
)
from shared.telemetry import start_telemetry
from tests.metrics.test_services import service


async def test_what_a_gate_builds_is_told_with_its_source_its_proof_and_its_time(
    bus: Bus, nats_url: str, tmp_path: Path
) -> None:
    began = time.time_ns()
    telemetry = start_telemetry("learner", publish=None)
    await Learner(bus, telemetry).start()
    good = Catalogue.load()["fifo"]
    other = good.source + "\n/* revised */\n"
    sources = {"shipped": "", "revised": other, "broken": "int main(void) { return nothing; }\n"}
    for name, source in sources.items():
        command = BuildCommand(optimization=name, policy="fifo", source=source)
        await bus.publish(bus.subjects.command("executor", "build"), command, message_id=name)
    about = bus.subjects.endpoint("learner", "history")
    asked = PolicyHistoryRequest(policy="fifo")
    gate = ("services.executor", "--role", "gate")
    async with service(bus, nats_url, tmp_path, f"127.0.0.1:{free_port()}", *gate):
        async with asyncio.timeout(120):
            while True:
                events = (await bus.ask(about, asked, PolicyHistory, timeout_s=10)).events
                if len(events) == len(sources):
                    break
                await asyncio.sleep(0.05)
    assert {each.optimization: each.kind for each in events} == {
        "shipped": "built",
        "revised": "built",
        "broken": "rejected",
    }
    assert all(began <= each.unix_ns <= time.time_ns() for each in events)
    subject = bus.subjects.endpoint("learner", "policy")
    told = await bus.ask(subject, PolicyRequest(policy="fifo"), PolicyRecord, timeout_s=10)
    origins = {each.optimization: each.shipped for each in told.artifacts}
    assert origins == {"shipped": True, "revised": False}
    assert all(each.artifact.evidence["insns_rank"] > 0 for each in told.artifacts)
    assert told.rejected == 1
    await telemetry.shutdown()
