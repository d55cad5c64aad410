"""What stands in the state home about a running `cox up`, for every other command.

The supervisor is named by pid and start time, so that after a crash nobody else's process is
taken for it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Literal

import msgspec

from shared.microvm.process import ProcessId
from shared.settings import state_home

if TYPE_CHECKING:
    from pathlib import Path

MemberState = Literal["starting", "ready", "unwell", "restarting", "stopped"]
"""Unwell lives, and does not find what it needs on the bus."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One process that is being supervised, or one lab host."""

    name: str
    state: MemberState
    pid: int = 0
    restarts: int = 0
    log: str = ""
    note: str = ""
    """Why it is not ready, as far as we know."""


class FleetState(msgspec.Struct, frozen=True, kw_only=True):
    """A running `cox up`."""

    supervisor: ProcessId
    url: str
    namespace: str
    started_unix_ns: int
    ready: bool
    members: list[Member]

    @property
    def waiting(self) -> list[Member]:
        """Who is not ready yet."""
        return [member for member in self.members if member.state != "ready"]


def state_path() -> Path:
    """Where it stands."""
    return state_home() / "fleet.json"


def logs_dir() -> Path:
    """Where the logs of the supervised processes are."""
    return state_home() / "logs"


def read_state() -> FleetState | None:
    """What the last `cox up` wrote; None if nothing readable is there."""
    try:
        return msgspec.json.decode(state_path().read_bytes(), type=FleetState)
    except (OSError, msgspec.DecodeError):
        return None


def write_state(state: FleetState) -> None:
    """Replace it in one step: readers see the old one or the new one."""
    path = state_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_bytes(msgspec.json.encode(state))
    partial.rename(path)


def remove_state() -> None:
    """There is no `cox up` any more."""
    with contextlib.suppress(FileNotFoundError):
        state_path().unlink()
