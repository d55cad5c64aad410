"""The control group that a probe is to watch, as the kernel knows it."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from shared.errors import InputError

MOUNT: Final = Path("/sys/fs/cgroup")
MOST_TIDS: Final = 16_384
"""As many members as a probe has room for."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """A control group (v2) by its id, its depth below the root, and its threads now.

    Id 0 stands for the whole host.
    """

    group: int = 0
    level: int = 0
    tids: tuple[int, ...] = ()


def scope_of(cgroup: str, mount: Path = MOUNT) -> Scope:
    """What is meant by a group's path below the hierarchy's root, `/` being the whole host.

    Raises InputError for what is no such group.
    """
    path = PurePosixPath(cgroup)
    if cgroup == "/":
        return Scope()
    if not path.is_absolute() or ".." in path.parts:
        raise _no_group(cgroup)
    folder = mount.joinpath(*path.parts[1:])
    # Its own id and not that of something that a link points to.
    if folder.is_symlink() or not (folder / "cgroup.procs").is_file():
        raise _no_group(cgroup)
    return Scope(
        group=folder.stat().st_ino,
        level=len(path.parts) - 1,
        tids=tuple(_threads(folder)[:MOST_TIDS]),
    )


def _threads(folder: Path) -> list[int]:
    """Of this group and all below it; groups may go while they are read."""
    found: list[int] = []
    for file in (folder / "cgroup.threads", *folder.glob("**/cgroup.threads")):
        with contextlib.suppress(OSError):
            found += [int(line) for line in file.read_text(encoding="ascii").split()]
    return list(dict.fromkeys(found))


def _no_group(cgroup: str) -> InputError:
    return InputError(
        "there is no such control group",
        expected="the path of a group (v2) below the hierarchy's root, as in /proc/PID/cgroup",
        got=repr(cgroup),
        advice="It may have ended: ask while what it holds runs.",
    )
