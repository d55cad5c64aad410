"""Runs one scenario on a real kernel, as root, and prints what happened as one line of JSON.

    python3 in_guest.py SCENARIO FOLDER_WITH_OBJECTS

The tests beside it run this in a lab guest; it uses nothing that a host does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from services.executor.host.permit import redeem
from services.executor.host.scheduler import HostScheduler
from services.executor.host.sysfs import SchedExtSysfs
from services.executor.loader import EnableFailedError, LoadedScheduler, Sealed
from services.executor.loader.census import Ids, census, check_only
from services.executor.token import Token
from shared.errors import CoxswainError

KERNEL = SchedExtSysfs()
OBJECTS = Path(sys.argv[2])
PROBE = (OBJECTS / "probe.bpf.o").read_bytes()
MISBEHAVE = {"fail_init": 1, "never_dispatch": 2, "raise_error": 3}
Facts = dict[str, Any]


def plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


def problem(error: CoxswainError) -> Facts:
    return {**plain(error.problem), "log": getattr(error, "log", None)}


def seen(function: Any, *arguments: Any, **options: Any) -> Facts | None:
    """The problem a call raises, or None if it raises none."""
    try:
        function(*arguments, **options)
    except CoxswainError as error:
        return problem(error)
    return None


def wait_until(condition: Any, deadline_s: float = 30.0) -> float | None:
    """Seconds until `condition` held, or None."""
    started = time.monotonic()
    while time.monotonic() - started < deadline_s:
        if condition():
            return time.monotonic() - started
        time.sleep(0.02)
    return None


def bpf_ids() -> dict[str, list[int]]:
    """Every BPF program, map and link in the kernel, by id."""
    library = ctypes.CDLL("libbpf.so.1")
    found: dict[str, list[int]] = {}
    for kind in ("prog", "map", "link"):
        ids: list[int] = []
        following = ctypes.c_uint32()
        get_next = getattr(library, f"bpf_{kind}_get_next_id")
        while get_next(ids[-1] if ids else 0, ctypes.byref(following)) == 0:
            ids.append(following.value)
        found[kind] = ids
    return found


@contextlib.contextmanager
def another_process(name: str) -> Any:
    """Another process that has attached a scheduler called `name` and holds it."""
    process = subprocess.Popen(
        [sys.executable, __file__, f"hold:{name}", str(OBJECTS)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"holding\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        wait_until(lambda: KERNEL.state() == "disabled")


def hold(name: str) -> None:
    with LoadedScheduler(Sealed(PROBE)) as scheduler:
        scheduler.configure(name=name, timeout_ms=10_000, values={})
        scheduler.load()
        scheduler.attach()
        sys.stdout.write("holding\n")
        sys.stdout.flush()
        signal.pause()


def keep_cpus_busy() -> None:
    """More runnable tasks than CPUs, so that tasks have to queue."""
    loop = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done"
    count = 2 * (os.cpu_count() or 1) + 1
    hogs = [subprocess.Popen(["sh", "-c", loop]) for _ in range(count)]
    for hog in hogs:
        hog.wait()


def life() -> Facts:
    ids = bpf_ids()
    scheduler = LoadedScheduler(Sealed(PROBE))
    values = {"frame_mark": 5, "bias": -7, "frame_small": 9, "slice_ns": 3_000_000}
    scheduler.configure(name="cox_probe", timeout_ms=10_000, values=values)
    scheduler.load()
    facts = scheduler.attach()
    during = KERNEL.read()
    attached = scheduler.is_attached()
    record_during = scheduler.exit_record()
    keep_cpus_busy()
    record = scheduler.detach()
    counters, histogram = scheduler.counters(), scheduler.wait_histogram()
    record_again = scheduler.detach()
    after = KERNEL.read()
    attached_twice = seen(scheduler.attach)
    scheduler.close()
    scheduler.close()
    freed = wait_until(lambda: bpf_ids() == ids)
    return {
        "facts": plain(facts),
        "during": plain(during),
        "attached_during": attached,
        "attached_after": scheduler.is_attached(),
        "record_during": plain(record_during),
        "record": plain(record),
        "record_again": plain(record_again),
        "counters": counters,
        "histogram": histogram,
        "after": plain(after),
        "closed": seen(scheduler.counters),
        "attached_twice": attached_twice,
        "nothing_left": freed is not None,
    }


def context_manager() -> Facts:
    during = None
    with contextlib.suppress(ZeroDivisionError), LoadedScheduler(Sealed(PROBE)) as scheduler:
        scheduler.configure(name="cox_with", timeout_ms=10_000, values={})
        scheduler.load()
        scheduler.attach()
        during = KERNEL.ops()
        1 / 0  # noqa: B018
    return {"during": during, "after": KERNEL.state()}


def settings() -> Facts:
    usual: dict[str, Any] = {"name": "cox_probe", "timeout_ms": 1000, "values": {}}
    cases: dict[str, dict[str, Any]] = {
        "unknown": {"values": {"no_such": 1}},
        "too_big": {"values": {"misbehave": 1 << 32}},
        "too_small": {"values": {"bias": -(1 << 31) - 1}},
        "negative": {"values": {"slice_ns": -1}},
        "narrow": {"values": {"frame_small": 256}},
        "bad_name": {"name": "cox-probe"},
        "long_name": {"name": "c" * 128},
        "no_timeout": {"timeout_ms": 0},
        "long_timeout": {"timeout_ms": 30_001},
    }
    facts: Facts = {}
    with LoadedScheduler(Sealed(PROBE)) as scheduler:
        for case, change in cases.items():
            facts[case] = seen(scheduler.configure, **{**usual, **change})
        facts["fits"] = seen(
            scheduler.configure,
            name="c" * 127,
            timeout_ms=30_000,
            values={"misbehave": (1 << 32) - 1, "bias": -(1 << 31), "frame_small": 255},
        )
        facts["unnamed"] = seen(LoadedScheduler(Sealed(PROBE)).attach)
    for variant in ("no_link", "two_ops"):
        facts[variant] = seen(LoadedScheduler, Sealed((OBJECTS / f"{variant}.bpf.o").read_bytes()))
    facts["garbage"] = seen(LoadedScheduler, Sealed(b"\x7fELF and then nothing of use"))
    facts["after"] = KERNEL.state()
    return facts


def rejected() -> Facts:
    artifact = (OBJECTS / "rejected.bpf.o").read_bytes()
    problems = {}
    for way in ("load", "verify"):
        with LoadedScheduler(Sealed(artifact)) as scheduler:
            scheduler.configure(name="cox_rejected", timeout_ms=1000, values={})
            problems[way] = seen(getattr(scheduler, way))
    return {"problem": problems["load"], "of_verify": problems["verify"], "after": KERNEL.state()}


def unprivileged() -> Facts:
    os.setuid(65534)
    with LoadedScheduler(Sealed(PROBE)) as scheduler:
        scheduler.configure(name="cox_nobody", timeout_ms=1000, values={})
        return {"problem": seen(scheduler.load), "after": KERNEL.state()}


def fail_init() -> Facts:
    with LoadedScheduler(Sealed(PROBE)) as scheduler:
        values = {"misbehave": MISBEHAVE["fail_init"]}
        scheduler.configure(name="cox_init", timeout_ms=1000, values=values)
        scheduler.load()
        try:
            scheduler.attach()
        except EnableFailedError as error:
            record = plain(error.exit_record)
            return {"problem": problem(error), "record": record, "after": KERNEL.state()}
    return {"problem": None}


def killed() -> Facts:
    before = bpf_ids()
    with another_process("cox_killed") as process:
        during = KERNEL.ops()
        os.kill(process.pid, signal.SIGKILL)
        back_s = wait_until(lambda: KERNEL.state() == "disabled")
        freed_s = wait_until(lambda: bpf_ids() == before)
    return {"during": during, "back_s": back_s, "freed_s": freed_s, "ops": KERNEL.ops()}


async def apply(host: HostScheduler, artifact: bytes, **options: Any) -> Any:
    """Load with a permit for just that."""
    token = Token(
        plan_id="o1", request_sha256="", purpose="deploy", policy="probe",
        parameters=options["params"], object_sha256=hashlib.sha256(artifact).hexdigest(),
        source_sha256="", toolchain="", headers_sha256="", host="", machine_id="", boot_id="",
        kernel="", btf_sha256="", loads=1, max_duration_s=60.0, nbf_unix_ns=0, exp_unix_ns=0,
        nonce="", epoch=1,
    )  # fmt: skip
    return await host.apply(artifact, redeem(token, lambda _: None), **options)


OPTIONS: dict[str, Any] = {"timeout_ms": 10_000, "params": {}, "frame": {}}


async def foreign() -> Facts:
    host = HostScheduler()
    with another_process("somebody_elses"):
        try:
            await apply(host, PROBE, name="cox_ours", **OPTIONS)
            refused = None
        except CoxswainError as error:
            refused = problem(error)
        with LoadedScheduler(Sealed(PROBE)) as scheduler:
            scheduler.configure(name="cox_ours", timeout_ms=1000, values={})
            scheduler.load()
            refused_late = seen(scheduler.attach)
        departure = await host.revert("make sure")
        await host.close()
        still = KERNEL.read()
    return {
        "refused": refused,
        "refused_late": refused_late,
        "departure": plain(departure),
        "still": plain(still),
    }


async def replace() -> Facts:
    host = HostScheduler()
    first = await apply(host, PROBE, name="cox_first", **OPTIONS)
    second = await apply(host, PROBE, name="cox_second", **{**OPTIONS, "params": {"bias": 1}})
    state = await host.state()
    rejected_problem: Facts | None = None
    try:
        artifact = (OBJECTS / "rejected.bpf.o").read_bytes()
        await apply(host, artifact, name="cox_third", **OPTIONS)
    except CoxswainError as error:
        rejected_problem = problem(error)
    undisturbed = await host.state()
    counters, histogram = await host.counters(), await host.wait_histogram()
    mixed_up = None
    try:
        await apply(host, PROBE, name="x", **{**OPTIONS, "params": {"frame_mark": 1}})
    except CoxswainError as error:
        mixed_up = problem(error)
    departure = await host.revert("the end")
    return {
        "first": plain(first),
        "second": plain(second),
        "state": plain(state),
        "rejected": rejected_problem,
        "undisturbed": plain(undisturbed),
        "counters": counters,
        "histogram": histogram,
        "mixed_up": mixed_up,
        "departure": plain(departure),
        "none_left": await host.revert("again"),
        "after": plain(await host.state()),
    }


async def departs(params: dict[str, int], provoke: Any = None, timeout_ms: int = 10_000) -> Facts:
    """What a watcher hears of a scheduler that leaves by itself."""
    host = HostScheduler()
    started = time.monotonic()
    options = {**OPTIONS, "timeout_ms": timeout_ms, "params": params}
    attached = await apply(host, PROBE, name="cox_leaving", **options)
    watch = host.watch()
    if provoke is not None:
        provoke()
    departure = await asyncio.wait_for(anext(watch), 60)
    noticed_s = time.monotonic() - started
    await watch.aclose()
    state = await host.state()
    # And the host is as good as new.
    again = await apply(host, PROBE, name="cox_again", **OPTIONS)
    await host.close()
    return {
        "attached": plain(attached),
        "departure": plain(departure),
        "noticed_s": noticed_s,
        "state": plain(state),
        "again": plain(again),
        "after": KERNEL.state(),
    }


async def stall() -> Facts:
    return await departs({"misbehave": MISBEHAVE["never_dispatch"]}, timeout_ms=2000)


async def error() -> Facts:
    def until_it_leaves() -> None:
        while KERNEL.ops() == "cox_leaving":
            keep_cpus_busy()

    values = {"misbehave": MISBEHAVE["raise_error"], "fail_after": 20}
    return await departs(values, until_it_leaves)


async def sysrq() -> Facts:
    return await departs({}, lambda: Path("/proc/sysrq-trigger").write_text("S"))


async def hotplug() -> Facts:
    def switch_cpu(to: str) -> None:
        Path("/sys/devices/system/cpu/cpu1/online").write_text(to)

    try:
        return await departs({}, lambda: switch_cpu("0"))
    finally:
        switch_cpu("1")


async def cancelled() -> Facts:
    host = HostScheduler()
    loading = asyncio.create_task(apply(host, PROBE, name="cox_cancelled", **OPTIONS))
    await asyncio.sleep(0.01)  # by now a thread is at work, opening the object
    loading.cancel()
    try:
        await loading
        outcome = "finished"
    except asyncio.CancelledError:
        outcome = "cancelled"
    state = await host.state()
    return {"outcome": outcome, "state": plain(state)}


def a_map() -> int:
    """One more BPF map in the kernel, of this process; its descriptor."""
    array = 2  # BPF_MAP_TYPE_ARRAY
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    descriptor: int = library.bpf_map_create(array, b"stowaway", 4, 4, 1, None)
    assert descriptor >= 0, descriptor
    return descriptor


def bystand() -> None:
    a_map()
    sys.stdout.write("standing by\n")
    sys.stdout.flush()
    signal.pause()


def stowaway() -> Facts:
    """Something more comes with the policy; or beside it, from another program of this host."""
    facts: Facts = {}
    for moment in ("load", "attach"):
        with LoadedScheduler(Sealed(PROBE)) as scheduler:
            scheduler.configure(name="cox_hides", timeout_ms=10_000, values={})
            policy = scheduler._policy
            assert policy is not None
            genuine, made = getattr(policy, moment), []

            def with_more(genuine: Any = genuine, made: list[int] = made) -> Any:
                done = genuine()
                made.append(a_map())
                return done

            setattr(policy, moment, with_more)
            if moment == "attach":
                scheduler.load()
            facts[moment] = seen(getattr(scheduler, moment))
            facts[f"{moment}_after"] = KERNEL.state()
            for descriptor in made:
                os.close(descriptor)
    before = census()
    other = subprocess.Popen(
        [sys.executable, __file__, "bystand", str(OBJECTS)], stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"standing by\n"
    facts["beside"] = seen(check_only, before, Ids())
    other.kill()
    other.wait()
    other.stdout.close()
    return facts


def ids() -> Facts:
    """What is in the kernel is the scheduler's own, and nothing of it is left."""
    before = census()
    with LoadedScheduler(Sealed(PROBE)) as scheduler:
        scheduler.configure(name="cox_counted", timeout_ms=10_000, values={})
        scheduler.load()
        scheduler.attach()
        ours, appeared = scheduler._ours, census() - before
        left = scheduler.close()
    return {
        "programs": len(ours.programs),
        "maps": len(ours.maps),
        "links": len(ours.links),
        "ours": str(ours),
        "appeared": str(appeared),
        "left": str(left),
        "still": str(ours & census()),
    }


SCENARIOS = {
    f.__name__: f
    for f in (
        *(life, context_manager, settings, unprivileged, rejected, fail_init, killed),
        *(foreign, replace),
        *(stall, error, sysrq, hotplug, cancelled),
        *(stowaway, ids),
    )
}

if __name__ == "__main__":
    scenario = sys.argv[1]
    if scenario.startswith("hold:"):
        hold(scenario.removeprefix("hold:"))
    if scenario == "bystand":
        bystand()
    result = SCENARIOS[scenario]()
    if asyncio.iscoroutine(result):
        result = asyncio.run(result)
    sys.stdout.write(json.dumps(result) + "\n")
