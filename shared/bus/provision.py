"""The one step that makes streams, consumers and buckets; services only bind to them.

Everything here may be run again at any time: what exists with the same settings stays.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nats.js.api import (
    ConsumerConfig,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BadRequestError

from shared.bus.away import AWAY
from shared.errors import BusUnavailableError

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from shared.subjects import Service, Subjects

DAY_S = 86_400.0
MAX_CONSUMERS = 50_000
"""On one stream. It must be said: nats-server 2.15 stops at 1,000 where nothing is, and takes
-1 for nothing."""

MAX_DELIVER = 8
"""Deliveries of a message before it is a dead letter. Crashes count, so it is not small."""

ACK_WAIT_S = 20.0
"""A handler that works longer sends in-progress acks (every third of this)."""


async def when_ready(js: JetStreamContext, replicas: int, deadline_s: float = 60.0) -> None:
    """Wait until a cluster's servers have found each other and keep what they are given.

    A stream with as many replicas is made and removed again: nothing less tells. Raises
    BusUnavailableError.
    """
    probe = StreamConfig(
        name="cox-probe", subjects=["cox-probe"], num_replicas=replicas, storage=StorageType.MEMORY
    )
    error: Exception | None = None
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                try:
                    await js.add_stream(probe)
                    await js.delete_stream("cox-probe")
                except AWAY as caught:
                    error = caught
                    await asyncio.sleep(0.2)
                else:
                    return
    except TimeoutError:
        raise BusUnavailableError(
            "the NATS servers did not become a cluster",
            expected=f"{replicas} servers that keep a stream together within {deadline_s:.0f} s",
            got=repr(error),
            advice="Look at the servers' logs, and if they reach each other's routes.",
        ) from error


async def provision(js: JetStreamContext, subjects: Subjects, replicas: int = 1) -> None:
    """Make everything that does not belong to one host."""
    streams = [
        # A command is gone when somebody has acknowledged it.
        StreamConfig(
            name=subjects.stream("COMMANDS"),
            subjects=[subjects.stream_subjects("COMMANDS")],
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.NEW,
            max_age=DAY_S,
            max_msgs=100_000,
            max_consumers=MAX_CONSUMERS,
        ),
        # The audit log, and the source of the learner's state: kept until somebody prunes it.
        StreamConfig(
            name=subjects.stream("EVENTS"),
            subjects=[subjects.stream_subjects("EVENTS")],
            discard=DiscardPolicy.NEW,
        ),
        # Limits are counts: bytes would be reserved on the disk at once.
        # Enough for `cox trace` of last week's work.
        StreamConfig(
            name=subjects.stream("SPANS"),
            subjects=[subjects.stream_subjects("SPANS")],
            max_age=7 * DAY_S,
            max_msgs=500_000,
        ),
        StreamConfig(
            name=subjects.stream("DEAD"),
            subjects=[subjects.stream_subjects("DEAD")],
            max_age=30 * DAY_S,
            max_msgs=10_000,
        ),
    ]
    for stream in streams:
        stream.storage = StorageType.FILE
        stream.num_replicas = replicas
        stream.duplicate_window = 120.0
        stream.allow_direct = True
        await _stream(js, stream)
    for bucket in ("hosts", "optimizations", "policies", "fleet"):
        await _key_value(js, _bucket(subjects, bucket), replicas)
    await _object_store(js, subjects.bucket("artifacts"), replicas)
    events = subjects.stream("EVENTS")
    commands = subjects.stream("COMMANDS")
    await _consumer(
        js,
        events,
        subjects.consumer("planner", "events"),
        [subjects.events(service) for service in ("observer", "executor", "learner")],
    )
    await _consumer(
        js, events, subjects.consumer("learner", "rounds"), [subjects.events("executor", "round")]
    )
    await _consumer(
        js,
        commands,
        subjects.consumer("planner", "commands"),
        [subjects.command("planner", "plan")],
    )
    await _consumer(
        js,
        commands,
        subjects.consumer("learner", "commands"),
        [subjects.command("learner", verb) for verb in ("remember", "weigh")],
    )
    await _consumer(
        js, commands, subjects.consumer("executor", "gate"), [subjects.command("executor", "build")]
    )
    # A collector may be away for days: spans are tried until their stream drops them.
    await _consumer(
        js,
        subjects.stream("SPANS"),
        subjects.consumer("relay", "spans"),
        [subjects.stream_subjects("SPANS")],
        max_deliver=-1,
    )


async def provision_host(js: JetStreamContext, subjects: Subjects, host: str) -> None:
    """Make the consumers of one host's observer and executor, and its shard if it is the first."""
    shard = subjects.stream("COMMANDS", host)
    whole = (await js.stream_info(subjects.stream("COMMANDS"))).config
    await _stream(
        js, whole.evolve(name=shard, subjects=[subjects.stream_subjects("COMMANDS", host)])
    )
    services: tuple[Service, ...] = ("observer", "executor")
    for service in services:
        await _consumer(
            js,
            shard,
            subjects.consumer(service, "host", host),
            [subjects.commands(service, host=host)],
        )


def _bucket(subjects: Subjects, name: str) -> str:
    return subjects.bucket(name)  # type: ignore[arg-type]


async def _stream(js: JetStreamContext, config: StreamConfig) -> None:
    try:
        await js.add_stream(config)
    except BadRequestError:
        # It exists with other settings, from an older version of ours.
        await js.update_stream(config)


async def _key_value(js: JetStreamContext, bucket: str, replicas: int) -> None:
    """A bucket that keeps the last revision alone: the history of things is in EVENTS."""
    try:
        await js.create_key_value(KeyValueConfig(bucket=bucket, history=1, replicas=replicas))
    except BadRequestError:
        # It exists with other settings, from an older version of ours.
        config = (await js.stream_info(f"KV_{bucket}")).config
        await js.update_stream(config.evolve(max_msgs_per_subject=1, num_replicas=replicas))


async def _object_store(js: JetStreamContext, bucket: str, replicas: int) -> None:
    try:
        await js.create_object_store(bucket, replicas=replicas)
    except BadRequestError:
        await js.object_store(bucket)


async def _consumer(
    js: JetStreamContext,
    stream: str,
    name: str,
    filters: list[str],
    *,
    max_deliver: int = MAX_DELIVER,
) -> None:
    await js.add_consumer(
        stream,
        ConsumerConfig(
            durable_name=name,
            filter_subjects=filters,
            ack_wait=ACK_WAIT_S,
            max_deliver=max_deliver,
            max_ack_pending=256,
        ),
    )
