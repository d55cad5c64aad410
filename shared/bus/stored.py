"""Reading all that a stream keeps now for a filter, and knowing when that was all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from nats.js.api import DeliverPolicy

from shared.bus.away import AWAY
from shared.errors import DeadlineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

PATIENCE_S = 5.0


async def stored(
    js: JetStreamContext, stream: str, subject_filter: str, *, last_only: bool = False
) -> AsyncIterator[Msg]:
    """Every message that is kept now, oldest first; of each subject the last one with `last_only`.

    Raises DeadlineError when the stream stops answering.
    """
    subscription = await js.subscribe(
        subject_filter,
        stream=stream,
        ordered_consumer=True,
        deliver_policy=DeliverPolicy.LAST_PER_SUBJECT if last_only else DeliverPolicy.ALL,
    )
    try:
        info = await subscription.consumer_info()
        # What the server has sent already counts by its own word: on a busy machine it is not
        # here yet when the answer is.
        sent = info.delivered.consumer_seq if info.delivered is not None else 0
        left = (info.num_pending or 0) + (sent or 0)
        while left > 0:
            message = await subscription.next_msg(timeout=PATIENCE_S)
            yield message
            left = message.metadata.num_pending
    except TimeoutError as error:
        raise DeadlineError(f"stream {stream} stopped answering") from error
    finally:
        with contextlib.suppress(*AWAY):
            await subscription.unsubscribe()
