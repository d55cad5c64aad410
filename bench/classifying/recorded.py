"""Recorded profiles with the class that is expected of each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from shared.classes import WorkloadClass
from shared.workloads import Catalogue

ROOT: Final = Path(__file__).parents[2]
FIXTURES: Final = ROOT / "tests" / "observer" / "fixtures"
OWN: Final = ROOT / "tests" / "observer" / "workloads"

IN_VIEW: Final = frozenset(
    {
        "wakeup",
        "longtail-checksum",
        "longtail-compress",
        "longtail-etl",
        "longtail-spin",
        "hogs",
        "sleepers",
        "blinkers-beside-hogs",
        "spawners",
    }
)
"""What the rules' thresholds were set by, on a native host. All others they have never seen."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One profile. `host` is the file's name: a kind of host."""

    workload: str
    seed: int
    expected: WorkloadClass
    features: dict[str, float]
    host: str = ""

    @property
    def in_view(self) -> bool:
        """Whether the rules' author had seen this workload on this kind of host."""
        return self.workload in IN_VIEW and self.host == "native"


def recorded(folder: Path = FIXTURES) -> list[Recorded]:
    """All there are. What is expected is what the manifest says today, where there is one."""
    manifests = {**Catalogue.load(), **Catalogue.load(OWN)}
    found = []
    for file in sorted(folder.glob("*.json")):
        for each in msgspec.json.decode(file.read_bytes(), type=list[Recorded]):
            workload = manifests.get(each.workload)
            expected = workload.manifest.workload_class if workload else each.expected
            found.append(msgspec.structs.replace(each, host=file.stem, expected=expected))
    return found
