from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from nats.aio.msg import Msg
from nats.js.api import KeyValueConfig
from opentelemetry.trace import get_current_span

from shared import service
from shared.bus import Bus, Delivery, connect
from shared.bus.provision import provision, provision_host
from shared.bus.pull import Pull
from shared.bus.server import NatsServer
from shared.errors import (
    BusError,
    BusUnavailableError,
    ConflictError,
    DeadlineError,
    InputError,
    NoResponderError,
    RemoteError,
)
from shared.messages import (
    BuildCommand,
    Cost,
    DeadLetter,
    Heartbeat,
    Inventory,
    Message,
    Progress,
    Reply,
    StateRequest,
    decode,
)
from shared.subjects import Subjects
from shared.telemetry.context import attached, context_of, inject
from tests.planner.world import inventory


class Fleet(msgspec.Struct):
    hosts: dict[str, Inventory]


TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def build(number: int) -> BuildCommand:
    return BuildCommand(optimization=f"o{number}", policy="fair")


HALF_A_YEAR_S = 180 * 86_400


async def test_a_command_is_handled_once_and_is_gone(bus: Bus) -> None:
    seen: list[str] = []
    done = asyncio.Event()

    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        seen.append(command.optimization)
        if len(seen) == 2:
            done.set()

    subject = bus.subjects.command("executor", "build")
    await bus.publish(subject, build(1), message_id="one")
    await bus.publish(subject, build(1), message_id="one")
    await bus.publish(subject, build(2), message_id="two")
    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    await asyncio.wait_for(done.wait(), 10)
    assert seen == ["o1", "o2"]
    for _ in range(100):
        state = (await bus.js.stream_info(bus.subjects.stream("COMMANDS"))).state
        if state.messages == 0:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"{state.messages} commands were left")


async def test_a_failing_handler_gets_its_message_again(bus: Bus) -> None:
    deliveries: list[int] = []
    done = asyncio.Event()

    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        deliveries.append(delivery.deliveries)
        if len(deliveries) < 3:
            raise RuntimeError("not yet")
        done.set()

    await bus.publish(bus.subjects.command("executor", "build"), build(1), message_id="x")
    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    await asyncio.wait_for(done.wait(), 20)
    assert deliveries == [1, 2, 3]


@pytest.mark.parametrize(
    "garbage", [b"not json", b'{"type":"build","v":9,"optimization":"o","policy":"p"}', b"{}"]
)
async def test_bytes_that_are_no_message_become_a_dead_letter_at_once(
    bus: Bus, garbage: bytes
) -> None:
    handled: list[Message] = []
    done = asyncio.Event()

    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        handled.append(command)
        done.set()

    subject = bus.subjects.command("executor", "build")
    await bus.publish_bytes(subject, garbage)
    await bus.publish(subject, build(2), message_id="good")
    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    await asyncio.wait_for(done.wait(), 10)
    letters = [
        decode(data, DeadLetter)
        async for _, data in bus.history("DEAD", bus.subjects.dead(bus.subjects.stream("COMMANDS")))
    ]
    assert [letter.data for letter in letters] == [garbage]
    assert letters[0].subject == subject
    assert letters[0].reason


async def test_consuming_works_side_by_side_up_to_its_limit(bus: Bus) -> None:
    running = 0
    most = 0
    done = asyncio.Event()
    finished = 0

    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        nonlocal running, most, finished
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        finished += 1
        if finished == 9:
            done.set()

    for number in range(9):
        await bus.publish(
            bus.subjects.command("executor", "build"), build(number), message_id=f"m{number}"
        )
    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)}, concurrency=3)
    await asyncio.wait_for(done.wait(), 20)
    assert most == 3


@pytest.mark.parametrize("turns", range(6))
async def test_a_pull_ends_when_told_to_even_as_a_message_comes(bus: Bus, turns: int) -> None:
    stream = bus.subjects.stream("COMMANDS")
    async with Pull(bus, stream, "executor-gate") as pull:
        taking = asyncio.create_task(pull.next(1))
        await asyncio.sleep(0.1)
        pull._come.put_nowait(Msg(bus.nc))
        for _ in range(turns):  # of the loop, between the message and the order to end
            await asyncio.sleep(0)
        if taking.cancel():
            with pytest.raises(asyncio.CancelledError):
                await taking


async def test_questions_are_answered_side_by_side(bus: Bus) -> None:
    arrived = 0
    everybody = asyncio.Event()

    async def answer(request: StateRequest) -> Reply:
        nonlocal arrived
        arrived += 1
        if arrived == 4:
            everybody.set()
        await everybody.wait()  # none is answered before all four are being worked on
        return Reply()

    subject = bus.subjects.endpoint("executor", "state", "h1")
    await bus.serve(subject, StateRequest, answer, queue="q")
    replies = await asyncio.gather(
        *(bus.ask(subject, StateRequest(), Reply, timeout_s=10) for _ in range(4))
    )
    assert len(replies) == 4


async def test_whoever_asks_once_it_is_served_is_heard(nats_url: str, bus: Bus) -> None:
    async def answer(request: StateRequest) -> Reply:
        return Reply()

    asker = await connect(nats_url, bus.subjects, "asker", patience_s=10)
    try:
        for number in range(300):
            subject = bus.subjects.endpoint("executor", "state", f"h{number}")
            await bus.serve(subject, StateRequest, answer, queue="q")
            await asker.ask(subject, StateRequest(), Reply, timeout_s=10)
    finally:
        await asker.close()


async def test_a_problem_comes_back_with_its_fields(bus: Bus) -> None:
    async def answer(request: StateRequest) -> Reply:
        raise InputError("no such thing", expected="a", got="b", advice="do c")

    subject = bus.subjects.endpoint("executor", "state")
    await bus.serve(subject, StateRequest, answer, queue="q")
    with pytest.raises(RemoteError) as caught:
        await bus.ask(subject, StateRequest(), Heartbeat, timeout_s=5)
    assert caught.value.kind == "InputError"
    assert (caught.value.expected, caught.value.got, caught.value.advice) == ("a", "b", "do c")


async def test_an_internal_failure_tells_the_caller_no_internals(bus: Bus) -> None:
    async def answer(request: StateRequest) -> Reply:
        raise ValueError("secret path")

    subject = bus.subjects.endpoint("executor", "state")
    await bus.serve(subject, StateRequest, answer, queue="q")
    with pytest.raises(RemoteError) as caught:
        await bus.ask(subject, StateRequest(), Heartbeat, timeout_s=5)
    assert "secret" not in str(caught.value)


async def test_nobody_there_and_too_late_are_different_errors(bus: Bus) -> None:
    subject = bus.subjects.endpoint("learner", "recall")
    with pytest.raises(NoResponderError):
        await bus.ask(subject, StateRequest(), Reply, timeout_s=5)

    async def answer(request: StateRequest) -> Reply:
        await asyncio.sleep(3600)
        return Reply()

    await bus.serve(subject, StateRequest, answer, queue="q")
    with pytest.raises(DeadlineError):
        await bus.ask(subject, StateRequest(), Reply, timeout_s=0.2)


async def test_trace_context_rides_along(bus: Bus) -> None:
    traces: list[str] = []
    done = asyncio.Event()

    def here() -> str:
        return inject().get("traceparent", "")

    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        traces.append(here())
        done.set()

    async def answer(request: StateRequest) -> Reply:
        traces.append(here())
        return Reply()

    subject = bus.subjects.endpoint("executor", "state")
    await bus.serve(subject, StateRequest, answer, queue="q")
    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    with attached(context_of(TRACE)):
        await bus.ask(subject, StateRequest(), Reply, timeout_s=5)
        await bus.publish(bus.subjects.command("executor", "build"), build(1), message_id="t")
    await asyncio.wait_for(done.wait(), 10)
    assert traces == [TRACE, TRACE]
    assert not get_current_span().get_span_context().is_valid


async def test_history_reads_all_of_one_optimization_in_order(bus: Bus) -> None:
    for number in range(30):
        for optimization in ("mine", "other"):
            await bus.publish(
                bus.subjects.event("planner", "progress", optimization),
                Progress(optimization=optimization, phase="p", text=str(number)),
                message_id=f"{optimization}-{number}",
            )
    texts = [
        decode(data, Progress).text
        async for _, data in bus.history("EVENTS", bus.subjects.events(optimization="mine"))
    ]
    assert texts == [str(number) for number in range(30)]
    assert [1 async for _ in bus.history("EVENTS", bus.subjects.events(optimization="none"))] == []


async def test_history_can_begin_at_a_moment(bus: Bus) -> None:
    for text in ("before", "after"):
        await bus.publish(
            bus.subjects.event("planner", "progress", "o1"),
            Progress(optimization="o1", phase="p", text=text),
            message_id=text,
        )
    facts = bus.subjects.events("planner", "progress")
    taken = [message.metadata.timestamp async for message in bus.messages("EVENTS", facts)]
    between = taken[0] + (taken[1] - taken[0]) / 2
    since = [decode(data, Progress).text async for _, data in bus.history("EVENTS", facts, between)]
    assert since == ["after"]
    later = taken[1] + timedelta(hours=1)
    assert [1 async for _ in bus.history("EVENTS", facts, later)] == []


async def test_records_are_compare_and_set(bus: Bus) -> None:
    records = await bus.records("optimizations", Cost)
    assert await records.get("a") is None
    await records.create("a", Cost(tokens=1))
    with pytest.raises(ConflictError):
        await records.create("a", Cost(tokens=9))
    mine = await records.get("a")
    theirs = await records.get("a")
    assert mine is not None
    assert theirs is not None
    newer = await records.replace(mine, Cost(tokens=2))
    with pytest.raises(ConflictError):
        await records.replace(theirs, Cost(tokens=3))
    await records.replace(newer, Cost(tokens=4))
    assert [record.value.tokens for record in await records.all()] == [4]


async def test_a_record_of_ten_thousand_hosts_fits(bus: Bus) -> None:
    hosts = {f"host-{number}": inventory(f"host-{number}") for number in range(10_000)}
    records = await bus.records("optimizations", Fleet)
    await records.create("large", Fleet(hosts=hosts))
    found = await records.get("large")
    assert found is not None
    assert found.value.hosts == hosts


async def test_a_mirror_follows_what_is_written_and_what_is_removed(bus: Bus) -> None:
    records = await bus.records("hosts", Cost)
    await records.put("a", Cost(tokens=1))
    await records.put("b", Cost(tokens=2))
    mirrored = {"gone": Cost(), "a": Cost()}
    mirroring = asyncio.create_task(records.mirror(">", mirrored))

    async def until(wanted: dict[str, Cost]) -> None:
        for _ in range(1000):
            if mirrored == wanted:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(mirrored)

    await until({"a": Cost(tokens=1), "b": Cost(tokens=2)})
    await records.put("b", Cost(tokens=3))
    await (await bus.js.key_value(bus.subjects.bucket("hosts"))).delete("a")
    await until({"b": Cost(tokens=3)})
    mirroring.cancel()


async def test_an_artifact_is_kept_once_and_its_hash_is_checked(bus: Bus) -> None:
    data = b"object" * 100_000
    digest = await bus.put_artifact(data)
    assert await bus.put_artifact(data) == digest
    assert await bus.get_artifact(digest) == data
    with pytest.raises(BusError):
        await bus.get_artifact("0" * 64)
    store = await bus.js.object_store(bus.subjects.bucket("artifacts"))
    await store.put("1" * 64, b"something else")
    with pytest.raises(BusError, match="altered"):
        await bus.get_artifact("1" * 64)


async def test_provisioning_twice_changes_nothing(bus: Bus) -> None:
    await bus.publish(bus.subjects.command("executor", "build"), build(1), message_id="kept")
    await provision(bus.js, bus.subjects)
    await provision_host(bus.js, bus.subjects, "h1")
    await provision_host(bus.js, bus.subjects, "h1")
    info = await bus.js.stream_info(bus.subjects.stream("COMMANDS"))
    assert info.state.messages == 1


async def test_a_bucket_of_an_older_version_keeps_its_records(nats_url: str, bus: Bus) -> None:
    older = await connect(nats_url, Subjects(f"t-{uuid.uuid4().hex[:12]}"), "test", patience_s=10)
    try:
        bucket = older.subjects.bucket("optimizations")
        await older.js.create_key_value(KeyValueConfig(bucket=bucket, history=8))
        records = await older.records("optimizations", Cost)
        for tokens in range(5):
            await records.put("a", Cost(tokens=tokens))
        await provision(older.js, older.subjects)
        assert [record.value.tokens for record in await records.all()] == [4]
        info = await older.js.stream_info(f"KV_{bucket}")
        assert info.state.messages == 1
        assert info.config.max_age == HALF_A_YEAR_S
    finally:
        await older.close()


async def test_what_optimizations_were_is_not_kept_for_ever_and_what_hosts_are_is(bus: Bus) -> None:
    for bucket, age_s in (("optimizations", HALF_A_YEAR_S), ("hosts", 0)):
        config = (await bus.js.stream_info(f"KV_{bus.subjects.namespace}-{bucket}")).config
        assert config.max_age == age_s


async def test_there_is_room_for_ten_thousand_hosts(bus: Bus) -> None:
    """A server's default is 1,000 consumers, and only a stream's own number raises it."""
    config = (await bus.js.stream_info(bus.subjects.stream("COMMANDS"))).config
    assert config.max_consumers is not None
    assert config.max_consumers >= 20_000


async def test_no_server_is_a_clear_error() -> None:
    with pytest.raises(BusUnavailableError) as caught:
        await connect("nats://127.0.0.1:1", Subjects("x"), "test", patience_s=0.5)
    assert "cox up" in caught.value.advice


async def test_work_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.start()
    subjects = Subjects(f"t-{uuid.uuid4().hex[:8]}")
    bus = await connect(server.url, subjects, "test", patience_s=10)
    seen: list[str] = []
    done = asyncio.Event()

    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        seen.append(command.optimization)
        if "o2" in seen:
            done.set()

    try:
        await provision(bus.js, subjects)
        bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
        subject = subjects.command("executor", "build")
        await bus.publish(subject, build(1), message_id="1")
        server.kill()
        publishing = asyncio.create_task(bus.publish(subject, build(2), message_id="2"))
        await asyncio.sleep(0.3)
        server.start()
        await asyncio.wait_for(publishing, 30)
        await asyncio.wait_for(done.wait(), 30)
        assert set(seen) == {"o1", "o2"}
    finally:
        await bus.close()
        server.stop()


async def test_a_question_ends_when_the_connection_does(tmp_path: Path) -> None:
    """Its answer would never arrive; a host must not wait for it under a candidate."""
    server = NatsServer(tmp_path)
    server.start()
    subjects = Subjects(f"t-{uuid.uuid4().hex[:8]}")
    bus = await connect(server.url, subjects, "test", patience_s=10)
    try:

        async def answer(request: StateRequest) -> Reply:
            await asyncio.sleep(3600)
            return Reply()

        subject = subjects.endpoint("executor", "state")
        await bus.serve(subject, StateRequest, answer, queue="q")
        asking = asyncio.create_task(bus.ask(subject, StateRequest(), Reply, timeout_s=3000))
        await asyncio.sleep(0.3)
        server.kill()
        with pytest.raises(BusUnavailableError):
            await asyncio.wait_for(asking, 60)
        with pytest.raises(BusUnavailableError):
            await bus.ask(subject, StateRequest(), Reply, timeout_s=3000)
    finally:
        await bus.close()
        server.stop()


async def test_only_a_call_that_says_so_has_all_look_what_they_stand_on(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roll is called for requests, too: ten thousand hosts would look each time."""
    looks: list[bool] = []
    monkeypatch.setattr(bus.footing, "suspect", lambda: looks.append(True))
    heard = await bus.nc.subscribe(bus.subjects.heartbeats())
    beating = asyncio.create_task(service.beat(bus, "observer", "h1", "h1"))
    await heard.next_msg(timeout=20)
    await service.call_roll(bus)
    await heard.next_msg(timeout=20)
    assert looks == []
    await service.call_roll(bus, look=True)
    await heard.next_msg(timeout=20)
    assert looks == [True]
    beating.cancel()


async def test_everybody_answers_a_roll_call(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HEARTBEAT_S", 3600.0)
    heard = await bus.nc.subscribe(bus.subjects.heartbeats())
    names = {"h1", "h2"}
    beating = [asyncio.create_task(service.beat(bus, "observer", name, name)) for name in names]

    async def hear() -> set[str]:
        beats = [decode((await heard.next_msg(timeout=20)).data, Heartbeat) for _ in names]
        return {beat.instance for beat in beats}

    assert await hear() == names
    await service.call_roll(bus)
    assert await hear() == names
    for task in beating:
        task.cancel()
