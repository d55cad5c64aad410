"""A control group (v2) of its own for each run, below the observer's own group.

systemd gives the observer its subtree (`Delegate=yes`). Where there is none that can be written
to (another init, a container, a developer's shell), a run has no group, and the fence alone
keeps it together.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from pathlib import Path
from typing import Final

_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_REMOVE_DEADLINE_S: Final = 5.0


class Cgroup:
    """One group that we made. `kill` ends all that is in it, at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pids(self) -> list[int]:
        """The processes in it now; none when it is gone."""
        try:
            return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def kill(self) -> None:
        """Send SIGKILL to everything in it, however it forks meanwhile."""
        try:
            (self.path / "cgroup.kill").write_text("1")
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:  # gone, or going
                raise

    def remove(self) -> None:
        """Kill what is left and remove it; killed processes take a moment to be gone."""
        self.kill()
        deadline_s = time.monotonic() + _REMOVE_DEADLINE_S
        while True:
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.01)
            else:
                return


def make_cgroup(name: str, parent: Path | None = None) -> Cgroup | None:
    """A new group below `parent` (this process's own); None where that cannot be.

    It must have cgroup.kill (Linux 5.14).
    """
    parent = own_cgroup() if parent is None else parent
    if parent is None:
        return None
    path = parent / name
    try:
        path.mkdir()
    except OSError:
        return None
    if not (path / "cgroup.kill").exists():
        path.rmdir()
        return None
    return Cgroup(path)


def own_cgroup(proc: Path = Path("/proc/self")) -> Path | None:
    """Where this process's v2 group is mounted, if anywhere.

    `proc/cgroup` has a line `0::<path>`, and `proc/mountinfo` says which part of the hierarchy
    is mounted where: see cgroups(7) and proc_pid_mountinfo(5). Names in them are anybody's bytes.
    """
    try:
        memberships, mounts = (
            os.fsdecode((proc / name).read_bytes()).split("\n") for name in ("cgroup", "mountinfo")
        )
    except OSError:
        return None
    mine = next((line[3:] for line in memberships if line.startswith("0::")), None)
    if mine is None:
        return None
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        if after.split(" ", 1)[0] != "cgroup2":
            continue
        root, point = (_unescape(text) for text in before.split(" ")[3:5])
        with contextlib.suppress(ValueError):
            return Path(point) / Path(mine).relative_to(root)
    return None


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
