"""Runs one scenario on a real kernel, as root, and prints what happened as one line of JSON.

    python3 in_guest.py SCENARIO FOLDER_WITH_OBJECTS

Loaders are processes of their own (hold.py), to be stopped and killed; the guard is cox-guard.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from services.executor.guard.kernel import Kernel

KERNEL = Kernel()
HERE = Path(__file__).parent
OBJECTS = Path(sys.argv[2])
NEVER_DISPATCH, STARVE_ONE = 2, 4
Facts = dict[str, Any]


def wait_until(condition: Callable[[], object], deadline_s: float = 60.0) -> float | None:
    """Seconds until it held, or None."""
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < deadline_s:
        if condition():
            return time.monotonic() - begun_s
        time.sleep(0.01)
    return None


def default_is_back() -> bool:
    return KERNEL.look().state == "disabled"


@contextlib.contextmanager
def holder(
    *values: str, expect: str = "holding", heard: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """An executor that has said `expect`, and knows what the guard did so far."""
    heard = len(interventions()) if heard is None else heard
    command = [sys.executable, str(HERE / "hold.py"), str(OBJECTS / "probe.bpf.o"), *values]
    environment = {**os.environ, "HEARD": str(heard)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        if expect:
            said = process.stdout.readline()
            assert said.startswith(expect), said
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        wait_until(default_is_back)


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def guard_pid() -> int:
    return int(systemctl("show", "-P", "MainPID", "cox-guard"))


def victim_pid() -> int:
    pid = guard_pid()
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def interventions() -> list[Facts]:
    path = Path("/var/lib/cox-guard/interventions")
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line.partition(" ")[2]) for line in lines]


def next_intervention(before: int) -> Facts | None:
    wait_until(lambda: len(interventions()) > before)
    return interventions()[before] if len(interventions()) > before else None


def cox_host(*words: str) -> Facts:
    command = ["/usr/local/bin/cox-host", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"code": done.returncode, "said": done.stdout + done.stderr}


def stopped() -> Facts:
    """SIGSTOP, several times: how long until the default. Then it is in quarantine."""
    back_s, way_back_s, notes = [], [], []
    for _ in range(5):
        before = len(interventions())
        with holder() as process:
            os.kill(process.pid, signal.SIGSTOP)
            back_s.append(wait_until(default_is_back))
            note = next_intervention(before)
            notes.append(note)
            way_back_s.append(note["back_s"] if note else None)
    with holder(heard=len(interventions()) - 1, expect="refused") as process:
        runs = KERNEL.look().words
    return {"back_s": back_s, "way_back_s": way_back_s, "notes": notes, "runs": runs}


def killed() -> Facts:
    back_s = []
    for _ in range(5):
        with holder() as process:
            os.kill(process.pid, signal.SIGKILL)
            back_s.append(wait_until(default_is_back))
    return {"back_s": back_s, "interventions": len(interventions())}


def all_starve() -> Facts:
    """A policy that runs nothing at all: this script, too, waits until the guard has acted."""
    before = len(interventions())
    with holder(f"misbehave={NEVER_DISPATCH}", expect=""):
        taken = wait_until(lambda: KERNEL.look().ours)
        back_s = wait_until(default_is_back)
        wait_until(lambda: len(interventions()) > before, 10.0)
        said = interventions()[before:]
        return {"taken": taken, "back_s": back_s, "note": said[0] if said else None}


def probe_starves() -> Facts:
    """A policy that starves the victim probe alone."""
    before = len(interventions())
    with holder(f"misbehave={STARVE_ONE}", f"starved_pid={victim_pid()}"):
        back_s = wait_until(default_is_back)
        return {"back_s": back_s, "note": next_intervention(before)}


def guard_restarts() -> Facts:
    """Killed, systemd starts it again: what runs goes on."""
    first = guard_pid()
    with holder() as process:
        os.kill(first, signal.SIGKILL)
        again_s = wait_until(lambda: guard_pid() not in {0, first})
        time.sleep(8)
        status = cox_host("status")
        return {
            "again_s": again_s,
            "ops": KERNEL.look().ops,
            "alive": process.poll() is None,
            "status": status,
        }


def guard_stays_away() -> Facts:
    """Taken away for good: the executor lets go by itself, and loads nothing."""
    try:
        with holder() as process:
            systemctl("stop", "cox-guard")
            back_s = wait_until(default_is_back)
            assert process.stdout is not None
            said = process.stdout.readline()
            alive = process.poll() is None
        with holder(expect="refused") as process:
            refused = KERNEL.look().words
    finally:
        systemctl("start", "cox-guard")
    return {"back_s": back_s, "said": said, "alive": alive, "runs": refused}


def guard_is_stopped() -> Facts:
    """SIGSTOP of the guard: it is gone all the same."""
    pid = guard_pid()
    with holder() as process:
        os.kill(pid, signal.SIGSTOP)
        back_s = wait_until(default_is_back)
        assert process.stdout is not None
        said = process.stdout.readline()
        os.kill(pid, signal.SIGCONT)
    return {"back_s": back_s, "said": said}


def both_stopped() -> Facts:
    """Executor and guard stopped: root's own hand."""
    pid = guard_pid()
    with holder() as process:
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGSTOP)
        reverted = cox_host("revert", "nothing answers")
        state = KERNEL.look().state
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: guard_pid() not in {0, pid})
    return {"reverted": reverted, "state": state, "note": interventions()[-1]}


def by_hand() -> Facts:
    """cox-host revert, with everybody well."""
    with holder() as process:
        before = cox_host("status")
        reverted = cox_host("revert", "I do not like it")
        state = KERNEL.look().state
        assert process.stdout is not None
        said = process.stdout.readline()
        return {
            "before": before,
            "reverted": reverted,
            "state": state,
            "said": said,
            "alive": process.poll() is None,
        }


def key() -> Facts:
    """What the kernel itself says of SysRq-S."""
    Path("/proc/sysrq-trigger").write_text("h")
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    return {"help": [line for line in log.splitlines() if "HELP" in line][-1]}


def guard_itself() -> Facts:
    """What class, memory and rights it has."""
    pid = guard_pid()
    status = Path(f"/proc/{pid}/status").read_text()
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    victim = Path(f"/proc/{victim_pid()}/stat").read_text().rpartition(")")[2].split()
    wanted = ("VmLck", "VmRSS", "CapEff", "CapBnd", "NoNewPrivs")
    return {
        "policy": int(stat[38]),
        "priority": int(stat[37]),
        "victim_policy": int(victim[38]),
        "status": {
            line.split(":")[0]: line.split(":")[1].strip()
            for line in status.splitlines()
            if line.startswith(wanted)
        },
        "oom": Path(f"/proc/{pid}/oom_score_adj").read_text().strip(),
    }


SCENARIOS = {
    f.__name__: f
    for f in (
        *(stopped, killed, all_starve, probe_starves, guard_restarts, guard_stays_away),
        *(guard_is_stopped, both_stopped, by_hand, key, guard_itself),
    )
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(SCENARIOS[sys.argv[1]]()) + "\n")
