"""`cox status` and `cox optimizations`: the fleet on one page, and what was asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import pty
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cli.hosts import Host
from cli.optimizations import choose, table
from cli.overview.picture import compose
from shared.bus import Bus, connect
from shared.bus.provision import provision
from shared.bus.server import NatsServer
from shared.errors import BusError, InputError
from shared.messages import Cost, DeadLetter, SchedulerState
from shared.optimization import Optimization
from shared.subjects import Subjects
from tests.cli.conftest import CHECKOUT, Cox, CoxOnBus
from tests.cli.recorded import optimization, rejected
from tests.cli.test_commands import join, state


def trying(pairs: int = 5) -> Optimization:
    """An optimization in the middle of its only trial."""
    record = optimization().record
    trial = replace(record.trials[0], pairs=pairs, decision=None, ended=None)
    return replace(
        record, phase="trying", terminal=None, trials=[trial], winner=None, deployments={}
    )


async def put(bus: Bus, record: Optimization) -> None:
    await (await bus.records("optimizations", Optimization)).put(record.id, record)


# --- Pure --------------------------------------------------------------------------------------


def test_a_live_trial_shows_its_progress_and_the_budget_that_is_gone() -> None:
    record = replace(
        trying(5),
        costs={"plan": Cost(tokens=900, dollars=0.5), "trial": Cost(tokens=100, wall_s=3.0)},
    )
    (live,) = compose([], [record], dead_letters=0).optimizations
    assert live.trial is not None
    assert (live.trial.policy, live.trial.host) == ("latency", "lab-1")
    assert (live.trial.pairs, live.trial.max_pairs) == (5, record.trials[0].spec.max_pairs)
    assert live.trial.ratio == record.trials[0].judged.ratio  # type: ignore[union-attr]
    assert (live.rounds, live.budget_rounds) == (5, record.request.budget.rounds)
    assert live.cost == Cost(wall_s=3.0, tokens=1000, dollars=0.5)


def test_what_a_drift_has_opened_says_so() -> None:
    because = "drift in o1: tasks wait 0.90 s for each second they run, for hours"
    (live,) = compose([], [replace(trying(), because=because)], dead_letters=0).optimizations
    assert live.because == because
    (over,) = choose([replace(optimization().record, because=because)])
    assert over.because == because
    assert "after drift in o1" in str(list(table([over]).columns[1].cells))


def test_the_ratio_is_that_of_what_was_kept_whatever_was_tried_after_it() -> None:
    record = optimization().record
    winner = record.winner
    assert winner is not None
    assert winner.judged is not None
    later = replace(winner, trial="t9", judged=replace(winner.judged, ratio=0.99), decision=None)
    (line,) = choose([replace(record, trials=[*record.trials, later])])
    (known,) = choose([record])
    assert line.ratio == known.ratio


def test_only_what_is_not_over_is_live_and_the_newest_ends_are_shown() -> None:
    ended = [
        replace(rejected().record, phase="ended", ended_unix_ns=number) for number in (3, 1, 4, 2)
    ]
    picture = compose([], [*ended, trying()], dead_letters=2)
    assert len(picture.optimizations) == 1
    assert [line.ended_unix_ns for line in picture.ended] == [4, 3, 2]
    assert picture.dead_letters == 2


def test_nothing_that_only_grows_older_changes_the_picture() -> None:
    inventory = optimization().record.inventories["lab-1"]
    before = Host(host="lab-1", inventory=inventory, scheduler=state("lab-1"))
    after = Host(
        host="lab-1",
        inventory=replace(inventory, unix_ns=inventory.unix_ns + 30_000_000_000),
        scheduler=replace(state("lab-1"), unix_ns=5),
    )
    assert compose([before], [], dead_letters=0) == compose([after], [], dead_letters=0)
    gone = Host(host="lab-1", inventory=inventory, scheduler=state("lab-1"), silent=["executor"])
    assert compose([gone], [], dead_letters=0) != compose([before], [], dead_letters=0)


def test_a_drained_host_is_not_ready_and_has_no_obstacle() -> None:
    inventory = optimization().record.inventories["lab-1"]
    host = Host(host="lab-1", inventory=inventory, scheduler=state("lab-1"), drained="")
    (shown,) = compose([host], [], dead_letters=0).hosts
    assert (shown.ready, shown.obstacles, shown.drained) == (False, [], "")


def test_filters_are_about_state_and_workload_and_the_newest_come_first() -> None:
    one = replace(optimization().record, created_unix_ns=1)
    two = replace(rejected().record, created_unix_ns=2)
    three = replace(trying(), created_unix_ns=3)
    other = replace(three.request, workload="build")
    three = replace(three, request=other)
    records = [two, three, one]
    assert [line.optimization for line in choose(records)] == [three.id, two.id, one.id]
    assert [line.optimization for line in choose(records, states=["promoted"])] == [one.id]
    both = choose(records, states=["trying", "rejected"])
    assert [line.optimization for line in both] == [three.id, two.id]
    assert [line.optimization for line in choose(records, workload="build")] == [three.id]
    assert choose(records, states=["promoted"], workload="build") == []
    with pytest.raises(InputError, match="no such state"):
        choose(records, states=["lost"])


@pytest.mark.parametrize("arguments", [["--state", "lost"], ["--limit", "0"]], ids=" ".join)
def test_what_cannot_be_listed_is_a_usage_error(cox: Cox, arguments: list[str]) -> None:
    ran = cox("optimizations", *arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "command", ["optimizations", "status", "doctor", "dead list", "dead show", "dead replay"]
)
def test_an_operators_command_has_a_page_with_an_example(cox: Cox, command: str) -> None:
    page = cox(*command.split(), "--help")
    assert page.code == 0
    assert f"Example: cox {command}" in " ".join(page.out.split())
    assert f" {command.split(maxsplit=1)[0]} " in cox("--help").out


# --- On a bus ----------------------------------------------------------------------------------


async def test_the_page_has_hosts_live_trials_ends_and_dead_letters(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    live = trying()
    await put(bus, live)
    await rejected().publish(bus)
    letter = DeadLetter(stream="s", subject="x", sequence=1, deliveries=8, reason="r", data=b"")
    await bus.publish(bus.subjects.dead("s"), letter, message_id="d")
    beating = await join(bus, "lab-1")
    page, document = await asyncio.gather(cox_on_bus("status"), cox_on_bus("status", "--json"))
    beating.cancel()
    for words in (
        *("lab-1", "ready", "latency", live.id, "trying it in paired rounds"),
        *("5 of ", "pairs", "of 24", "rejected", "1 dead letter"),
    ):
        assert words in page.out
    (host,) = document.document["hosts"]
    assert host["ready"]
    assert host["runs"]["policy"] == "latency"
    assert [each["optimization"] for each in document.document["optimizations"]] == [live.id]
    assert [each["terminal"] for each in document.document["ended"]] == ["rejected"]
    assert document.document["dead_letters"] == 1
    assert document.document["connected"]


async def test_an_empty_fleet_says_what_to_do(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    page, listed = await asyncio.gather(cox_on_bus("status"), cox_on_bus("optimizations"))
    assert "cox lab up" in page.out
    assert "cox optimize" in page.out
    assert "cox optimize" in listed.out


@contextlib.asynccontextmanager
async def watching(
    environment: dict[str, str], *arguments: str, **streams: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "status", "--watch", *arguments),
        env=environment,
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        **streams,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_watching_as_json_is_a_document_a_change(
    bus: Bus, bus_environment: dict[str, str]
) -> None:
    live = trying(2)
    await put(bus, live)
    beating = await join(bus, "lab-1")
    stdout = asyncio.subprocess.PIPE
    async with watching(bus_environment, "--json", stdout=stdout) as process:
        documents: list[Any] = []

        async def until(wanted: Any) -> None:
            assert process.stdout is not None
            async with asyncio.timeout(120):
                while not documents or not wanted(documents[-1]):
                    documents.append(json.loads(await process.stdout.readline()))

        await until(lambda seen: seen["optimizations"] and seen["hosts"])
        assert documents[-1]["optimizations"][0]["trial"]["pairs"] == 2
        await put(bus, trying_on(live, 3))
        await until(lambda seen: seen["optimizations"][0]["trial"]["pairs"] == 3)
        schedulers = await bus.records("hosts", SchedulerState)
        default = SchedulerState(host="lab-1", boot_id="b", state="disabled")
        await schedulers.put("lab-1.scheduler", default)
        await until(lambda seen: not seen["hosts"][0]["runs"]["ops"])
        beating.cancel()
        await until(lambda seen: not seen["hosts"][0]["ready"])
        await put(bus, replace(live, phase="ended", terminal="cancelled"))
        await until(lambda seen: not seen["optimizations"])
        assert documents[-1]["ended"][0]["terminal"] == "cancelled"
        assert all(a != b for a, b in itertools.pairwise(documents))
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0
        assert err == b""


def trying_on(record: Optimization, pairs: int) -> Optimization:
    return replace(record, trials=[replace(record.trials[0], pairs=pairs)])


async def test_watching_goes_on_after_the_server_was_away(
    environment: dict[str, str], subjects: Subjects, tmp_path: Path
) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    bus = await connect(server.url, subjects, "test", patience_s=10)
    live = trying(2)
    own = {**environment, "COX_NATS_URL": server.url, "COX_NAMESPACE": subjects.namespace}
    try:
        await provision(bus.js, subjects)
        await put(bus, live)
        async with watching(own, "--json", stdout=asyncio.subprocess.PIPE) as process:

            async def until(wanted: Any) -> None:
                assert process.stdout is not None
                async with asyncio.timeout(60):
                    while not wanted(json.loads(await process.stdout.readline())):
                        pass

            await until(lambda seen: seen["optimizations"] and seen["connected"])
            server.kill()
            await until(lambda seen: not seen["connected"] and seen["optimizations"])
            server.start()
            await until(lambda seen: seen["connected"])
            async with asyncio.timeout(30):
                while True:
                    with contextlib.suppress(BusError):
                        await put(bus, trying_on(live, 3))
                        break
                    await asyncio.sleep(0.2)
            await until(lambda seen: seen["optimizations"][0]["trial"]["pairs"] == 3)
    finally:
        await bus.close()
        server.stop()


async def test_on_a_terminal_the_page_is_drawn_again_in_place(
    bus: Bus, bus_environment: dict[str, str]
) -> None:
    live = trying(2)
    await put(bus, live)
    beating = await join(bus, "lab-1")
    ours, theirs = pty.openpty()
    terminal = {**bus_environment, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"}
    try:
        async with watching(terminal, stdout=theirs) as process:
            os.close(theirs)
            seen = b""

            async def until(words: bytes) -> None:
                nonlocal seen
                async with asyncio.timeout(60):
                    while words not in seen:
                        seen += await asyncio.to_thread(os.read, ours, 65_536)

            await until(b"2 of 12 pairs")
            await put(bus, trying_on(live, 3))
            await until(b"3 of 12 pairs")
            assert b"\x1b[1A" in seen  # up again: in place
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), 30)
            assert process.returncode == 0
    finally:
        beating.cancel()
        os.close(ours)


async def test_optimizations_are_limited_and_say_what_was_left_out(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    for number in range(3):
        await put(bus, replace(rejected().record, phase="ended", created_unix_ns=number + 1))
    await put(bus, trying())
    listed, document, none = await asyncio.gather(
        cox_on_bus("optimizations", "--state", "rejected", "--limit", "2"),
        cox_on_bus("optimizations", "--state", "rejected", "--limit", "2", "--json"),
        cox_on_bus("optimizations", "--state", "promoted"),
    )
    assert "1 older" in listed.out
    lines = document.document["optimizations"]
    assert [line["created_unix_ns"] for line in lines] == [3, 2]
    assert document.document["more"] == 1
    assert "None of 4" in none.out


def test_a_host_that_loads_nothing_says_why() -> None:
    inventory = optimization().record.inventories["lab-1"]
    told = replace(
        state("lab-1"),
        guarded=False,
        breaker="open",
        breaker_until_unix_ns=time.time_ns() + 60 * 10**9,
        breaker_why="3 faults",
        quarantined=["a" * 64],
    )
    host = Host(host="lab-1", inventory=inventory, scheduler=told)
    (shown,) = compose([host], [], dead_letters=0).hosts
    assert not shown.ready
    assert shown.obstacles[0] == "it has no guard"
    assert re.fullmatch(r"its breaker is open until [\d:]{8}: 3 faults", shown.obstacles[1])
    assert (shown.breaker, shown.quarantined) == ("open", ["a" * 64])
    over = Host(host="lab-1", inventory=inventory, scheduler=replace(told, breaker="half-open"))
    assert over.obstacles == ["it has no guard"]
