from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cli.main import exit_code
from services.executor.gate.workshop import find_toolchain
from shared import errors
from shared.bus import Bus
from shared.errors import Problem, RequestError
from shared.fingerprint import key
from shared.fleet import ORDERS, Orders
from shared.messages import (
    AcceptedPart,
    CancelRequest,
    Ended,
    Heartbeat,
    Inventory,
    Neighbour,
    OptimizeReply,
    OptimizeRequest,
    Reply,
    RevertRequest,
    Rollout,
    SchedulerState,
    Selector,
)
from shared.signing import KEYS, SEEDS, SigningKeys, read_keys
from tests.cli.conftest import CHECKOUT, Cox, CoxOnBus
from tests.cli.recorded import Recorded, optimization, rejected

LATENCY = str(CHECKOUT / "bpf/policies/latency/hooks.bpf.c")


def refused(problem: Problem) -> OptimizeReply:
    return OptimizeReply(accepted=False, problem=problem)


async def play(bus: Bus, recorded: Recorded) -> list[OptimizeRequest]:
    """A planner that accepts whatever comes, and lives what was recorded."""
    asked: list[OptimizeRequest] = []

    async def accept(request: OptimizeRequest) -> OptimizeReply:
        asked.append(request)
        await recorded.publish(bus)
        await recorded.publish_spans(bus)
        return OptimizeReply(
            accepted=True, optimization=recorded.record.id, trace_id=recorded.record.trace_id
        )

    await bus.serve(bus.subjects.optimize, OptimizeRequest, accept, queue="planner", refuse=refused)
    return asked


# --- Without a bus -----------------------------------------------------------------------------


def test_the_front_page_lists_every_command(cox: Cox) -> None:
    page = cox("--help")
    assert page.code == 0
    for command in (
        *("up", "down", "keys", "lab", "hosts", "optimize", "status", "cancel", "trace", "revert"),
        *("pause", "resume", "freeze", "unfreeze"),
        *("policies", "gate", "bench", "schema", "doctor", "version", "report", "demo"),
        "explain",
    ):
        assert f" {command} " in page.out
    assert "4 inconclusive" in page.out


@pytest.mark.parametrize(
    "command",
    [
        ["optimize"],
        ["status"],
        ["explain"],
        ["up"],
        ["hosts"],
        ["revert"],
        ["gate", "check"],
        ["lab", "up"],
        ["hosts", "enroll"],
        ["hosts", "revoke"],
        ["keys"],
    ],
)
def test_every_page_of_help_has_an_example(cox: Cox, command: list[str]) -> None:
    page = cox(*command, "--help")
    assert page.code == 0
    assert f"Example: cox {' '.join(command)}" in " ".join(page.out.split())


def test_signing_keys_are_replaced_with_an_overlap(cox: Cox, environment: dict[str, str]) -> None:
    home = Path(environment["COX_HOME"]) / "keys"
    keys = SigningKeys(home / SEEDS, home / KEYS)
    none = cox("keys", "--rotate-signing")
    assert none.code == 2
    assert "signing keys cannot be read" in none.err
    keys.ensure()
    rotated = cox("keys", "--rotate-signing", "--json")
    assert rotated.code == 0
    assert "epoch 2" in rotated.err
    assert str(home / KEYS) in rotated.err.replace("\n", "")
    assert [key.epoch for key in read_keys(keys.keys, "keys")] == [1, 2]
    assert cox("keys", "--retire-signing", "--json").code == 0
    assert [key.epoch for key in read_keys(keys.seeds, "seeds")] == [2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["optimize"],
        ["optimize", "wakeup", "--rounds", "many"],
        ["optimize", "wakeup", "--rounds", "7"],
        ["optimize", "wakeup", "--seconds", "5"],
        ["optimize", "wake up"],
        ["optimize", "wakeup", "--detach", "--report", "runs"],
        ["optimize", "wakeup", "--report", "/proc/version"],
        ["optimize", "wakeup", "--hosts", "a b"],
        ["optimize", "wakeup", "--least-effect", "2"],
        ["optimize", "wakeup", "--label", "rack"],
        ["optimize", "wakeup", "--cohorts", "ten"],
        ["optimize", "wakeup", "--cohorts", "0,100"],
        ["optimize", "wakeup", "--control", "60"],
        ["optimize", "wakeup", "--lease", "1"],
        ["optimize", "wakeup", "--fingerprint", "xyz"],
        ["optimize", "wakeup", "--beside", "a b"],
        ["optimize", "wakeup", *(f"--beside={name}" for name in "abcd")],
        ["revert"],
        ["revert", "lab-1", "--all"],
        ["policies", "show", "nobody"],
        ["gate", "check", "/no/such/file.c"],
        ["schema", "NoSuchMessage"],
        ["bench", "nobody"],
        ["trace", "/no/such/trace.json"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_asked_for_is_a_usage_error(cox: Cox, arguments: list[str]) -> None:
    ran = cox(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err
    assert "Traceback" not in ran.err


def test_an_error_has_labelled_lines_and_no_traceback(cox: Cox) -> None:
    ran = cox("optimize", "wakeup", "--rounds", "7")
    labels = [line.split()[0] for line in ran.err.splitlines() if line[7:9].strip()]
    assert labels == ["error", "expected", "got", "do"]
    assert "Traceback" not in ran.err


def test_a_traceback_is_there_for_who_wants_it(cox: Cox, environment: dict[str, str]) -> None:
    environment["COX_DEBUG"] = "1"
    assert "Traceback" in cox("optimize", "wakeup", "--rounds", "7").err


def test_with_json_an_error_is_json_too(cox: Cox) -> None:
    ran = cox("status", "--json")
    assert ran.code == 1
    assert ran.document["type"] == "problem"
    assert ran.document["problem"]["kind"] == "BusUnavailableError"
    assert "cox up" in ran.document["problem"]["advice"]


def test_a_problem_of_the_other_side_keeps_its_own_exit_code() -> None:
    refused = errors.RemoteError(RequestError("unknown host").problem)
    assert exit_code(refused) == 2
    assert exit_code(errors.RemoteError(Problem(kind="InternalError", what="oops"))) == 1
    assert exit_code(errors.RemoteError(Problem(kind="CoxswainError", what="oops"))) == 1


def test_policies_are_listed_and_shown(cox: Cox) -> None:
    listed = cox("policies", "--json").document
    assert {"fifo", "fair", "latency"} <= {policy["name"] for policy in listed["policies"]}
    assert "short_ns" in cox("policies", "show", "latency").out
    shown = cox("policies", "show", "latency", "--json").document
    assert shown["manifest"]["name"] == "latency"


def test_the_gate_accepts_what_is_in_the_repository(cox: Cox) -> None:
    ran = cox("gate", "check", LATENCY, "--json")
    assert ran.code == 0
    assert ran.document["accepted"]
    assert ran.document["artifact"]["policy"] == "latency"


def test_the_gate_rejects_with_stage_rule_and_line(cox: Cox, tmp_path: Path) -> None:
    source = tmp_path / "evil.bpf.c"
    source.write_text("int main(void) { return this_is_not_c; }\n")
    ran = cox("gate", "check", str(source))
    assert ran.code == 3
    assert "rejected" in ran.out
    document = cox("gate", "check", str(source), "--json").document
    assert document["accepted"] is False
    assert document["rejected_by"]
    assert document["reasons"][0]["text"]


def test_the_gate_says_why_it_takes_no_whole_scheduler(cox: Cox, tmp_path: Path) -> None:
    source = tmp_path / "own.bpf.c"
    source.write_text('SEC(".struct_ops.link") struct sched_ext_ops own = { .name = "own" };\n')
    ran = cox("gate", "check", str(source), "--json")
    assert ran.code == 3
    [reason] = ran.document["reasons"]
    assert (reason["rule"], reason["line"]) == ("whole-scheduler", 1)
    assert "Define cox_rank" in reason["text"]


def test_the_gate_takes_compiled_hooks_and_gives_no_artifact(cox: Cox, tmp_path: Path) -> None:
    built = tmp_path / "hooks.o"
    clang, include = find_toolchain().clang, CHECKOUT / "bpf" / "include"
    flags = ("-target", "bpf", "-mcpu=v4", "-O2", "-g", f"-I{include}")
    subprocess.run([clang, *flags, "-c", LATENCY, "-o", built], check=True)
    manifest = LATENCY.replace("hooks.bpf.c", "policy.toml")
    ran = cox("gate", "check", str(built), "--manifest", manifest, "--json")
    assert ran.code == 0
    assert (ran.document["stages"], ran.document["artifact"]) == (["bound", "proof", "link"], None)
    built.write_bytes(built.read_bytes()[:1000])
    assert cox("gate", "check", str(built)).code == 3


def test_version_doctor_and_benches_speak_json(cox: Cox) -> None:
    assert cox("version", "--json").document["coxswain"]
    assert "benches" in cox("bench", "--json").document
    doctor = cox("doctor", "--json")
    assert doctor.code == (0 if doctor.document["healthy"] else 1)
    assert {"NATS server", "kernel"} <= {f["what"] for f in doctor.document["findings"]}


def test_a_broken_trace_file_is_said_to_be_broken(cox: Cox, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text("{}")
    ran = cox("trace", str(path))
    assert ran.code == 2
    assert "Traceback" not in ran.err


# --- On a bus ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "code", "terminal"),
    [
        (optimization(), 0, "promoted"),
        (optimization(gain=1.0, noise=0.02, pairs=8), 4, "kept-default"),
        (rejected(), 3, "rejected"),
    ],
    ids=["promoted", "kept-default", "rejected"],
)
async def test_the_exit_code_says_how_it_ended(
    bus: Bus, cox_on_bus: CoxOnBus, recorded: Recorded, code: int, terminal: str
) -> None:
    asked = await play(bus, recorded)
    ran = await cox_on_bus(
        *("optimize", "wakeup", "--rounds", "16", "--policy", "latency"),
        *("--label", "role=web", "--kernel", "7.*", "--cohorts", "50,100", "--soak", "9"),
        *("--control", "20", "--lease", "60", "--fingerprint", "0123456789abcdef"),
        *("--beside", "build", "--beside", "pulse", "--alone"),
    )
    assert (ran.code, ran.err) == (code, "")
    assert asked[0].select == Selector(
        labels={"role": "web"}, kernel="7.*", fingerprint="0123456789abcdef"
    )
    assert asked[0].rollout == Rollout(
        cohorts=(50, 100), soak_s=9.0, control_percent=20, lease_s=60.0
    )
    assert (asked[0].beside, asked[0].alone) == (["build", "pulse"], True)
    assert terminal in ran.out
    assert asked[0].budget.rounds == 16
    assert asked[0].policies == ["latency"]


async def test_with_json_every_event_is_a_line_and_the_report_the_last(
    bus: Bus, cox_on_bus: CoxOnBus, tmp_path: Path
) -> None:
    recorded = optimization()
    await play(bus, recorded)
    ran = await cox_on_bus("optimize", "wakeup", "--json", "--report", str(tmp_path / "run"))
    kinds = [line["type"] for line in ran.lines]
    assert kinds[0] == "accepted"
    assert kinds[-1] == "report"
    assert len(kinds) == len(recorded.events) + 1
    assert ran.lines[-1] == json.loads((tmp_path / "run" / "report.json").read_text())


class Patient:
    """A planner that works until it is cancelled."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.recorded = optimization()
        self.cancelled = asyncio.Event()

    async def serve(self) -> None:
        subjects = self.bus.subjects
        await self.bus.serve(
            subjects.optimize, OptimizeRequest, self.accept, queue="planner", refuse=refused
        )
        subject = subjects.endpoint("planner", "cancel")
        await self.bus.serve(subject, CancelRequest, self.cancel, queue="planner")

    async def accept(self, _request: OptimizeRequest) -> OptimizeReply:
        await self.recorded.publish(self.bus, until=8)
        return OptimizeReply(accepted=True, optimization=self.recorded.record.id, trace_id="a" * 32)

    async def cancel(self, _request: CancelRequest) -> Reply:
        self.cancelled.set()
        return Reply()

    async def end(self) -> None:
        record = msgspec.structs.replace(
            self.recorded.record, terminal="cancelled", winner=None, reasons=["Ctrl-C"]
        )
        ended = Ended(optimization=record.id, terminal="cancelled", reasons=["Ctrl-C"])
        events = [*self.recorded.events[:8], ("planner", "ended", ended)]
        await Recorded(record, events).publish(self.bus, since=8)


async def pressed(
    environment: dict[str, str], *arguments: str, until: tuple[bytes, ...] = (b" try ",)
) -> asyncio.subprocess.Process:
    """A command that has told so much, in whatever order."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", *arguments),
        env=environment,
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    missing = set(until)
    async with asyncio.timeout(60):
        while missing:
            line = b" " + await process.stdout.readline()
            missing = {words for words in missing if words not in line}
    return process


async def test_ctrl_c_cancels_and_sees_it_through(
    bus: Bus, bus_environment: dict[str, str]
) -> None:
    planner = Patient(bus)
    await planner.serve()
    process = await pressed(bus_environment, "optimize", "wakeup")
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(planner.cancelled.wait(), 30)
    await planner.end()
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"cancelling" in out
    assert b"cancelled" in out
    assert err == b""


async def test_a_second_ctrl_c_leaves_at_once(bus: Bus, bus_environment: dict[str, str]) -> None:
    planner = Patient(bus)
    await planner.serve()
    process = await pressed(bus_environment, "optimize", "wakeup")
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(planner.cancelled.wait(), 30)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"left it to the planner" in out
    assert err == b""


async def test_a_refused_request_keeps_the_planners_words(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    async def refuse(_request: OptimizeRequest) -> OptimizeReply:
        raise RequestError("unknown host", expected="one of lab-1", got="mars", advice="Look up.")

    await bus.serve(bus.subjects.optimize, OptimizeRequest, refuse, queue="p", refuse=refused)
    ran = await cox_on_bus("optimize", "wakeup", "--hosts", "mars")
    assert ran.code == 2
    assert "unknown host" in ran.err
    assert "mars" in ran.err
    assert "Look up." in ran.err


async def test_nobody_to_ask_is_said_at_once(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    ran = await cox_on_bus("optimize", "wakeup", "--detach")
    assert ran.code == 1
    assert "nobody answers" in ran.err


async def test_neighbours_are_shown_when_it_is_accepted(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    part = AcceptedPart(
        optimization="o2",
        hosts=["lab-1"],
        beside=[Neighbour(workload="wakeup", why="lab-1 keeps latency for it, by o1")],
        unguarded="lab-1 keeps fair for build, and the request is alone",
    )

    async def accept(_request: OptimizeRequest) -> OptimizeReply:
        return OptimizeReply(accepted=True, optimization="o2", hosts=["lab-1"], parts=[part])

    await bus.serve(bus.subjects.optimize, OptimizeRequest, accept, queue="p", refuse=refused)
    ran = await cox_on_bus("optimize", "pulse", "--detach")
    assert "beside wakeup: lab-1 keeps latency for it, by o1" in ran.out
    assert "lab-1 keeps fair for build, and the request is alone" in ran.out
    told = (await cox_on_bus("optimize", "pulse", "--detach", "--json")).document
    assert told["parts"][0]["beside"][0]["workload"] == "wakeup"


async def test_detached_returns_the_ids(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    recorded = optimization()
    await play(bus, recorded)
    ran = await cox_on_bus("optimize", "wakeup", "--detach", "--json")
    assert ran.code == 0
    assert ran.document["optimization"] == recorded.record.id


async def test_status_report_and_trace_tell_it_again(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    recorded = optimization()
    await recorded.publish(bus)
    await recorded.publish_spans(bus)
    everything, shown, one, watched, again, tree, same, nobodys, document = await asyncio.gather(
        cox_on_bus("optimizations", "--json"),
        cox_on_bus("optimizations"),
        cox_on_bus("status", recorded.record.id),
        cox_on_bus("status", "last", "--watch"),
        cox_on_bus("report", "last", "--json"),
        cox_on_bus("trace", recorded.record.id),
        cox_on_bus("trace", recorded.record.trace_id),
        cox_on_bus("trace", "f" * 32),
        cox_on_bus("trace", "last", "--json"),
    )
    (listed,) = everything.document["optimizations"]
    assert listed["terminal"] == "promoted"
    assert recorded.record.fingerprint is not None
    known = key(recorded.record.fingerprint)
    assert listed["fingerprint"] == again.document["fingerprint_key"] == known
    assert known in one.out
    assert known in shown.out
    assert "promote after" in one.out
    assert watched.code == 0
    assert again.document["verdict"] == "promote"
    assert "optimize wakeup" in tree.out
    assert "finish promoted" in tree.out
    assert same.out == tree.out
    assert nobodys.code == 2
    assert document.document["resourceSpans"]


async def test_cancel_reaches_the_planner(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    recorded = optimization()
    await recorded.publish(bus)
    asked: list[CancelRequest] = []

    async def cancel(request: CancelRequest) -> Reply:
        asked.append(request)
        if len(asked) > 1:
            raise RequestError("it is over already")
        return Reply()

    subject = bus.subjects.endpoint("planner", "cancel")
    await bus.serve(subject, CancelRequest, cancel, queue="planner")
    assert (await cox_on_bus("cancel", "last")).code == 0
    assert asked[0].optimization == recorded.record.id
    again = await cox_on_bus("cancel", recorded.record.id)
    assert again.code == 2
    assert "over already" in again.err


def state(host: str) -> SchedulerState:
    return SchedulerState(
        host=host, boot_id="b", state="enabled", ops="coxswain_latency", ours=True, policy="latency"
    )


async def join(bus: Bus, host: str) -> asyncio.Task[None]:
    """A host that tells what it is, and is heard."""
    inventory = Inventory(
        host=host, machine_id="0" * 32, boot_id="b", kernel="7.3", arch="x86_64", cpus=2,
        cpu_model="QEMU", virtualization="qemu-tcg", sched_ext=True,
    )  # fmt: skip
    await (await bus.records("hosts", Inventory)).put(f"{host}.inventory", inventory)
    await (await bus.records("hosts", SchedulerState)).put(f"{host}.scheduler", state(host))

    async def beat() -> None:
        while True:
            for service in ("observer", "executor"):
                subject = bus.subjects.heartbeat(service, host)  # type: ignore[arg-type]
                await bus.tell(subject, Heartbeat(service=service, instance=host, host=host))
            await asyncio.sleep(0.5)

    return asyncio.create_task(beat())


async def test_hosts_are_shown_with_what_runs_and_who_is_silent(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    beating = await join(bus, "lab-1")
    silent = await join(bus, "lab-2")
    silent.cancel()
    ran = await cox_on_bus("hosts", "--json")
    beating.cancel()
    hosts = {host["host"]: host for host in ran.document["hosts"]}
    assert hosts["lab-1"]["silent"] == []
    assert hosts["lab-2"]["silent"] == ["observer", "executor"]
    assert hosts["lab-1"]["scheduler"]["policy"] == "latency"


async def test_hosts_are_shown_with_their_labels_and_who_is_drained_and_why(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    for host in ("lab-1", "lab-2", "lab-3"):
        (await join(bus, host)).cancel()
    inventories = await bus.records("hosts", Inventory)
    found = await inventories.get("lab-1.inventory")
    assert found is not None
    labelled = msgspec.structs.replace(found.value, labels={"role": "web", "rack": "a1"})
    await inventories.put("lab-1.inventory", labelled)
    orders = Orders(drained={"lab-1": "new memory", "lab-2": ""})
    await (await bus.records("fleet", Orders)).create(ORDERS, orders)
    table, hosts, page = await asyncio.gather(
        cox_on_bus("hosts"), cox_on_bus("hosts", "--json"), cox_on_bus("status", "--json")
    )
    words = " ".join(table.out.split())
    for each in ("labels", "rack=a1", "role=web", "drained: new", "drained;"):
        assert each in words
    rows = hosts.document["hosts"]
    assert [row["drained"] for row in rows] == ["new memory", "", None]
    assert rows[0]["inventory"]["labels"] == {"role": "web", "rack": "a1"}
    assert [row["drained"] for row in page.document["hosts"]] == ["new memory", "", None]


async def test_revert_asks_each_host_and_names_those_that_do_not_answer(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    for host in ("lab-1", "lab-2"):
        (await join(bus, host)).cancel()
    asked: list[RevertRequest] = []

    async def revert(request: RevertRequest) -> SchedulerState:
        asked.append(request)
        return SchedulerState(host="lab-1", boot_id="b", state="disabled")

    subject = bus.subjects.endpoint("executor", "revert", "lab-1")
    await bus.serve(subject, RevertRequest, revert, queue="lab-1")
    ran = await cox_on_bus("revert", "--all")
    assert ran.code == 1
    assert "lab-1 runs the kernel's default" in ran.out
    assert "lab-2" in ran.out
    assert len(asked) == 1
    assert (await cox_on_bus("revert", "lab-1")).code == 0
