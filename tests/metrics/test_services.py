"""Real service processes, scraped over HTTP as Prometheus would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from shared.bus import Bus
from shared.bus.server import free_port
from shared.messages import BuildCommand, Made, Objective, RememberCommand, Round, TrialSpec
from shared.policies import made_name
from tests.executor.tokens import Signing
from tests.metrics.conftest import scraped

CHECKOUT = Path(__file__).resolve().parents[2]


@contextlib.asynccontextmanager
async def service(
    bus: Bus, nats_url: str, folder: Path, address: str, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A service of the test's own namespace with a metrics endpoint."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        env={
            **os.environ,
            "COX_NATS_URL": nats_url,
            "COX_NAMESPACE": bus.subjects.namespace,
            "COX_STATE_DIR": str(folder),
            "COX_METRICS": address,
            "COX_SIGNING_SEEDS": str(Signing(folder).keys.seeds),
        },
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def pair(index: int, ratio: float) -> Round:
    return Round(
        optimization="o1", trial="o1-t1", host="h", index=index, order="AB", seed=index,
        baseline={"p99": 100.0 + index}, candidate={"p99": (100.0 + index) * ratio},
        spec=TrialSpec(objective=Objective(metric="p99", direction="lower"), max_pairs=8),
    )  # fmt: skip


async def test_a_learner_shows_its_verdicts_and_its_queues(
    bus: Bus, nats_url: str, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    for index in range(3):
        await bus.publish(
            bus.subjects.event("executor", "round", "o1", "h"),
            pair(index, 0.5),
            message_id=f"r{index}",
        )
    await bus.publish(
        bus.subjects.command("learner", "remember"),
        RememberCommand(optimization="o1", outcomes=[]),
        message_id="remember",
    )
    async with service(bus, nats_url, tmp_path, address, "services.learner") as process:
        handled = ("coxswain_messages_handled_total", {"stream": "EVENTS", "verb": "round"}, 3.0)
        seen = await scraped(f"http://{address}/metrics", until=handled)
        assert seen.value("coxswain_verdicts_total", verdict="continue") == 3
        assert seen.value("coxswain_verdicts_total", verdict="promote") == 0
        drained = ("coxswain_consumer_pending_messages", {"consumer": "learner-rounds"}, 0.0)
        seen = await scraped(f"http://{address}/metrics", until=drained)
        assert seen.value("coxswain_bus_connected") == 1
        commands = {"stream": "COMMANDS", "verb": "remember"}
        assert seen.value("coxswain_messages_handled_total", **commands) == 1
        assert 'coxswain_service_info{host="",instance="learner-' in seen.text.replace(
            'service="learner",', ""
        )
        assert "coxswain_loads_total" not in seen.text  # others' metrics are not its own
        assert process.returncode is None


async def test_the_gate_shows_builds_and_rejections(
    bus: Bus, nats_url: str, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    bad = Made(parent="fifo", source="int main(void) { return nothing; }\n", summary="bad")
    for command in (
        BuildCommand(optimization="good", policy="fifo"),
        BuildCommand(optimization="bad", policy=made_name(bad), made=bad),
    ):
        await bus.publish(
            bus.subjects.command("executor", "build"), command, message_id=command.optimization
        )
    gate = ("services.executor", "--role", "gate")
    async with service(bus, nats_url, tmp_path, address, *gate):
        built = ("coxswain_build_seconds_count", {}, 2.0)
        seen = await scraped(f"http://{address}/metrics", until=built)
    assert seen.value("coxswain_builds_total", outcome="accepted") == 1
    assert seen.value("coxswain_builds_total", outcome="rejected") == 1
    assert seen.value("coxswain_builds_total", outcome="failed") == 0
    assert [
        sample.value
        for sample in seen.families["coxswain_gate_rejections"].samples
        if sample.name.endswith("_total")
    ] == [1.0]


async def test_a_taken_port_ends_a_service_with_a_clear_error(
    bus: Bus, nats_url: str, tmp_path: Path
) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with (
        taken,
        service(bus, nats_url, tmp_path, f"127.0.0.1:{port}", "services.learner") as process,
    ):
        _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    (line,) = err.decode().splitlines()
    assert line.startswith(f"learner: the metrics endpoint cannot listen at 127.0.0.1:{port}")
    assert "COX_METRICS" in line
