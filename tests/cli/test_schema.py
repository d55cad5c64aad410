from __future__ import annotations

import re
from typing import Any

import pytest

from cli.channels import CHANNELS, EVENTS, Channel
from cli.schema import DOCUMENTS, document, schema_of
from shared import messages
from shared.errors import InputError
from shared.subjects import Subjects, shard


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(Subjects("cox"))


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in references(value)]
    if isinstance(node, list):
        return [found for value in node for found in references(value)]
    return []


def test_it_is_asyncapi_3_and_every_reference_resolves(described: dict[str, Any]) -> None:
    assert described["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= described["info"].keys()
    found = references(described)
    assert found
    for reference in found:
        node = described
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node


def test_operations_and_channels_belong_together(described: dict[str, Any]) -> None:
    for name, operation in described["operations"].items():
        assert operation["action"] in {"send", "receive"}
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        assert channel in described["channels"], name
    for channel in described["channels"].values():
        placeholders = set(re.findall(r"\{(\w+)\}", channel["address"] or ""))
        assert placeholders == set(channel.get("parameters", {}))
        assert channel["messages"]


def built(subjects: Subjects, channel: Channel) -> str:
    service: Any = channel.service
    host = "h" if channel.of_host else None
    match channel.kind:
        case "request":
            return subjects.optimize
        case "question":
            return subjects.endpoint(service, channel.verb, host)
        case "command":
            return subjects.command(service, channel.verb, host)
        case "event":
            return subjects.event(service, channel.verb, "o", host)
        case "heartbeat":
            return subjects.heartbeat("planner", "i")
        case "call":
            return subjects.roll_call
        case "dead":
            return subjects.dead("s")


def test_addresses_are_those_that_subjects_builds() -> None:
    subjects = Subjects("x")
    for channel in CHANNELS:
        address = channel.address(subjects).format(
            host="h",
            shard=shard("h"),
            optimization="o",
            service="planner",
            instance="i",
            stream="s",
        )
        assert address == built(subjects, channel)


def test_no_message_is_forgotten() -> None:
    on_the_bus = {channel.message for channel in CHANNELS}
    on_the_bus |= {channel.reply for channel in CHANNELS if channel.reply is not None}
    defined = {
        value
        for value in vars(messages).values()
        if isinstance(value, type)
        and issubclass(value, messages.Message)
        and value is not messages.Message
    }
    assert defined <= on_the_bus | set(DOCUMENTS)
    assert messages.OptimizeRequest in on_the_bus
    assert EVENTS["executor", "round"] is messages.Round


def test_one_message_s_schema_stands_alone() -> None:
    schema = schema_of("OptimizeRequest")
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert "workload" in schema["$defs"]["OptimizeRequest"]["required"]
    request = schema["$defs"]["OptimizeRequest"]["properties"]
    assert (request["beside"]["maxItems"], request["alone"]["type"]) == (3, "boolean")
    assert "beside" in schema_of("MeasureRequest")["$defs"]["MeasureRequest"]["properties"]
    assert schema_of("Report")["$defs"]["Report"]["properties"]["trials"]
    with pytest.raises(InputError):
        schema_of("Nobody")
