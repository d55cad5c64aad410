"""Between the gate and a tool: builds the jail around its own process, then becomes the tool.

Run by jail.py as `python -I -S cell.py PLAN`, in the directory that is to be seen. PLAN is JSON:

command    what to become, or what to hand to `inside`
inside     a Python file that is the tool, run in this process: what its `prepare` gives, called
           with the command when all walls stand, gives the exit code; or null
path       where `inside` finds what it imports
environment  what it finds in its environment
readable   files it may open and execute
writable   files of the directory that it may write into
uid        user and group to be, or null to stay who we are; with it come a root, a network
           and an IPC namespace of its own, for which the right is there where uid can be changed
scratch    an empty directory; the new root is mounted there
limits     resource limits by name: [soft, hard]
filter     seccomp filter in hexadecimal
parent     process id of who started us
report     file descriptor; gets "ready" when all walls stand, else `wall: what went wrong`

Imports nothing of ours: -S keeps installed packages away, and it has to start quickly.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_LIBC = ctypes.CDLL(None, use_errno=True)

# include/uapi/linux: prctl.h, mount.h, sched.h, landlock.h; x86_64's system call numbers.
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL, _SECCOMP_MODE_FILTER = 9, 2
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 4096, 16384, 1 << 18, 2
_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWNET = 0x00020000, 0x08000000, 0x40000000
_PIVOT_ROOT = 155
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_RULE_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ALL_OF_VERSION_1 = (1 << 13) - 1
"""What later versions know (truncate, ioctl, sockets, signals) the seccomp filter refuses."""
_AF_UNIX, _SOCK_STREAM = 1, 1
_CELL = "/cell"


class _Rule(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _Filter(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


class WallError(Exception):
    """A wall could not be built, or has a hole."""


def main(plan: dict[str, Any]) -> None:
    """Become the tool; what goes wrong before is reported with the wall's name."""
    report = plan["report"]
    os.set_inheritable(report, False)
    wall = "start"
    tool: Callable[[list[str]], int] | None = None
    try:
        if plan["inside"]:
            wall = "tool"
            # It has what it needs before there are walls: behind them nothing can be opened.
            sys.path += plan["path"]
            tool = runpy.run_path(plan["inside"])["prepare"]()
        # When memory ends, the kernel shall choose the tool and not the gate.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        if plan["uid"] is not None:
            wall = "root"
            _leave_root(plan["readable"], plan["scratch"], sealed=not plan["writable"])
            wall = "user"
            _become(plan["uid"])
        wall = "parent"
        _die_with(plan["parent"])
        wall = "limits"
        for name, (soft, hard) in plan["limits"].items():
            _limit(getattr(resource, name), soft, hard)
        wall = "landlock"
        _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _restrict(plan["readable"], plan["writable"])
        wall = "seccomp"
        code = bytes.fromhex(plan["filter"])
        program = _Filter(len(code) // 8, code)
        _call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
        wall = "trial"
        _try_walls()
        wall = "compiler"
        os.write(report, b"ready")
        if tool is None:
            os.execve(plan["command"][0], plan["command"], plan["environment"])  # noqa: S606
    except (WallError, OSError, ValueError) as error:
        os.write(report, f"{wall}: {error}".encode())
        os._exit(1)
    os.close(report)
    # Not by way of the interpreter's end, which opens files.
    os._exit(tool(plan["command"]))


def _leave_root(readable: list[str], scratch: str, *, sealed: bool) -> None:
    """A root that has nothing but the tool's files and this directory; `sealed`: read-only."""
    os.umask(0o022)
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWNET)
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", scratch, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for path in readable:
        inside = Path(scratch + path)
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.touch()
        _bind(path, str(inside))
    cell = Path(scratch + _CELL)
    cell.mkdir()
    _bind(".", str(cell), sealed=sealed)
    _mount(None, scratch, None, _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    os.chdir(scratch)
    _call("syscall", _PIVOT_ROOT, b".", b".")
    _call("umount2", b".", _MNT_DETACH)
    os.chdir(_CELL)


def _bind(path: str, inside: str, *, sealed: bool = True) -> None:
    _mount(path, inside, None, _MS_BIND)
    flags = _MS_BIND | _MS_REMOUNT | _MS_NOSUID | _MS_NODEV
    _mount(None, inside, None, flags | (_MS_RDONLY if sealed else 0))


def _become(uid: int) -> None:
    """No group, no capability: they go with user id 0."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _die_with(parent: int) -> None:
    """The kernel kills us when the thread that started us ends. A new user id resets this."""
    _call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise WallError("the gate has ended")


def _limit(kind: int, soft: int, hard: int) -> None:
    """As wanted, or less where less is allowed already."""
    allowed = resource.getrlimit(kind)[1]
    if allowed != resource.RLIM_INFINITY:
        hard = min(hard, allowed)
    resource.setrlimit(kind, (min(soft, hard), hard))


def _restrict(readable: list[str], writable: list[str]) -> None:
    """Landlock: files may be read and executed, this directory read, these written; no more."""
    handled = ctypes.c_uint64(_ALL_OF_VERSION_1)
    rules = _call("syscall", _LANDLOCK_CREATE_RULESET, ctypes.byref(handled), 8, 0)
    for path, rights in (
        *((path, _READ_FILE | _EXECUTE) for path in readable),
        (".", _READ_FILE | _READ_DIR),
        *((path, _WRITE_FILE) for path in writable),
    ):
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = ctypes.byref(_Rule(rights, beneath))
        _call("syscall", _LANDLOCK_ADD_RULE, rules, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
        os.close(beneath)
    _call("syscall", _LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _try_walls() -> None:
    """A jail that is only said to be one is none: try what must fail, each time."""
    if 0 in {os.getuid(), os.geteuid(), os.getegid()}:
        raise WallError("the tool would be root")
    try:
        os.close(os.open("/", os.O_RDONLY))
    except PermissionError:
        pass
    else:
        raise WallError("the root directory can be read")
    if _LIBC.socket(_AF_UNIX, _SOCK_STREAM, 0) >= 0:
        raise WallError("a socket can be made")
    if (child := _LIBC.fork()) >= 0:
        if child == 0:
            os._exit(0)
        raise WallError("a process can be made")


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    data = None if options is None else options.encode()
    _call("mount", *encoded, ctypes.c_ulong(flags), data)


def _call(name: str, *arguments: Any) -> int:
    """Call libc, or raise OSError."""
    answer: int = getattr(_LIBC, name)(*arguments)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return answer


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
