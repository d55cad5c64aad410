"""`cox schema`: an AsyncAPI 3.0 document of everything on the bus, made from the code itself."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING, Any

import msgspec

from cli.channels import CHANNELS, Channel
from cli.explaining.model import Explanation
from cli.report.model import Report
from shared.errors import InputError
from shared.messages import Inventory
from shared.optimization import Optimization

if TYPE_CHECKING:
    from shared.subjects import Subjects

TITLES = {
    "request": "A client asks for an optimization",
    "question": "A short question and its answer",
    "command": "Work that must not be lost",
    "event": "What happened in an optimization's life",
    "heartbeat": "A sign of life",
    "call": "Everybody is asked for a sign of life",
    "dead": "What nobody could handle",
}
PARAMETERS = {
    "host": "A host's name",
    "shard": "The host's shard: its name's CRC-32 modulo 64, as two hexadecimal digits",
    "optimization": "An optimization's id, or `_` for what is none's",
    "service": "observer, planner, executor or learner",
    "instance": "One running service",
    "stream": "The stream that the message was taken from",
}
DOCUMENTS: tuple[type[msgspec.Struct], ...] = (Report, Explanation, Optimization, Inventory)
"""On no subject, but promised: report.json, `cox explain --json`, the buckets' records."""


def document(subjects: Subjects) -> dict[str, Any]:
    """The AsyncAPI document for these subjects."""
    kinds = _kinds()
    _, schemas = msgspec.json.schema_components(
        [*kinds.values(), *DOCUMENTS], ref_template="#/components/schemas/{name}"
    )
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for channel in CHANNELS:
        name = _name(channel)
        channels[name] = _channel(channel, subjects)
        operations[name] = _operation(channel, name)
        if channel.reply is not None:
            reply = channel.reply.__name__
            channels[f"{name}.reply"] = {
                "address": None,
                "messages": {reply: {"$ref": f"#/components/messages/{reply}"}},
            }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Coxswain on NATS",
            "version": importlib.metadata.version("coxswain"),
            "description": "Every subject with the message on it. Messages are JSON; trace "
            "context rides in the header `traceparent`.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {
                name: {
                    "name": name,
                    "summary": _summary(kind),
                    "payload": {"$ref": f"#/components/schemas/{name}"},
                }
                for name, kind in kinds.items()
            },
            "schemas": schemas,
        },
    }


def schema_of(name: str) -> dict[str, Any]:
    """One message's JSON schema. Raises InputError."""
    kinds = {**_kinds(), **{kind.__name__: kind for kind in DOCUMENTS}}
    if name not in kinds:
        raise InputError(
            "no such message",
            expected=f"one of {', '.join(sorted(kinds))}",
            got=repr(name)[:80],
            advice="`cox schema` without a name prints all of them.",
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(kinds[name]),
    }


def _kinds() -> dict[str, type[msgspec.Struct]]:
    found: dict[str, type[msgspec.Struct]] = {}
    for channel in CHANNELS:
        for kind in (channel.message, channel.reply):
            if kind is not None:
                found[kind.__name__] = kind
    return dict(sorted(found.items()))


def _name(channel: Channel) -> str:
    return ".".join(part for part in (channel.kind, channel.service, channel.verb) if part)


def _channel(channel: Channel, subjects: Subjects) -> dict[str, Any]:
    address = channel.address(subjects)
    name = channel.message.__name__
    described: dict[str, Any] = {
        "address": address,
        "title": TITLES[channel.kind],
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }
    parameters = re.findall(r"\{(\w+)\}", address)
    if parameters:
        described["parameters"] = {
            parameter: {"description": PARAMETERS[parameter]} for parameter in parameters
        }
    return described


def _operation(channel: Channel, name: str) -> dict[str, Any]:
    """Seen from Coxswain's services: commands and questions are received, facts are sent."""
    told = channel.kind in {"event", "heartbeat", "dead"}
    described: dict[str, Any] = {
        "action": "send" if told else "receive",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": _summary(channel.message),
    }
    if channel.reply is not None:
        described["reply"] = {
            "address": {"location": "$message.header#/reply"},
            "channel": {"$ref": f"#/channels/{name}.reply"},
        }
    return described


def _summary(kind: type[msgspec.Struct]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]
