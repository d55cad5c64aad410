"""Power cuts, and a host that runs out of memory, descriptors or disk: on a real kernel.

The executor and the guard are those of a lab host's units, with their journals on its disk. Each
test finds the host as the one before has left it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec.structs import replace

from services.executor.host.books import Books
from services.executor.host.verify import verify
from shared.bus import connect
from shared.errors import TokenError
from shared.messages import (
    RevertCommand,
    Reverted,
    Signed,
    StopCommand,
    TokenRequest,
    TrialEnded,
)
from shared.microvm import ensure_image
from shared.subjects import Subjects
from tests.executor.host.lab import JOURNAL, Lab
from tests.executor.host.test_deployments import said

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1800),
]

STATE = "/var/lib/cox-executor"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lab(tmp_path_factory: pytest.TempPathFactory, nats_url: str) -> AsyncIterator[Lab]:
    bus = await connect(nats_url, Subjects("power"), "test", patience_s=10)
    lab = Lab(await ensure_image(), tmp_path_factory.mktemp("lab"), bus, nats_url)
    try:
        await lab.start()
        yield lab
    finally:
        await lab.close()
        await bus.close()


def signed(lab: Lab, optimization: str) -> list[tuple[TokenRequest, Signed]]:
    """The tokens that were given for it, in order."""
    return [(q, s) for q, s in lab.asked if s is not None and q.optimization == optimization]


async def stopped(lab: Lab, trial: str) -> bool:
    """Whether the host has written down that this trial is to end."""
    return trial in (await lab.books()).stopped


def nothing_is_lost(before: Books, after: Books) -> None:
    """What was acknowledged before a cut is known after it; a start may add to it."""
    assert before.consumed.keys() <= after.consumed.keys()
    assert before.epoch <= after.epoch
    assert before.over.items() <= after.over.items()
    assert before.withdrawn.keys() <= after.withdrawn.keys()
    assert before.kept is None or before.kept == after.kept


# Power cuts --------------------------------------------------------------------------------------


async def test_a_cut_between_the_nonce_and_the_load_costs_the_token_and_loads_nothing(
    lab: Lab,
) -> None:
    command = lab.trial(first="AB")
    await lab.send("trial", command)
    # Its baseline is measured first: the token is consumed, and nothing was loaded yet.
    await lab.until(lambda: lab.measuring)
    ((question, token),) = signed(lab, command.optimization)
    before, kernel = await lab.books(), await lab.kernel()
    assert question.nonce in before.consumed
    assert (kernel.state, kernel.enable_seq) == ("disabled", 0)
    machine_id = await lab.run("cat /etc/machine-id")
    # A line of which only a part has come to the disk; and how we know that power was cut.
    await lab.run(f'printf \'{{"crc":1,"seq":9\' >> {JOURNAL} && sync {JOURNAL}')
    await lab.run(f"echo there > {STATE}/flushed && sync {STATE}/flushed {STATE}")
    await lab.run(f"echo there > {STATE}/not-flushed")
    lab.gate_repeats(token)
    await lab.cut()
    await lab.boot()
    assert await lab.run(f"cat {STATE}/flushed; cat {STATE}/not-flushed 2> /dev/null || :") == (
        "there\n"
    )
    assert await lab.run("cat /etc/machine-id") == machine_id
    now = await lab.kernel()
    assert (now.state, now.enable_seq) == ("disabled", 0)
    assert now.boot_id != kernel.boot_id
    # The command comes again, for nobody has acknowledged it; the old token opens nothing.
    ended = (await said(lab, "trial_ended", TrialEnded, of=command.optimization))[0]
    assert (ended.end, ended.pairs) == ("interrupted", 0)
    assert ended.problem is not None
    assert "another nonce" in ended.problem.what
    after = await lab.books()
    nothing_is_lost(before, after)
    assert list(after.consumed) == [question.nonce]
    assert "journal.torn" in await lab.log()
    # Nor would it if the host asked with the same nonce; nor without that, in this boot.
    trusted = lab.trusted()
    again = replace(question, boot_id=now.boot_id)
    for asked, consumed, why in (
        (question, after.consumed, "used before"),
        (again, {}, "another boot-id"),
    ):
        with pytest.raises(TokenError, match=why):
            verify(
                token,
                asked=asked,
                trusted=trusted,
                seen_epoch=after.epoch,
                consumed=consumed,
                now_unix_ns=time.time_ns(),
            )
    # A second copy of the command is of a trial that is over.
    questions = len(lab.asked)
    lab.gate_signs()
    await lab.introduce()
    await lab.send("trial", command)
    await lab.idle()
    assert len(lab.asked) == questions
    assert (await lab.kernel()).enable_seq == 0


async def test_after_a_cut_under_a_candidate_the_default_runs_until_there_are_fresh_tokens(
    lab: Lab,
) -> None:
    """Something was promoted here, and now another one is tried against it."""
    kept = lab.deployment()
    assert (await lab.deployed(kept)).problem is None
    trial = lab.trial(first="BA", against=kept.optimization)
    await lab.send("trial", trial)
    await lab.until(lambda: [m for m in lab.measuring if m.startswith(trial.trial)])
    before, kernel, runs = await lab.books(), await lab.kernel(), await lab.state()
    assert (kernel.state, runs.optimization) == ("enabled", trial.optimization)
    lab.gate_is_away()
    await lab.hold_commands()
    await lab.cut()
    measured, questions = len(lab.measuring), len(lab.asked)
    await lab.boot()
    # It asks for what was promoted, and gets nothing.
    await lab.until(lambda: len(lab.asked) > questions)
    now, runs = await lab.kernel(), await lab.state()
    assert (now.state, now.enable_seq) == ("disabled", 0)
    assert (runs.ours, runs.kept) == (False, kept.optimization)
    nothing_is_lost(before, await lab.books())
    lab.gate_signs()
    # As far as the gate knows it still is another boot.
    questions = len(lab.asked)
    await lab.until(lambda: len(lab.asked) > questions)
    assert (await lab.kernel()).enable_seq == 0
    await lab.introduce()

    async def back() -> bool:
        now = await lab.state()
        return now.ours and now.optimization == kept.optimization

    await lab.until(back)
    # The trial's command comes again, for nobody has acknowledged it.
    await lab.release_commands()
    await lab.until(lambda: len(lab.measuring) > measured)
    stop = StopCommand(optimization=trial.optimization, trial=trial.trial, reason="enough")
    await lab.send("stop", stop)
    await lab.until(lambda: stopped(lab, trial.trial))
    lab.answer(lab.measuring[-1])
    ended = (await said(lab, "trial_ended", TrialEnded, of=trial.optimization))[0]
    assert (ended.end, ended.pairs) == ("stopped", 0)
    await lab.until(back)
    tokens = [*signed(lab, trial.optimization), *signed(lab, kept.optimization)]
    assert len({question.nonce for question, _ in tokens}) == len(tokens)
    assert [(question.purpose, question.boot_id) for question, _ in tokens] == [
        ("trial", kernel.boot_id),
        ("trial", now.boot_id),
        ("deploy", kernel.boot_id),
        ("restore", now.boot_id),
        ("restore", now.boot_id),
    ]
    assert {question.nonce for question, _ in tokens} <= (await lab.books()).consumed.keys()
    # The deployment's command once more: it runs already.
    enable_seq = (await lab.kernel()).enable_seq
    await lab.send("deploy", kept)
    await lab.idle()
    assert (await lab.kernel()).enable_seq == enable_seq


# Memory ------------------------------------------------------------------------------------------

HOG = """
import os, sys, time
# As any program: what the agent starts, nobody would kill, and its unit would end with it.
open("/proc/self/oom_score_adj", "w").write("0")
os.makedirs("/sys/fs/cgroup/hog", exist_ok=True)
open("/sys/fs/cgroup/hog/cgroup.procs", "w").write("0")
held = bytearray(int(sys.argv[1]))
held[::4096] = b"x" * len(held[::4096])
print("holding", flush=True)
time.sleep(600)
"""


async def hog(lab: Lab, size: int) -> int:
    """A process that holds so many bytes; its pid."""
    await lab.guest.put("/tmp/hog.py", HOG.encode())
    await lab.run("rm -f /tmp/hog.out")
    pid = await lab.run(
        f"setsid python3 /tmp/hog.py {size} > /tmp/hog.out 2>&1 < /dev/null & echo $!"
    )
    # Or until the kernel has killed it: then memory was full.
    await lab.run(
        f"while kill -0 {pid} 2> /dev/null && ! grep -q holding /tmp/hog.out; do sleep 0.1; done"
    )
    return int(pid)


async def out_of_memory(lab: Lab) -> None:
    """The kernel's own choice of whom to kill, without waiting until memory is gone."""
    await lab.run("echo f > /proc/sysrq-trigger")


async def test_the_kernel_kills_others_for_memory_before_the_executor(lab: Lab) -> None:
    await lab.promoted()
    executor, guard = await lab.pid("cox-executor"), await lab.pid("cox-guard")
    resident = int(await lab.run(f"awk '/VmRSS/ {{ print $2 }}' /proc/{executor}/status"))
    # Smaller than the executor: by size alone that would be the one to go.
    pid = await hog(lab, resident * 1024 // 3)
    await out_of_memory(lab)
    await lab.run(f"while kill -0 {pid} 2> /dev/null; do sleep 0.1; done")
    assert (await lab.pid("cox-executor"), await lab.pid("cox-guard")) == (executor, guard)
    assert (await lab.state()).ours


async def test_an_executor_that_is_killed_for_memory_takes_its_policy_along(lab: Lab) -> None:
    optimization = await lab.promoted()
    executor, guard = await lab.pid("cox-executor"), await lab.pid("cox-guard")
    lab.gate_is_away()
    await lab.run(f"echo 1000 > /proc/{executor}/oom_score_adj")
    await out_of_memory(lab)
    await lab.run("until grep -q disabled /sys/kernel/sched_ext/state; do sleep 0.1; done")
    assert await lab.pid("cox-guard") == guard
    now = await lab.state()
    assert await lab.pid("cox-executor") not in {0, executor}
    assert (now.state, now.kept) == ("disabled", optimization)
    lab.gate_signs()

    async def back() -> bool:
        return (await lab.state()).ours

    await lab.until(back)


async def test_where_memory_is_short_nothing_is_loaded_and_nobody_dies(lab: Lab) -> None:
    optimization = await lab.promoted()
    lab.gate_is_away()
    # One that has never loaded anything: an older one has room from its last load.
    await lab.run("systemctl restart cox-executor")
    assert (await lab.state()).kept == optimization
    executor = await lab.pid("cox-executor")
    enable_seq = (await lab.kernel()).enable_seq
    # What it has is all that it gets: as where a machine does not promise what it has not.
    used = f"$(awk '/VmSize/ {{ print $2 * 1024 }}' /proc/{executor}/status)"
    await lab.run(f"prlimit --pid {executor} --as={used}:")
    lab.gate_signs()
    reverted = (await said(lab, "reverted", Reverted, of=optimization))[0]
    assert "could not be loaded again" in reverted.reason
    now = await lab.kernel()
    assert (now.state, now.enable_seq) == ("disabled", enable_seq)
    assert (await lab.state()).kept == ""
    await lab.run(f"prlimit --pid {executor} --as=unlimited:")
    assert await lab.pid("cox-executor") == executor


async def test_revert_works_on_a_host_whose_memory_is_full(lab: Lab) -> None:
    await lab.promoted()  # with its memory back, the executor loads again
    guard = await lab.pid("cox-guard")
    available = int(await lab.run("awk '/MemAvailable/ { print $2 }' /proc/meminfo"))
    pid = await hog(lab, (available - 24 * 1024) * 1024)
    reverted = await lab.run("cox-host revert 'no memory'")
    assert "runs now: the kernel's default" in reverted
    assert (await lab.kernel()).state == "disabled"
    await lab.run(f"kill -9 {pid} || :")
    assert await lab.pid("cox-guard") == guard
    assert (await lab.state()).kept == ""


# Descriptors and disk ----------------------------------------------------------------------------


async def test_without_descriptors_nothing_is_loaded_revert_works_and_nobody_dies(
    lab: Lab,
) -> None:
    before = await lab.promoted()
    executor = await lab.pid("cox-executor")
    lowest = f"$(n=0; while [ -e /proc/{executor}/fd/$n ]; do n=$((n + 1)); done; echo $n)"
    limit = (await lab.run(f"prlimit --pid {executor} --nofile -o SOFT --noheadings")).strip()
    await lab.run(f"prlimit --pid {executor} --nofile={lowest}:")
    deployed = await lab.deployed(lab.deployment())
    assert deployed.problem is not None
    assert "Too many open files" in str(deployed.problem)
    await lab.revert()
    assert (await lab.kernel()).state == "disabled"
    await lab.run(f"prlimit --pid {executor} --nofile={limit}:")
    assert await lab.pid("cox-executor") == executor
    assert await lab.promoted() != before


async def test_on_a_full_disk_nothing_is_loaded_and_what_is_taken_back_stays_away(
    lab: Lab,
) -> None:
    optimization = await lab.promoted()
    await lab.run(f"cat /dev/zero > {STATE}/full 2> /dev/null; sync {STATE}/full")
    deployed = await lab.deployed(lab.deployment())
    assert deployed.problem is not None
    assert "No space left" in str(deployed.problem)
    await lab.send("revert", RevertCommand(optimization=optimization, reason="the test"))
    reverted = (await said(lab, "reverted", Reverted, of=optimization))[0]
    assert reverted.state is not None
    assert reverted.state.state == "disabled"
    await lab.run(f"rm {STATE}/full; systemctl restart cox-executor")
    now = await lab.state()
    assert (now.state, now.kept) == ("disabled", "")
