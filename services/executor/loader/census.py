"""What BPF objects the kernel holds, by id: nothing may come with a load that is not its own.

`BPF_*_GET_NEXT_ID` of bpf(2) through libbpf's wrappers. Ids rise and are not given again soon.

Other programs load BPF while we do (systemd does for many a service). What appeared and is held by
another process (a descriptor in its fdinfo) is theirs; what nobody holds, or this process does, is
taken for a stowaway of the policy.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from services.executor.loader import failures
from services.executor.loader.libbpf import LibbpfError, libbpf
from shared.errors import AttachError

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["prog", "map", "link"]

GONE_S = 10.0
"""The kernel frees a scheduler's programs and maps after a grace period."""
_POLL_S = 0.02
_HELD = re.compile(r"^(prog|map|link)_id:\s*(\d+)$", re.MULTILINE)


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """Programs, maps and links by their ids."""

    programs: frozenset[int] = frozenset()
    maps: frozenset[int] = frozenset()
    links: frozenset[int] = frozenset()

    def __sub__(self, other: Ids) -> Ids:
        return Ids(
            programs=self.programs - other.programs,
            maps=self.maps - other.maps,
            links=self.links - other.links,
        )

    def __and__(self, other: Ids) -> Ids:
        return self - (self - other)

    def __bool__(self) -> bool:
        return bool(self.programs or self.maps or self.links)

    def __str__(self) -> str:
        named = (("programs", self.programs), ("maps", self.maps), ("links", self.links))
        return ", ".join(f"{what} {sorted(ids)}" for what, ids in named if ids) or "nothing"


class StowawayError(AttachError):
    """More or less came into the kernel with a policy than the policy."""


def census() -> Ids:
    """All that there is now. Raises MachineError without the right to look."""
    programs, maps, links = (frozenset(_all(kind)) for kind in get_args(Kind))
    return Ids(programs=programs, maps=maps, links=links)


def check_only(before: Ids, ours: Ids) -> None:
    """What appeared since `before` must be exactly `ours`. Raises StowawayError."""
    appeared = census() - before
    missing = ours - appeared
    strangers = appeared - ours
    if strangers:
        strangers = strangers - held_by_others()
    # Others come and go, and what has gone is no stowaway. A map stays for a grace period after
    # the program that it was bound to: libbpf probes the kernel with such.
    if strangers:
        strangers = wait_gone(strangers)
    if missing or strangers:
        raise StowawayError(
            "something else came into the kernel with the policy",
            expected=str(ours),
            got=f"{strangers} beside it" if strangers else f"{missing} missing",
            advice="It is taken down again. See `bpftool prog`, and who else loads BPF here.",
        )


def wait_gone(ours: Ids, deadline_s: float = GONE_S) -> Ids:
    """Wait until nothing of `ours` is left; what still is when patience is over."""
    deadline = time.monotonic() + deadline_s
    while (left := ours & census()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return left


def held_by_others(root: Path = Path("/proc")) -> Ids:
    """What other processes have open, by the fdinfo of each of their descriptors (proc(5))."""
    found: dict[str, set[int]] = {kind: set() for kind in get_args(Kind)}
    for folder in root.glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        # It may end while it is looked at.
        with contextlib.suppress(OSError):
            for file in (folder / "fdinfo").iterdir():
                with contextlib.suppress(OSError):
                    for kind, number in _HELD.findall(file.read_text()):
                        found[kind].add(int(number))
    return Ids(
        programs=frozenset(found["prog"]),
        maps=frozenset(found["map"]),
        links=frozenset(found["link"]),
    )


def _all(kind: Kind) -> Iterator[int]:
    library, number = libbpf(), ctypes.c_uint32(0)
    while True:
        try:
            library.call(f"bpf_{kind}_get_next_id", number.value, ctypes.byref(number))
        except LibbpfError as error:
            if error.errno == errno.ENOENT:
                return
            raise failures.of_machine(error, "load") or error from error
        yield number.value
