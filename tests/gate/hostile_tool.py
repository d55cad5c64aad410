"""A linker that is an attacker's, run by cell.py: each attempt gives its errno, or 0."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _write(path: str, flags: int) -> None:
    os.write(os.open(path, flags | os.O_WRONLY), b"written")


ATTEMPTS: dict[str, Callable[[str], object]] = {
    "make": lambda path: _write(path, os.O_CREAT),
    "write": lambda path: _write(path, 0),
    "truncate": lambda path: _write(path, os.O_TRUNC),
    "read": lambda path: os.write(1, os.read(os.open(path, os.O_RDONLY), 99)),
    "list": os.listdir,
    "remove": os.unlink,
    "rename": lambda path: os.rename("linked.o", path),  # noqa: PTH104
    "link": lambda path: os.symlink(path, "another.o"),  # noqa: PTH211
    "execute": lambda path: os.execv(path, [path]),
    "socket": lambda _: socket.socket(),
    "fork": lambda _: os.fork() or os._exit(0),
    "kill": lambda pid: os.kill(int(pid), 0),
    "crash": lambda _: ctypes.string_at(0),
    "spin": lambda _: _spin(),
    "fill": lambda path: [_fill(path) for _ in range(2)],
}


def _spin() -> None:
    while True:
        pass


def _fill(path: str) -> None:
    file = os.open(path, os.O_WRONLY)
    while True:
        os.write(file, bytes(2**20))


def prepare() -> Callable[[list[str]], int]:
    return attempt


def attempt(command: list[str]) -> int:
    name, *arguments = command
    try:
        ATTEMPTS[name](*arguments or ["linked.o"])
    except OSError as error:
        return error.errno
    sys.stdout.flush()
    return 0
