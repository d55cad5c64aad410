"""Artifacts that did harm on this host, and until when they are not loaded here again: pure.

What an artifact does depends on the kernel and on the machine's shape, so it is held for these:
after a kernel update or another number of CPUs it may be tried anew.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

S = 1_000_000_000
FIRST_S = 600
LONGEST_S = 24 * 3600


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact (its sha256) in quarantine on a kernel release and a topology."""

    artifact: str
    kernel: str
    topology: str
    times: int
    """How often it did harm; each time holds it twice as long."""
    until_unix_ns: int
    why: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What is held."""
        return self.artifact, self.kernel, self.topology


class Place(msgspec.Struct, frozen=True):
    """The kernel release and the CPUs that an artifact ran on."""

    kernel: str
    topology: str

    @classmethod
    def here(cls, root: Path = Path("/")) -> Place:
        """Of this machine, now: a CPU may come or go."""
        cpus = _read(root / "sys/devices/system/cpu/online")
        smt = _read(root / "sys/devices/system/cpu/smt/active")
        nodes = _read(root / "sys/devices/system/node/online")
        return cls(
            _read(root / "proc/sys/kernel/osrelease"),
            f"cpus {cpus}, smt {smt or '0'}, nodes {nodes or '0'}",
        )


def hold(before: Held | None, artifact: str, place: Place, why: str, now_unix_ns: int) -> Held:
    """The artifact did harm, perhaps not for the first time."""
    times = 1 if before is None else before.times + 1
    return Held(
        artifact=artifact,
        kernel=place.kernel,
        topology=place.topology,
        times=times,
        until_unix_ns=now_unix_ns + _lasts_ns(times),
        why=why,
    )


def settled(held: Held, now_unix_ns: int) -> Held:
    """As it may be now: one that would last longer than it can is of a clock that was set back."""
    until_unix_ns = min(held.until_unix_ns, now_unix_ns + _lasts_ns(held.times))
    return msgspec.structs.replace(held, until_unix_ns=until_unix_ns)


def released(held: Held) -> Held:
    """It is held no longer; what it did is forgotten."""
    return msgspec.structs.replace(held, times=0, until_unix_ns=0)


def _lasts_ns(times: int) -> int:
    return min(FIRST_S << min(times - 1, 20), LONGEST_S) * S


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
