"""The system calls a compiler or a linker needs, as a seccomp filter: all others are refused.

Numbers are x86_64's (arch/x86/entry/syscalls/syscall_64.tbl), the filter is classic BPF over
`struct seccomp_data` (include/uapi/linux/seccomp.h). What is refused fails with EPERM. A call
by another ABI ends the process.

Not allowed is, above all: to make a process or a thread, a socket, a file or a name; to send a
signal; to trace, mount or load; bpf, keyctl, userfaultfd, io_uring.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

AUDIT_ARCH_X86_64: Final = 0xC000003E
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # BPF_LD|W|ABS, ALU|AND|K, JMP|JEQ|K, RET|K
_ALLOW: Final = 0x7FFF0000
_KILL_PROCESS: Final = 0x80000000
_EPERM: Final = 0x00050000 | 1  # SECCOMP_RET_ERRNO
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets into struct seccomp_data

_WRITING: Final = 0o3 | 0o100 | 0o1000 | 0o20000000
"""Of open's flags: O_ACCMODE, O_CREAT, O_TRUNC, __O_TMPFILE."""


class Bits(NamedTuple):
    """A condition: `mask` of the low 32 bits of an argument is `value`."""

    argument: int
    mask: int
    value: int
    high: bool = False
    """Look at the argument's high 32 bits instead."""


class Call(NamedTuple):
    """A system call that is allowed where all conditions hold."""

    number: int
    conditions: tuple[Bits, ...] = ()


_ALL: Final = 0xFFFFFFFF
_ITSELF: Final = Bits(0, _ALL, 0)
"""A process id of 0."""


def _null(argument: int) -> tuple[Bits, Bits]:
    return Bits(argument, _ALL, 0), Bits(argument, _ALL, 0, high=True)


_ALWAYS: Final = {
    "read": 0,
    "write": 1,
    "close": 3,
    "stat": 4,
    "fstat": 5,
    "lstat": 6,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "pread64": 17,
    "pwrite64": 18,
    "readv": 19,
    "writev": 20,
    "access": 21,
    "mremap": 25,
    "madvise": 28,
    "dup": 32,
    "getpid": 39,
    "exit": 60,
    "uname": 63,
    "getcwd": 79,
    "readlink": 89,
    "gettimeofday": 96,
    "getrlimit": 97,
    "getrusage": 98,
    "sysinfo": 99,
    "getuid": 102,
    "getgid": 104,
    "geteuid": 107,
    "getegid": 108,
    "sigaltstack": 131,
    "arch_prctl": 158,
    "gettid": 186,
    "futex": 202,
    "getdents64": 217,
    "set_tid_address": 218,
    "clock_gettime": 228,
    "clock_getres": 229,
    "exit_group": 231,
    "newfstatat": 262,
    "readlinkat": 267,
    "faccessat": 269,
    "set_robust_list": 273,
    "getrandom": 318,
    "statx": 332,
    "rseq": 334,
    "faccessat2": 439,
}
_BECOMING: Final = Call(59)  # execve, of what Landlock lets be executed: the compiler
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 1030

_EITHER: Final = (
    *(Call(number) for number in _ALWAYS.values()),
    *(
        Call(72, (Bits(1, _ALL, command),))  # fcntl; others set locks or make signals
        for command in (_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC)
    ),
    Call(302, (_ITSELF, *_null(2))),  # prlimit64, to read
    Call(204, (_ITSELF,)),  # sched_getaffinity
)
COMPILING: Final = (
    *_EITHER,
    _BECOMING,
    Call(2, (Bits(1, _WRITING, 0),)),  # open, to read
    Call(257, (Bits(2, _WRITING, 0),)),  # openat, to read
)
LINKING: Final = (
    *_EITHER,
    Call(2),  # open and openat, to write what Landlock lets be written
    Call(257),
    Call(77),  # ftruncate
    Call(285),  # fallocate
)


def assemble(calls: tuple[Call, ...] = COMPILING) -> bytes:
    """The filter: an array of `struct sock_filter`, 8 bytes each, for `struct sock_fprog`."""
    program = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, AUDIT_ARCH_X86_64, if_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        # x32's numbers have bit 30 set, and so are not in the list.
        _instruction(_LOAD, _NUMBER),
    ]
    for call in calls:
        program += _allow(call)
    program.append(_instruction(_RETURN, _EPERM))
    return b"".join(program)


def _allow(call: Call) -> list[bytes]:
    """Return ALLOW where number and conditions match, else go on behind it."""
    behind = [_instruction(_RETURN, _ALLOW)]
    if call.conditions:
        behind.append(_instruction(_LOAD, _NUMBER))  # for the next call's comparison
    checks: list[bytes] = []
    for bits in reversed(call.conditions):
        offset = _ARGUMENTS + 8 * bits.argument + 4 * bits.high
        checks = [
            _instruction(_LOAD, offset),
            _instruction(_AND, bits.mask),
            _instruction(_EQUAL, bits.value, if_false=len(checks) + 1),
            *checks,
        ]
    length = len(checks) + len(behind)
    return [_instruction(_EQUAL, call.number, if_false=length), *checks, *behind]


def _instruction(code: int, k: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, k)
