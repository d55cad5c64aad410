"""Orders: what a person types, and what the planner hears."""

from __future__ import annotations

import json

import pytest

from shared.bus import Bus
from shared.errors import RequestError
from shared.messages import (
    DrainRequest,
    FreezeRequest,
    Message,
    PauseRequest,
    PolicyOrder,
    PolicyOrdered,
    Reply,
    ResetRequest,
    ResumeRequest,
    SchedulerState,
)
from tests.cli.conftest import Cox, CoxOnBus
from tests.cli.recorded import optimization

KINDS: dict[str, type[Message]] = {
    "pause": PauseRequest,
    "resume": ResumeRequest,
    "freeze": FreezeRequest,
    "drain": DrainRequest,
}


async def planner(bus: Bus) -> list[Message]:
    """One that agrees with everything but the host nobody."""
    heard: list[Message] = []

    async def answer(request: Message) -> Reply:
        heard.append(request)
        if isinstance(request, DrainRequest) and request.host == "nobody":
            raise RequestError("unknown host", got="nobody")
        return Reply()

    for name, kind in KINDS.items():
        subject = bus.subjects.endpoint("planner", name)
        await bus.serve(subject, kind, answer, queue="planner")
    return heard


async def test_each_order_reaches_the_planner(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    heard = await planner(bus)
    recorded = optimization()
    await recorded.publish(bus)
    identity = recorded.record.id
    for arguments, message, word in (
        (["pause", "last"], PauseRequest(optimization=identity), "cox resume"),
        (["resume", identity], ResumeRequest(optimization=identity), "goes on"),
        (["freeze", "--reason", "x"], FreezeRequest(frozen=True, reason="x"), "cox unfreeze"),
        (["unfreeze"], FreezeRequest(frozen=False), "goes on"),
        (
            ["hosts", "drain", "lab-1"],
            DrainRequest(host="lab-1", drained=True),
            "cox hosts undrain lab-1",
        ),
        (["hosts", "undrain", "lab-1"], DrainRequest(host="lab-1", drained=False), "again"),
    ):
        ran = await cox_on_bus(*arguments)
        assert (ran.code, ran.err) == (0, "")
        assert word in ran.out
        assert heard[-1] == message


async def test_with_json_an_order_answers_in_json(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    await planner(bus)
    ran = await cox_on_bus("hosts", "drain", "lab-1", "--reason", "new memory", "--json")
    assert json.loads(ran.out) == {"type": "drained", "host": "lab-1", "reason": "new memory"}
    refused = await cox_on_bus("hosts", "drain", "nobody", "--json")
    assert refused.code == 2
    assert json.loads(refused.out)["problem"]["what"] == "unknown host"


@pytest.mark.parametrize(
    "command",
    [
        *("pause", "resume", "freeze", "unfreeze", "hosts drain", "hosts undrain"),
        *("policies retire", "policies promote"),
    ],
)
def test_every_order_has_an_example(cox: Cox, command: str) -> None:
    page = cox(*command.split(), "--help")
    assert page.code == 0
    assert f"Example: cox {command}" in " ".join(page.out.split())


async def test_orders_on_policies_reach_the_planner_and_tell_what_runs(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    heard: list[PolicyOrder] = []
    standing = iter(["retired", "ordinary", "preferred", "retired"])

    async def answer(request: PolicyOrder) -> PolicyOrdered:
        heard.append(request)
        return PolicyOrdered(
            policy=request.policy,
            version=request.version,
            standing=next(standing),  # type: ignore[arg-type]
            reason=request.reason,
        )

    await bus.serve(bus.subjects.endpoint("planner", "policy"), PolicyOrder, answer, queue="p")
    schedulers = await bus.records("hosts", SchedulerState)
    for host, policy in (
        ("h1", "latency"),
        ("h2", "fair"),
        ("h3", "latency-made-0123456789abcdef"),
    ):
        state = SchedulerState(host=host, boot_id="b", state="enabled", ours=True, policy=policy)
        await schedulers.put(f"{host}.scheduler", state)
    for arguments, message, words in (
        (
            ("retire", "latency@1.0.0"),
            PolicyOrder(order="retire", policy="latency", version="1.0.0", reason="x"),
            ("cox policies promote latency@1.0.0", "what runs keeps running, on h1, h3"),
        ),
        (
            ("promote", "latency"),
            PolicyOrder(order="promote", policy="latency", reason="x"),
            ("like any other",),
        ),
        (
            ("promote", "latency"),
            PolicyOrder(order="promote", policy="latency", reason="x"),
            ("before its equals",),
        ),
    ):
        ran = await cox_on_bus("policies", *arguments, "--reason", "x")
        assert (ran.code, ran.err) == (0, "")
        shown = " ".join(ran.out.split())
        assert all(each in shown for each in words), shown
        assert heard[-1] == message
    document = (await cox_on_bus("policies", "retire", "fair", "--reason", "x", "--json")).document
    assert document["ordered"]["standing"] == "retired"
    assert document["runs_on"] == ["h2"]


@pytest.mark.parametrize(
    "arguments",
    [("retire", "latency"), ("retire", "latency@", "--reason", "x"), ("promote", "--reason", "x")],
)
def test_an_order_on_a_policy_needs_a_name_and_a_reason(
    cox: Cox, arguments: tuple[str, ...]
) -> None:
    ran = cox("policies", *arguments)
    assert (ran.code, ran.out) == (2, "")


async def test_a_reset_reaches_the_host_and_shows_its_breaker(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    heard: list[Message] = []

    async def answer(request: ResetRequest) -> SchedulerState:
        heard.append(request)
        return SchedulerState(host="lab-1", boot_id="b", state="disabled")

    subject = bus.subjects.endpoint("executor", "reset", "lab-1")
    await bus.serve(subject, ResetRequest, answer, queue="lab-1")
    ran = await cox_on_bus("hosts", "reset", "lab-1", "--json")
    assert ran.code == 0
    assert heard == [ResetRequest()]
    assert json.loads(ran.out)["state"]["breaker"] == "closed"
