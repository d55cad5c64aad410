"""The fence around a workload: a small process that runs one command and outlives none of it.

Run as `python -I -S fence.py PARENT REPORT CGROUP_PROCS COMMAND...` by `fenced.py`, with the
standard library alone, because it starts anew for every round:

- PARENT: our parent's pid; when it ends, however that is, everything in here is killed;
- REPORT: a file descriptor that gets one JSON object: `exit` or `signal` of the command, or
  `error` if it could not be started, and `cpu_s` used by all processes in here;
- CGROUP_PROCS: the `cgroup.procs` file the command joins before it starts, or empty.

Every process the command starts is a descendant of this one whatever it does: orphans come to us
(PR_SET_CHILD_SUBREAPER), and no set-uid program can get away (PR_SET_NO_NEW_PRIVS). When the
command has ended, or on SIGTERM, what is left of them is killed and reaped.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import sys
import time

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

WATCHED = {signal.SIGCHLD, signal.SIGTERM}
LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NOFILE: 4096,
    resource.RLIMIT_NPROC: 4096,
    resource.RLIMIT_FSIZE: 4 << 30,
}


def main(arguments: list[str]) -> None:
    """Run the command, report, clean up."""
    parent, report, cgroup_procs, *command = arguments
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    libc = ctypes.CDLL(None, use_errno=True)

    def prctl(option: int, value: int) -> None:
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option})")

    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        return
    os.set_inheritable(int(report), False)
    errors, error_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if cgroup_procs:
                with open(cgroup_procs, "w", encoding="ascii") as procs:  # noqa: PTH123
                    procs.write("0")
            for limit, value in LIMITS.items():
                hard = resource.getrlimit(limit)[1]
                lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.setrlimit(limit, (lower, lower))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
            os.execvp(command[0], command)  # noqa: S606
        except OSError as error:
            os.write(error_end, f"{command[0]}: {error.strerror}".encode())
        finally:
            os._exit(127)
    os.close(error_end)
    leave_output()
    result = wait_for(child)
    kill_descendants()
    not_started = os.read(errors, 4096).decode(errors="replace")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = {"error": not_started} if not_started else result
    text = json.dumps({**told, "cpu_s": used.ru_utime + used.ru_stime})
    if cgroup_procs and not told:
        # We were told to stop, by a parent that cleans up or by its death.
        remove_cgroup(os.path.dirname(cgroup_procs))  # noqa: PTH120
    with contextlib.suppress(BrokenPipeError):
        os.write(int(report), text.encode())


def leave_output() -> None:
    """Whoever reads the command's output sees its end when the last of its processes is gone."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)


def wait_for(child: int) -> dict[str, int]:
    """How the command ended; nothing if we were told to stop first. Orphans are reaped too."""
    while True:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return {}
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return {"exit": code} if code >= 0 else {"signal": -code}
            if not pid:
                break
        if signal.sigwait(WATCHED) == signal.SIGTERM:
            return {}


def kill_descendants() -> None:
    """Kill until there is nobody left; the orphans of those killed come to us and are next.

    Each look is followed by a wait for one of those it killed, never for one it has not seen.
    """
    while True:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def remove_cgroup(path: str) -> None:
    """The kernel takes a moment to let go of tasks, even of those that have been reaped."""
    for _ in range(500):
        try:
            os.rmdir(path)  # noqa: PTH106
        except OSError as error:
            if error.errno != errno.EBUSY:
                return
            time.sleep(0.01)
        else:
            return


def descendants(root: int) -> list[int]:
    """All processes below `root`, without it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                # The name in parentheses may hold anything; state and parent follow it.
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    ahead = [root]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
