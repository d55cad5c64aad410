"""`cox-host`: what root can do on a host with the bus dead, the executor hung, the guard gone.

    cox-host status            what runs, and what the guard sees
    cox-host revert [REASON]   back to the kernel's default, now

Through the guard if it answers; else directly, by the kernel's own key and by killing the executor.
Exit codes: 0 done, 1 a scheduler of ours still runs, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from services.executor.guard.interventions import Interventions
from services.executor.guard.kernel import Kernel
from services.executor.guard.limits import ASKED_S, KILL_S, PRESS_S
from services.executor.guard.peers import MAX_BYTES
from services.executor.guard.places import socket_path, state_dir
from services.executor.guard.restore import restore

PATIENCE_S = ASKED_S + KILL_S + PRESS_S + 1.0
"""A guard that has not answered by then never will."""
EXECUTOR = ("services.executor", "--role", "host")
"""In its command line."""


def main(arguments: list[str] | None = None, root: Path = Path("/")) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(prog="cox-host", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="what runs, and what the guard sees")
    back = commands.add_parser("revert", help="back to the kernel's default, now")
    back.add_argument("reason", nargs="?", default="cox-host revert")
    given = parser.parse_args(arguments)
    kernel = Kernel(root)
    question = {"ask": "status"}
    if given.command == "revert":
        question = {"ask": "revert", "reason": given.reason}
    answer = _ask(socket_path(), question)
    if given.command == "status":
        _show_status(kernel, answer)
        return 0
    if isinstance(answer, str):
        sys.stdout.write(f"the guard does not help ({answer}): directly\n")
        steps = _directly(kernel, given.reason, root)
    else:
        steps = answer["steps"]
    look = kernel.look()
    sys.stdout.write("".join(f"  {step}\n" for step in steps or ["nothing of ours ran"]))
    sys.stdout.write(f"runs now: {look.words}\n")
    return 1 if look.ours else 0


def _ask(path: Path, question: dict[str, str]) -> dict[str, Any] | str:
    """The guard's answer, or why there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(PATIENCE_S)
        try:
            connection.connect(str(path))
            connection.send(json.dumps(question).encode())
            packet = connection.recv(MAX_BYTES)
        except OSError as error:
            return str(error)
    if not packet:
        return "it hung up; are you root?"
    answer: dict[str, Any] = json.loads(packet)
    return answer


def _directly(kernel: Kernel, reason: str, root: Path) -> list[str]:
    """Without a guard. What it would have noted is noted, so that nothing is loaded again."""
    look = kernel.look()
    if not look.ours:
        return []
    executor = _find_executor(root / "proc")
    begun_s = time.monotonic()
    steps, _, restored = restore(kernel, executor)
    try:
        notes = Interventions(state_dir() / "interventions")
    except OSError as error:
        return [*steps, f"it could not be noted: {error}"]
    notes.note(
        boot_id=kernel.boot_id(),
        unix_ns=time.time_ns(),
        boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        cause="operator",
        reason=reason,
        ops=look.ops,
        running={},
        steps=steps,
        back_s=round(time.monotonic() - begun_s, 3),
        restored=restored,
    )
    return steps + ([f"it could not be noted: {notes.unwritten}"] if notes.unwritten else [])


def _find_executor(processes: Path) -> tuple[int, int] | None:
    """The executor's pid and a pidfd, by its command line."""
    for found in processes.glob("[0-9]*/cmdline"):
        try:
            words = found.read_bytes().decode(errors="replace").split("\0")
            pid = int(found.parent.name)
            if any(tuple(words[at : at + 3]) == EXECUTOR for at in range(len(words))):
                return pid, os.pidfd_open(pid)
        except OSError:  # it has ended
            continue
    return None


def _show_status(kernel: Kernel, answer: dict[str, Any] | str) -> None:
    say = sys.stdout.write
    say(f"runs      {kernel.look().words}\n")
    if isinstance(answer, str):
        say(f"guard     none: {answer}\n")
        return
    say(f"guard     on guard; the default is back within {answer['deadline_s']:g} s\n")
    if answer["executor_pid"] is None:
        say("executor  none\n")
    else:
        silent_s = answer["executor_silent_s"]
        say(f"executor  pid {answer['executor_pid']}, heard {silent_s:.1f} s ago\n")
    delays = ", ".join(f"{delay:.3f}" for delay in answer["delays_s"]) or "none yet"
    say(f"probe     delays {delays} s; limit {answer['limit_s']:.2f} s\n")
    if answer["unwritten"]:
        say(f"journal   cannot be written: {answer['unwritten']}\n")
    for done in answer["interventions"]:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(done["unix_ns"] / 1e9))
        say(f"{at}  {done['cause']}: {done['ops']}: {done['reason']}\n")


if __name__ == "__main__":
    sys.exit(main())
