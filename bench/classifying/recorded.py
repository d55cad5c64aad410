"""Recorded profiles with the class that is expected of each.

From tests/observer/fixtures, where each workload was recorded with several seeds, and from
bench/results/profiles, which `cox bench compare` has measured on a quiet lab host, one of each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from bench.comparing.lab import Kept
from shared.classes import WorkloadClass
from shared.errors import InputError
from shared.workloads import Catalogue

ROOT: Final = Path(__file__).parents[2]
FIXTURES: Final = ROOT / "tests" / "observer" / "fixtures"
COMPARED: Final = ROOT / "bench" / "results" / "profiles"
LEAST: Final = 3
OWN: Final = ROOT / "tests" / "observer" / "workloads"

IN_VIEW: Final = frozenset(
    {
        "build",
        "hackbench",
        "longtail-checksum",
        "longtail-compress",
        "longtail-etl",
        "longtail-spin",
        "pulse",
        "wakeup",
        "hogs",
        "sleepers",
        "blinkers-beside-hogs",
        "spawners",
    }
)
"""What was there when the rules' thresholds were set: that it is right proves little."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One profile. `host` is the file's name: a kind of host."""

    workload: str
    seed: int
    expected: WorkloadClass
    features: dict[str, float]
    host: str = ""

    @property
    def in_view(self) -> bool:
        """Whether the rules' author could have looked at this workload."""
        return self.workload in IN_VIEW


def recorded(folder: Path = FIXTURES, compared: Path = COMPARED) -> list[Recorded]:
    """All there are. What is expected is what the manifest says today, where there is one.

    Raises InputError where there are too few to hold one out.
    """
    manifests = {**Catalogue.load(), **Catalogue.load(OWN)}
    found = []
    for file in sorted(folder.glob("*.json")):
        for each in msgspec.json.decode(file.read_bytes(), type=list[Recorded]):
            workload = manifests.get(each.workload)
            expected = workload.manifest.workload_class if workload else each.expected
            found.append(msgspec.structs.replace(each, host=file.stem, expected=expected))
    for file in sorted(compared.glob("*.json")):
        profile = msgspec.json.decode(file.read_bytes(), type=Kept).profiled.profile
        if profile is not None and file.stem in manifests:
            found.append(
                Recorded(
                    workload=file.stem,
                    seed=0,
                    expected=manifests[file.stem].manifest.workload_class,
                    features=profile.features,
                    host="compared",
                )
            )
    if len({each.workload for each in found}) < LEAST:
        raise InputError(
            "there are too few profiles to hold one out",
            expected=f"of {LEAST} workloads or more",
            got=f"{len(found)} profiles in {folder} and {compared}",
            advice="docs/profiling.md says how they are recorded.",
        )
    return found
