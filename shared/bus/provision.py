"""The one step that makes streams, consumers and buckets; services only bind to them.

Everything here may be run again at any time: what exists with the same settings stays.

Sequences grow over the lives of a stream: one that is made begins at the time, in µs since 1970. So
a stream that was deleted and made anew gives no message and no record's revision a number that an
earlier one has had: a compare-and-set on an old revision fails, and a fencing token stays behind.
Only dead letters are counted from 1.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from nats.js.api import (
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BadRequestError, NotFoundError

from shared.bus.away import AWAY
from shared.errors import BusUnavailableError

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from shared.subjects import Service, Subjects

DAY_S = 86_400.0
REQUEST_DAYS = 30
"""How long a request is remembered: so long it may be that something is loaded for it."""
MAX_CONSUMERS = 50_000
"""On one stream. It must be said: nats-server 2.15 stops at 1,000 where nothing is, and takes
-1 for nothing."""

BUCKETS = ("hosts", "optimizations", "policies", "fleet")

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
        # What operators and clients have asked for, as they said it: the gate signs for nothing
        # else. It answers nobody, for that is the planner's part.
        StreamConfig(
            name=subjects.stream("REQUESTS"),
            subjects=[subjects.stream_subjects("REQUESTS")],
            max_age=REQUEST_DAYS * DAY_S,
            max_msgs=10_000,
            no_ack=True,
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
            # Operators call letters by their numbers.
            first_seq=1,
        ),
    ]
    for stream in streams:
        stream.storage = StorageType.FILE
        stream.num_replicas = replicas
        stream.duplicate_window = 120.0
        stream.allow_direct = True
        await _stream(js, stream)
    for bucket in BUCKETS:
        # What an optimization was stays for half a year after its last step.
        age_s = 180 * DAY_S if bucket == "optimizations" else 0.0
        await _key_value(js, _bucket(subjects, bucket), replicas, age_s)
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
        js,
        events,
        subjects.consumer("learner", "rounds"),
        [subjects.events("executor", "round"), subjects.events("planner", "ended")],
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
        js,
        whole.evolve(
            name=shard,
            subjects=[subjects.stream_subjects("COMMANDS", host)],
            first_seq=None,
        ),
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


def central_streams(subjects: Subjects) -> list[str]:
    """The names of all that `provision` makes, buckets and the store among them."""
    return [
        *(subjects.stream(name) for name in ("COMMANDS", "REQUESTS", "EVENTS", "SPANS", "DEAD")),
        *(f"KV_{_bucket(subjects, name)}" for name in BUCKETS),
        f"OBJ_{subjects.bucket('artifacts')}",
    ]


def central_consumers(subjects: Subjects) -> list[tuple[str, str]]:
    """(stream, consumer) of the same."""
    events, commands = subjects.stream("EVENTS"), subjects.stream("COMMANDS")
    return [
        (events, subjects.consumer("planner", "events")),
        (events, subjects.consumer("learner", "rounds")),
        (commands, subjects.consumer("planner", "commands")),
        (commands, subjects.consumer("learner", "commands")),
        (commands, subjects.consumer("executor", "gate")),
        (subjects.stream("SPANS"), subjects.consumer("relay", "spans")),
    ]


async def _stream(js: JetStreamContext, config: StreamConfig) -> None:
    known = await _known(js, config.name or "")
    if known is None:
        first = config.first_seq or time.time_ns() // 1000
        try:
            await js.add_stream(config.evolve(first_seq=first))
        except BadRequestError:
            known = await _known(js, config.name or "")  # did somebody else make it meanwhile?
            if known is None:
                raise
        else:
            return
    config = config.evolve(first_seq=known.first_seq)
    try:
        await js.add_stream(config)
    except BadRequestError:
        # It exists with other settings, from an older version of ours.
        await js.update_stream(config)


async def _known(js: JetStreamContext, stream: str) -> StreamConfig | None:
    try:
        return (await js.stream_info(stream)).config
    except NotFoundError:
        return None


async def _key_value(js: JetStreamContext, bucket: str, replicas: int, age_s: float) -> None:
    """A bucket that keeps the last revision alone: the history of things is in EVENTS."""
    known = await _known(js, f"KV_{bucket}")
    if known is not None:
        # It may be from an older version of ours, with other settings.
        wanted = known.evolve(max_msgs_per_subject=1, num_replicas=replicas, max_age=age_s)
        if wanted != known:
            await js.update_stream(wanted)
        return
    # What client libraries make of a bucket; theirs cannot be told where to begin.
    await js.add_stream(
        StreamConfig(
            name=f"KV_{bucket}",
            subjects=[f"$KV.{bucket}.>"],
            allow_rollup_hdrs=True,
            deny_delete=True,
            discard=DiscardPolicy.NEW,
            duplicate_window=120.0,
            max_age=age_s,
            max_msgs_per_subject=1,
            num_replicas=replicas,
            storage=StorageType.FILE,
            first_seq=time.time_ns() // 1000,
        )
    )


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
