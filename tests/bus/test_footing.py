"""What somebody deletes is noticed, told once, and gone on with once it is there again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared import service
from shared.bus import Bus, Delivery, connect
from shared.bus import upkeep as upkeep_module
from shared.bus.provision import central_streams, provision, provision_host
from shared.bus.pull import Pull
from shared.bus.server import NatsServer
from shared.bus.upkeep import Upkeep
from shared.errors import ConflictError, GoneError
from shared.messages import BuildCommand, Heartbeat, Inventory, decode
from shared.metrics import declared
from shared.settings import Settings
from shared.subjects import Subjects
from shared.tasks import end
from tests.eventually import eventually
from tests.planner.world import inventory

Delete = Callable[[Bus], Awaitable[None]]


def build(number: int) -> BuildCommand:
    return BuildCommand(optimization=f"o{number}", policy="fair")


async def order(bus: Bus, number: int) -> None:
    subject = bus.subjects.command("executor", "build")
    await bus.publish(subject, build(number), message_id=f"m{number}")


class Worker:
    """A service that takes builds, and needs events and the hosts' records."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.built: list[str] = []

    async def start(self) -> None:
        await self.bus.records("hosts", Inventory)
        self.bus.depend(self.bus.subjects.stream("EVENTS"))
        consumer = self.bus.subjects.consumer("executor", "gate")
        self.bus.consume("COMMANDS", consumer, {"build": (BuildCommand, self._build)})
        await order(self.bus, 0)
        await eventually(lambda: self.built == ["o0"])
        await self.bus.footing.look()
        assert not self.bus.footing.lost

    async def _build(self, command: BuildCommand, _delivery: Delivery) -> None:
        self.built.append(command.optimization)


@pytest.fixture
async def worker(nats_url: str, bus: Bus) -> AsyncIterator[Worker]:
    own = await connect(nats_url, bus.subjects, "worker", patience_s=10)
    worker = Worker(own)
    await worker.start()
    yield worker
    await own.close()


async def delete_stream(bus: Bus) -> None:
    await bus.js.delete_stream(bus.subjects.stream("COMMANDS"))


async def delete_consumer(bus: Bus) -> None:
    await bus.js.delete_consumer(bus.subjects.stream("COMMANDS"), "executor-gate")


async def delete_events(bus: Bus) -> None:
    await bus.js.delete_stream(bus.subjects.stream("EVENTS"))


async def delete_bucket(bus: Bus) -> None:
    await bus.js.delete_key_value(bus.subjects.bucket("hosts"))


EVERY = [
    (delete_stream, "consumer executor-gate of {}-COMMANDS"),
    (delete_consumer, "consumer executor-gate of {}-COMMANDS"),
    (delete_events, "{}-EVENTS"),
    (delete_bucket, "bucket {}-hosts"),
]


@pytest.mark.parametrize(("delete", "what"), EVERY)
async def test_a_loss_is_told_once_and_work_goes_on_when_it_is_over(
    bus: Bus, worker: Worker, delete: Delete, what: str
) -> None:
    footing = worker.bus.footing
    name = what.format(bus.subjects.namespace)
    with capture_logs() as logs:
        await delete(bus)
        await eventually(lambda: [str(thing) for thing in footing.lost] == [name])
        # However often it is looked at.
        for _ in range(3):
            await footing.look()
        told = [line for line in logs if line["event"] == "bus.gone"]
        assert [(line["what"], line["log_level"]) for line in told] == [(name, "error")]
        assert all(told[0][field] for field in ("expected", "got", "advice"))
        (number,) = worker.bus.metrics.numbers(declared.GONE).values()
        assert number == 1
        with pytest.raises(GoneError):
            footing.check()
        await provision(bus.js, bus.subjects)
        await eventually(lambda: not footing.lost)
        assert [line["what"] for line in logs if line["event"] == "bus.made_anew"] == [name]
    await eventually(lambda: not worker.bus.metrics.numbers(declared.GONE))
    (losses,) = worker.bus.metrics.numbers(declared.LOSSES).values()
    assert losses == 1
    await order(bus, 1)
    await eventually(lambda: worker.built[-1] == "o1")


class Deaf(asyncio.Queue[Any]):
    """What comes for a pull, but for refusals."""

    async def put(self, item: Any) -> None:
        if item is None or (item.headers or {}).get("Status", "100") == "100":
            await super().put(item)


async def test_who_was_never_refused_asks_the_new_consumer(bus: Bus) -> None:
    """A request that meets the end of its consumer is answered by nobody; it stands for minutes."""
    stream = bus.subjects.stream("COMMANDS")
    bus.depend(stream, "executor-gate")
    pull = Pull(bus, stream, "executor-gate")
    pull._come = Deaf()
    async with pull:
        await order(bus, 0)
        await (await pull.next(1)).ack()
        waiting = asyncio.create_task(pull.next(1))
        await bus.footing.look()
        await delete_consumer(bus)
        await eventually(lambda: bus.footing.lost)
        await provision(bus.js, bus.subjects)
        await eventually(lambda: not bus.footing.lost)
        await order(bus, 1)
        async with asyncio.timeout(30):
            again = await waiting
        assert decode(again.data, BuildCommand) == build(1)
        await again.ack()


async def test_who_is_busy_notices_it_too(nats_url: str, bus: Bus) -> None:
    """With all hands full nothing is asked of the consumer that could be refused."""
    own = await connect(nats_url, bus.subjects, "worker", patience_s=10)
    busy, go_on = asyncio.Event(), asyncio.Event()

    async def handle(_command: BuildCommand, _delivery: Delivery) -> None:
        busy.set()
        await go_on.wait()

    await order(bus, 1)
    own.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    try:
        async with asyncio.timeout(30):
            await busy.wait()
        await own.footing.look()
        await delete_consumer(bus)
        await eventually(lambda: own.footing.lost)
    finally:
        go_on.set()
        await own.close()


@pytest.mark.parametrize("delete", [delete_stream, delete_consumer, delete_events, delete_bucket])
async def test_what_was_made_anew_between_two_looks_is_another_one(
    bus: Bus, worker: Worker, delete: Delete
) -> None:
    footing = worker.bus.footing
    changed = asyncio.create_task(footing.changed())
    async with footing._looking:  # nobody looks meanwhile
        await delete(bus)
        await provision(bus.js, bus.subjects)
    async with asyncio.timeout(60):
        await changed
    assert not footing.lost
    assert sum(worker.bus.metrics.numbers(declared.LOSSES).values()) == 1


async def test_a_server_that_comes_back_with_its_store_has_lost_nothing(tmp_path: Path) -> None:
    subjects = Subjects("back")
    with NatsServer(tmp_path / "nats") as server:
        bus = await connect(server.url, subjects, "worker", patience_s=10)
        await provision(bus.js, subjects)
        worker = Worker(bus)
        await worker.start()
        with capture_logs() as logs:
            for stop in (server.kill, server.stop):
                back = asyncio.Event()
                bus.on_return(back.set)
                stop()
                server.start()
                async with asyncio.timeout(60):
                    await back.wait()
                bus.on_return(back.set, no_more=True)
            await order(bus, 1)
            await bus.footing.look()
        assert not [line for line in logs if line["event"] in {"bus.gone", "bus.made_anew"}]
        await eventually(lambda: worker.built[-1] == "o1")
        await bus.close()


async def test_a_server_with_an_empty_store_is_noticed_and_gone_on_with(tmp_path: Path) -> None:
    subjects = Subjects("empty")
    with NatsServer(tmp_path / "nats") as server:
        bus = await connect(server.url, subjects, "worker", patience_s=10)
        await provision(bus.js, subjects)
        worker = Worker(bus)
        await worker.start()
        server.kill()
        (tmp_path / "nats" / "jetstream").rename(tmp_path / "lost")
        server.start()
        await eventually(lambda: len(bus.footing.lost) == 3)
        await Upkeep(bus).look([])
        await eventually(lambda: not bus.footing.lost)
        await order(bus, 1)
        await eventually(lambda: worker.built[-1] == "o1")
        await bus.close()


async def test_a_heartbeat_says_it_and_a_health_check_starves(
    bus: Bus, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ALIVE_S", 0.01)
    monkeypatch.setattr(service, "HEARTBEAT_S", 3600.0)
    beats = await bus.nc.subscribe(bus.subjects.heartbeats("executor"))
    await bus._settle()
    alive = tmp_path / "alive"
    tasks = [
        asyncio.create_task(service.beat(worker.bus, "executor", "w", "")),
        asyncio.create_task(service._show_alive(worker.bus, Settings(alive=alive))),
    ]

    async def gone() -> list[str]:
        return decode((await beats.next_msg(timeout=60)).data, Heartbeat).gone

    try:
        assert await gone() == []
        await eventually(alive.exists)
        await delete_events(bus)
        # Long before the next beat is due, which is in an hour.
        assert await gone() == [f"{bus.subjects.namespace}-EVENTS"]
        os.utime(alive, (0, 0))
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert alive.stat().st_mtime == 0
        await provision(bus.js, bus.subjects)
        assert await gone() == []
        await eventually(lambda: alive.stat().st_mtime > 0)
    finally:
        await end(tasks)


async def test_a_bucket_that_is_gone_is_not_an_empty_one(bus: Bus) -> None:
    records = await bus.records("hosts", Inventory)
    assert await records.get("h1.inventory") is None
    assert await records.get_genuine("h1.inventory") is None
    await delete_bucket(bus)
    for asking in (
        records.get("h1.inventory"),
        records.get_genuine("h1.inventory"),
        records.all(),
        records.put("h1.inventory", inventory("h1")),
        bus.records("hosts", Inventory),
    ):
        with pytest.raises(GoneError):
            await asking


async def test_a_store_that_is_gone_has_not_lost_one_artifact(bus: Bus) -> None:
    digest = await bus.put_artifact(b"an object")
    assert not await bus.has_artifact("0" * 64)
    await bus.js.delete_object_store(bus.subjects.bucket("artifacts"))
    with pytest.raises(GoneError):
        await bus.has_artifact(digest)
    with pytest.raises(GoneError):
        await bus.get_artifact(digest)


async def test_what_no_stream_keeps_is_not_published(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bus.connection.PUBLISH_ATTEMPTS", 2)
    await delete_stream(bus)
    with pytest.raises(GoneError, match=r"executor\.build"):
        await order(bus, 1)
    await delete_events(bus)
    with pytest.raises(GoneError, match="EVENTS"):
        await anext(bus.history("EVENTS", bus.subjects.events()))


async def test_no_number_comes_twice_over_the_lives_of_a_bucket(bus: Bus) -> None:
    """Or who has read the old one could write into the new one, and fencing tokens would shrink."""
    records = await bus.records("hosts", Inventory)
    old = await records.create("a", inventory("a"))
    for number in range(20):
        old = await records.replace(old, inventory(f"a{number}"))
    await delete_bucket(bus)
    await provision(bus.js, bus.subjects)
    new = await records.create("a", inventory("a"))
    assert new.revision > old.revision
    for number in range(30):
        with pytest.raises(ConflictError):
            await records.replace(old, inventory("b"))
        new = await records.replace(new, inventory(f"c{number}"))


async def test_letters_are_counted_and_all_else_goes_on_from_where_it_was(bus: Bus) -> None:
    subjects = bus.subjects
    await provision_host(bus.js, subjects, "h1")
    names = [*central_streams(subjects), subjects.stream("COMMANDS", "h1")]

    async def first(stream: str) -> int:
        return (await bus.js.stream_info(stream)).state.first_seq

    before = {name: await first(name) for name in names}
    for name in names:
        await bus.js.delete_stream(name)
    await provision(bus.js, subjects)
    await provision_host(bus.js, subjects, "h1")
    dead, store = subjects.stream("DEAD"), f"OBJ_{subjects.bucket('artifacts')}"
    for name in names:
        if name in {dead, store}:
            assert await first(name) <= 1
        else:
            assert await first(name) > before[name] > 10**15


async def test_requests_of_another_stream_are_read_from_its_beginning(bus: Bus) -> None:
    """Even of one that somebody made by hand, whose numbers begin at 1."""
    stream = bus.subjects.stream("REQUESTS")
    config = (await bus.js.stream_info(stream)).config

    async def say(*requests: bytes) -> None:
        for request in requests:
            await bus.nc.publish(bus.subjects.allow, request)
        await bus.nc.flush()

    async def anew() -> None:
        await bus.js.delete_stream(stream)
        await bus.js.add_stream(config.evolve(first_seq=None))

    await anew()
    await say(b"a")
    (kept,) = [kept async for kept in bus.requests_from(1)]
    assert not [kept async for kept in bus.requests_from(kept.sequence + 1, kept.born)]
    await anew()
    await say(b"b", b"c")
    found = [each.data async for each in bus.requests_from(kept.sequence + 1, kept.born)]
    assert found == [b"b", b"c"]


async def test_whoever_runs_the_bus_makes_again_what_is_missing(bus: Bus) -> None:
    subjects = bus.subjects
    for host in ("h1", "h2"):
        await provision_host(bus.js, subjects, host)
    upkeep = Upkeep(bus)
    assert await upkeep.look(["h1", "h2"]) == []
    shard, place = subjects.stream("COMMANDS", "h1"), subjects.consumer("executor", "host", "h1")
    await bus.js.delete_consumer(shard, place)
    assert await upkeep.look(["h1", "h2"]) == [shard]
    await bus.js.consumer_info(shard, place)
    await bus.js.delete_stream(subjects.stream("COMMANDS", "h2"))
    await delete_bucket(bus)
    await delete_consumer(bus)
    made = await upkeep.look(["h1", "h2"])
    assert made == [
        f"KV_{subjects.bucket('hosts')}",
        f"{subjects.stream('COMMANDS')} executor-gate",
        subjects.stream("COMMANDS", "h2"),
    ]
    assert await upkeep.look(["h1", "h2"]) == []


async def test_a_place_is_missed_even_where_a_thrown_out_host_has_left_his(bus: Bus) -> None:
    subjects = bus.subjects
    one, other = _of_one_shard(subjects)
    for host in (one, other):
        await provision_host(bus.js, subjects, host)
    upkeep = Upkeep(bus)
    assert await upkeep.look([one]) == []
    shard, place = subjects.stream("COMMANDS", one), subjects.consumer("executor", "host", one)
    await bus.js.delete_consumer(shard, place)
    assert await upkeep.look([one]) == [shard]
    await bus.js.consumer_info(shard, place)


def _of_one_shard(subjects: Subjects) -> tuple[str, str]:
    first: dict[str, str] = {}
    for number in range(1000):
        host = f"h{number}"
        stream = subjects.stream("COMMANDS", host)
        if stream in first:
            return first[stream], host
        first[stream] = host
    raise AssertionError("there are fewer shards than that")


async def test_it_looks_only_now_and_then(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep_module, "LOOK_S", 3600.0)
    upkeep = Upkeep(bus)
    await upkeep.tend([])
    await delete_events(bus)
    await upkeep.tend([])
    with pytest.raises(GoneError):
        await facts(bus)
    upkeep._next_s = 0.0
    await upkeep.tend([])
    assert await facts(bus) == []


async def facts(bus: Bus) -> list[bytes]:
    return [data async for _, data in bus.history("EVENTS", bus.subjects.events())]
