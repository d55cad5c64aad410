"""The compile jail against a compiler that is an attacker's, as root and as an ordinary user.

Each attempt is made outside first, where it has to succeed: else its failure proves nothing.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.executor.gate import jail as jail_module
from services.executor.gate.jail import UID, Ended, Jail, Limits
from services.executor.gate.service import gate_role
from shared.errors import MachineError
from tests.gate.jailed import USER, as_user, needs_root

CANARY = "cox-canary-5f1d"
HERE = Path(__file__).parent
Attempt = Callable[..., Ended]


@pytest.fixture(scope="session")
def hostile(open_place: Path) -> Path:
    program = open_place / "hostile"
    subprocess.run(["gcc", "-static", "-O1", "-o", program, HERE / "hostile.c"], check=True)
    return program


@pytest.fixture(scope="session")
def canary(open_place: Path) -> Path:
    """A secret that its permissions do not keep."""
    path = open_place / "canary"
    path.write_text(f"{CANARY}\n")
    path.chmod(0o666)
    return path


@pytest.fixture
def attempt(who: str, hostile: Path, open_place: Path) -> Attempt:
    """What becomes of one of hostile.c's attempts in the jail."""

    def run(*arguments: str, **limits: float) -> Ended:
        prison = Jail(hostile, files=[hostile], limits=Limits(**limits))

        def inside() -> Ended:
            return prison.run(arguments, {"source.c": b"int x;\n"})

        return inside() if who == "root" else as_user(open_place, inside)

    return run


def outside(hostile: Path, *arguments: str, **how: object) -> subprocess.CompletedProcess[bytes]:
    """The same attempt without a jail."""
    command = [str(hostile), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=60, **how)


def failed(number: int) -> str:
    return f"ended with status {number}"


# Files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_what_it_is_given_can_be_read(attempt: Attempt, mask: int) -> None:
    before = os.umask(mask)
    try:
        ended = attempt("read", "source.c")
    finally:
        os.umask(before)
    assert (ended.output, ended.how) == (b"int x;\n", "")


@pytest.mark.parametrize(
    "way", ["{}", "/proc/{pid}/root{}", "/proc/self/root{}", "../../../../..{}"]
)
def test_a_secret_cannot_be_read(
    attempt: Attempt, hostile: Path, canary: Path, who: str, way: str
) -> None:
    path = way.format(canary, pid=os.getpid())
    assert CANARY.encode() in outside(hostile, "read", path, cwd=canary.parent).stdout
    ended = attempt("read", path)
    # Root's jail has no such name at all.
    assert ended.how == failed(errno.ENOENT if who == "root" else errno.EACCES)
    assert CANARY.encode() not in ended.output


@pytest.mark.parametrize(
    "path", ["/", "/etc", "/home", "/proc", "/proc/self", "/run", "/sys", "/tmp", "/usr", "/var"]
)
def test_no_directory_can_be_listed(attempt: Attempt, hostile: Path, path: str) -> None:
    assert outside(hostile, "list", path).returncode == 0
    assert attempt("list", path).how in {failed(errno.EACCES), failed(errno.ENOENT)}


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/usr/bin/env", "/dev/null"])
def test_roots_jail_does_not_even_say_what_there_is(
    who: str, attempt: Attempt, hostile: Path, path: str
) -> None:
    assert outside(hostile, "look", path).returncode == 0
    if who == "user":
        # Stated in docs/jail.md: a name may be guessed there, its content not had.
        assert attempt("read", path).how in {failed(errno.EACCES), failed(errno.EPERM)}
    else:
        assert attempt("look", path).how == failed(errno.ENOENT)


def test_nothing_can_be_written(attempt: Attempt, hostile: Path, open_place: Path) -> None:
    path = open_place / "written"
    assert outside(hostile, "write", str(path)).returncode == 0
    path.unlink()
    assert attempt("write", str(path)).how == failed(errno.EPERM)
    assert attempt("write", "source.c").how == failed(errno.EPERM)
    assert attempt("write", "another.c").how == failed(errno.EPERM)
    assert not path.exists()


CHANGES = {
    "open to truncate": (2, 0o1000),
    "truncate": (76, 0),
    "mkdir": (83, 0o777),
    "unlink": (87,),
    "chmod": (90, 0o777),
    "chown": (92, -1, -1),
    "mknod": (133, 0o10666),
    "utimes": (235, 0),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_nothing_can_be_changed(
    attempt: Attempt, hostile: Path, open_place: Path, name: str
) -> None:
    number, *more = CHANGES[name]
    path = open_place / "changed"

    def prepare() -> None:
        path.unlink(missing_ok=True)
        if name not in {"mkdir", "mknod"}:
            path.write_text("as it was")
            path.chmod(0o666)

    arguments = ["call", str(number), str(path), *map(str, more)]
    prepare()
    assert outside(hostile, *arguments).returncode == 0
    if name == "mkdir":
        path.rmdir()
    prepare()
    assert attempt(*arguments).how == failed(errno.EPERM)


# The kernel -------------------------------------------------------------------------------

CALLS: dict[str, tuple[int, ...]] = {
    "alarm": (37, 1000),
    "ptrace": (101, 0),  # PTRACE_TRACEME
    "prctl": (157, 3),  # PR_GET_DUMPABLE
    "mount": (165, 0, 0, 0, 1 << 18),
    "another's limits": (302, 1, 7, 0, 0),
    "its own limits": (302, 0, 7, 1, 0),
    "signals for input": (72, 0, 8, 1),  # F_SETOWN
    "keyctl": (250, 0, -3),  # the session's keyring
    "unshare": (272, 0x10000000),  # CLONE_NEWUSER
    "setns": (308, -1),
    "process_vm_readv": (310, 1),
    "memfd_create": (319, 0),
    "bpf": (321, 0, 0, 0),
    "execveat": (322, -1),
    "userfaultfd": (323, 1),  # UFFD_USER_MODE_ONLY
    "perf_event_open": (298, 0),
    "clone3": (435, 0, 0),
    "io_uring_setup": (425, 1, 0),
    "pidfd_open": (434, 1),
    "shmget": (29, 0, 0, 0),
    "pipe2": (293, 0),
    "kill": (62, 1),
    "tgkill": (234, 1, 1),
    "inotify_init1": (294, 0),
    "x32 getpid": (0x40000000 | 39,),
}
ROOTS_CALLS = {
    "another's limits",
    "mount",
    "bpf",
    "perf_event_open",
    "kill",
    "tgkill",
    "process_vm_readv",
}
"""The kernel refuses these to an ordinary user anyway."""


@pytest.mark.parametrize("name", list(CALLS))
def test_the_kernel_answers_only_what_a_compiler_asks(
    attempt: Attempt, hostile: Path, name: str
) -> None:
    if name in ROOTS_CALLS:
        needs_root(f"that {name} is refused for being {name}")
    arguments = ["call", *map(str, CALLS[name])]
    assert outside(hostile, *arguments).returncode != errno.EPERM
    assert attempt(*arguments).how == failed(errno.EPERM)


@pytest.mark.parametrize("family", [1, 2, 10, 16], ids=["unix", "inet", "inet6", "netlink"])
def test_there_is_no_network(attempt: Attempt, hostile: Path, family: int) -> None:
    assert outside(hostile, "socket", str(family)).returncode in {0, errno.EAFNOSUPPORT}
    assert attempt("socket", str(family)).how == failed(errno.EPERM)


def test_calls_of_another_abi_end_it(attempt: Attempt) -> None:
    # SIGSEGV where the kernel has no 32-bit calls to begin with.
    assert attempt("int80").how in {"was ended by SIGSYS", "was ended by SIGSEGV"}


def test_it_is_never_root_and_roots_jail_gives_it_a_user_of_its_own(
    who: str, attempt: Attempt, hostile: Path
) -> None:
    ids = " ".join([str(UID if who == "root" else USER if os.geteuid() == 0 else os.getuid())] * 2)
    assert attempt("who").output.decode().startswith(ids)
    assert not outside(hostile, "who").stdout.decode().startswith(f"{UID} ")


# Processes --------------------------------------------------------------------------------


def processes_of(program: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "exe").readlink() == program:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("what", ["fork", "thread"])
def test_it_stays_one_task(attempt: Attempt, hostile: Path, what: str) -> None:
    assert outside(hostile, what).returncode == 0
    assert attempt(what).how == failed(errno.EPERM)


def test_nothing_is_left_behind(attempt: Attempt, hostile: Path) -> None:
    (daemon,) = map(int, outside(hostile, "daemon", stderr=subprocess.DEVNULL).stdout.split())
    assert daemon in processes_of(hostile)
    os.kill(daemon, signal.SIGKILL)
    while daemon in processes_of(hostile):
        time.sleep(0.01)
    assert attempt("daemon").how == failed(errno.EPERM)
    assert processes_of(hostile) == []


def test_it_dies_with_the_gate(hostile: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from services.executor.gate.jail import Jail\n"
        "Jail(Path(sys.argv[1]), files=[Path(sys.argv[1])]).run(['wait'], {})"
    )
    gate = subprocess.Popen(
        [sys.executable, "-c", code, str(hostile)],
        cwd=HERE.parents[1],
        env={**os.environ, "TMPDIR": str(tmp_path)},  # who is killed does not clean up
        start_new_session=True,
    )
    try:
        while not processes_of(hostile):
            assert gate.poll() is None
            time.sleep(0.01)
    finally:
        gate.kill()
        gate.wait()
    while processes_of(hostile):  # the test's own time limit is the only one
        time.sleep(0.01)


# Limits -----------------------------------------------------------------------------------


def test_it_has_no_more_time_than_it_is_given(attempt: Attempt, hostile: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([hostile, "wait"], timeout=1, check=False)
    assert attempt("wait", wall_s=1).how == "did not end within 1 s"
    assert processes_of(hostile) == []


def test_it_has_no_more_cpu_than_it_is_given(attempt: Attempt) -> None:
    assert attempt("spin", cpu_s=1).how == "used more than 1 s of CPU"


def test_it_has_no_more_memory_than_it_is_given(attempt: Attempt, hostile: Path) -> None:
    assert outside(hostile, "allocate").returncode == 0
    assert attempt("allocate").how == failed(errno.ENOMEM)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_it_says_no_more_than_it_is_given(attempt: Attempt, hostile: Path, stream: str) -> None:
    with Path("/dev/null").open("wb") as nowhere:
        free = subprocess.run(
            [hostile, "flood", stream], stdout=nowhere, stderr=nowhere, check=False
        )
    assert free.returncode == 0
    ended = attempt("flood", stream, output_bytes=1 << 20)
    assert ended.how == failed(errno.EFBIG)
    assert len(ended.output) == (1 << 20 if stream == "1" else 0)
    assert len(ended.said) == (0 if stream == "1" else Limits().said_bytes)


def test_it_inherits_nothing(
    attempt: Attempt, hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COX_SECRET", CANARY)
    with (HERE / "hostile.c").open("rb") as secret:
        os.set_inheritable(secret.fileno(), True)
        free = outside(hostile, "descriptors", close_fds=False).stdout.split()
        assert str(secret.fileno()).encode() in free
        assert attempt("descriptors").output.split() == [b"0", b"1", b"2"]
    assert CANARY.encode() in outside(hostile, "environment").stdout
    environment = attempt("environment").output
    assert {line.partition(b"=")[0] for line in environment.splitlines()} == {
        b"LC_ALL",
        b"LD_LIBRARY_PATH",
    }


# Without a jail ---------------------------------------------------------------------------

HOLES = {
    "no Landlock in the kernel": (
        "_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444",
        "_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 9999",
        "landlock: ",
    ),
    "no seccomp in the kernel": ("_MODE_FILTER = 9, 2", "_MODE_FILTER = 9, 7", "seccomp: "),
    "a Landlock that does nothing": (
        '_call("syscall", _LANDLOCK_RESTRICT_SELF, rules, 0)',
        "pass",
        "root directory can be read",
    ),
    "a filter that lets sockets pass": (
        'bytes.fromhex(plan["filter"])',
        'b"\\6\\0\\0\\0\\0\\0\\xff\\x7f"',
        "a socket can be made",
    ),
    "no limit of memory": ("resource.setrlimit(", "resource.setlimit(", "limit"),
}


@pytest.mark.parametrize("hole", list(HOLES))
def test_with_a_wall_missing_nothing_is_run(
    who: str,
    hostile: Path,
    open_place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hole: str,
) -> None:
    before, after, says = HOLES[hole]
    text = jail_module._CELL.read_text()
    assert before in text
    broken = tmp_path / "cell.py"
    broken.write_text(text.replace(before, after))
    monkeypatch.setattr(jail_module, "_CELL", broken)

    def refused() -> tuple[str, str, str]:
        with pytest.raises(MachineError) as error:
            Jail(hostile, files=[hostile]).run(["who"], {})
        return error.value.expected, error.value.got, error.value.advice

    expected, got, advice = refused() if who == "root" else as_user(open_place, refused)
    assert says in got
    assert expected
    assert advice


async def test_a_gate_without_a_jail_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Jail, *_: object) -> Ended:
        raise MachineError("no jail")

    monkeypatch.setattr(Jail, "run", refuse)
    with pytest.raises(MachineError, match="no jail"):
        async with gate_role(None, None, None):  # type: ignore[arg-type]
            raise AssertionError("it started")
