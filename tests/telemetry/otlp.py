"""OTLP JSON as its protobuf definition reads it."""

from __future__ import annotations

import base64
from typing import Any


def ids_as_base64(node: Any) -> Any:
    """Protobuf's own JSON has bytes in base64; OTLP alone has ids in hex."""
    if isinstance(node, dict):
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in {"traceId", "spanId", "parentSpanId"}
            else ids_as_base64(value)
            for key, value in node.items()
        }
    return [ids_as_base64(item) for item in node] if isinstance(node, list) else node
