"""What was found out about an object before: it is besieged once, whatever came of it.

A file for each object, kernel, number of CPUs and kind of siege. Noes are kept as well: who asks
again and again shall not be told yes by chance. Removing the file is how to ask anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from services.executor.gate.sandbox import judge
from services.executor.gate.stage import Finding
from services.executor.siege import siege_version
from shared.messages import Reason

if TYPE_CHECKING:
    from services.executor.siege import Orders
    from shared.policies import Manifest


class _Kept(msgspec.Struct, frozen=True):
    reasons: list[Reason]
    evidence: dict[str, float]


class Verdicts:
    """Findings in a directory that is this gate's own; without one nothing is remembered."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        judging = Path(judge.__file__).read_bytes()
        self._version = f"{siege_version()} {hashlib.sha256(judging).hexdigest()}"

    def key(
        self,
        artifact: bytes,
        manifest: Manifest,
        kernel: str,
        cpus: tuple[int, ...],
        orders: Orders,
    ) -> str:
        """What a finding is about: all that it depends on."""
        parts = [
            hashlib.sha256(artifact).hexdigest(),
            str(manifest.wait_bound_ns),
            kernel,
            str(cpus),
            msgspec.json.encode(orders).decode(),
            self._version,
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def find(self, key: str) -> Finding | None:
        """What was found, if anything."""
        if self._directory is None:
            return None
        try:
            kept = msgspec.json.decode((self._directory / f"{key}.json").read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError):
            return None
        return Finding(reasons=kept.reasons, evidence=kept.evidence)

    def keep(self, key: str, finding: Finding) -> None:
        """Write it down, whole or not at all."""
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._directory)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(_Kept(finding.reasons, finding.evidence)))
        Path(name).replace(self._directory / f"{key}.json")
