"""A thin layer over nats-py: connect, publish, request, serve, consume, records, artifacts.

    call            on the wire
    publish         JetStream publish with `Nats-Msg-Id`, waits for the stream's ack
    tell            core publish, nobody answers (heartbeats)
    ask             core request; a problem in the reply becomes RemoteError
    serve           core queue subscription; handlers run side by side, drained on close
    consume         pull from a durable consumer that provisioning made
    history         read what a stream keeps for a subject filter, from its beginning
    records         a key-value bucket with compare-and-set
    artifacts       the object store, by content hash

Trace context (W3C `traceparent`) rides in the headers of every one of them.
"""

from shared.bus.connection import Bus, connect
from shared.bus.consume import Delivery, Handler
from shared.bus.records import Record, Records

__all__ = ["Bus", "Delivery", "Handler", "Record", "Records", "connect"]
