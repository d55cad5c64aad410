"""The repository with a real gate and a real learner: what one builds the other can tell of."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from msgspec.structs import replace

from services.learner.service import Learner
from shared.bus import Bus
from shared.bus.server import free_port
from shared.errors import RemoteError
from shared.messages import BuildCommand, Checked, CheckRequest, Made
from shared.policies import Catalogue, made_name
from shared.repository import (
    PolicyEvent,
    PolicyHistory,
    PolicyHistoryRequest,
    PolicyHits,
    PolicyRecord,
    PolicyRequest,
    PolicySearchRequest,
)
from shared.telemetry import start_telemetry
from tests.metrics.test_services import service


async def test_what_a_gate_builds_is_told_with_its_source_its_proof_and_its_time(
    bus: Bus, nats_url: str, tmp_path: Path
) -> None:
    began = time.time_ns()
    telemetry = start_telemetry("learner", publish=None)
    await Learner(bus, telemetry).start()
    catalogue = Catalogue.load()
    revised = Made(
        parent="fifo",
        source=catalogue["fifo"].source + "\n/* revised */\n",
        summary="the same with a word more",
        parameter=catalogue["fifo"].manifest.parameter,
        revises="fifo",
        mind="llm",
    )
    broken = replace(revised, source="int main(void) { return nothing; }\n")
    orders = {
        "shipped": BuildCommand(optimization="shipped", policy="fifo"),
        "revised": BuildCommand(optimization="revised", policy=made_name(revised), made=revised),
        "broken": BuildCommand(optimization="broken", policy=made_name(broken), made=broken),
        # Nobody's own hooks are built under a name that others have earned.
        "false": BuildCommand(optimization="false", policy="fifo", made=revised),
    }
    for name, command in orders.items():
        await bus.publish(bus.subjects.command("executor", "build"), command, message_id=name)
    about = bus.subjects.endpoint("learner", "history")

    async def history(policy: str) -> list[PolicyEvent]:
        try:
            asked = PolicyHistoryRequest(policy=policy)
            return (await bus.ask(about, asked, PolicyHistory, timeout_s=10)).events
        except RemoteError:
            return []

    gate = ("services.executor", "--role", "gate")
    async with service(bus, nats_url, tmp_path, f"127.0.0.1:{free_port()}", *gate):
        async with asyncio.timeout(120):
            for order in orders.values():
                while not await history(order.policy):  # noqa: ASYNC110 - another process works
                    await asyncio.sleep(0.05)
        checked = {
            name: await bus.ask(
                bus.subjects.endpoint("executor", "check"),
                CheckRequest(policy=made_name(made), made=made),
                Checked,
                timeout_s=60,
            )
            for name, made in {"revised": revised, "broken": broken}.items()
        }
        # Who asks gets what a build gets, and nothing is kept of it.
        assert (checked["revised"].reasons, checked["revised"].problem) == ([], None)
        assert checked["revised"].evidence["insns_rank"] > 0
        assert checked["broken"].reasons
        assert len(await history(made_name(revised))) == 1
    events = {name: await history(order.policy) for name, order in orders.items()}
    told = {name: [each.kind for each in events[name]] for name in ("revised", "broken")}
    assert told == {"revised": ["built"], "broken": ["rejected"]}
    assert [each.optimization for each in events["shipped"]] == ["shipped"]
    assert all(began <= each.unix_ns <= time.time_ns() for each in events["shipped"])
    subject = bus.subjects.endpoint("learner", "policy")
    shipped, made = [
        await bus.ask(subject, PolicyRequest(policy=name), PolicyRecord, timeout_s=10)
        for name in ("fifo", made_name(revised))
    ]
    assert [each.shipped for each in shipped.artifacts] == [True]
    assert shipped.made is None
    assert made.made == revised
    assert made.about.summary == revised.summary
    assert [each.shipped for each in made.artifacts] == [False]
    assert made.artifacts[0].artifact.evidence["insns_rank"] > 0
    hits = await bus.ask(
        bus.subjects.endpoint("learner", "search"),
        PolicySearchRequest(words="a word more"),
        PolicyHits,
        timeout_s=10,
    )
    assert hits.hits[0].about.policy == made_name(revised)
    await telemetry.shutdown()
