"""The ledger of rounds: what was measured once is known to every mind that asks for it.

So minds that try the same candidate see the same pairs, which is fairer than pairs of their own
(common random numbers) and cheaper. Pairs that screen and pairs that confirm are kept apart: who
confirms sees what nobody has chosen by. The file grows by a line for each pair, so that a run which
was interrupted goes on where it was.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Literal

import msgspec

from shared.errors import InputError
from shared.messages import Round, TrialCommand, TrialSpec


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair is of. Another build of the policy or the workload is another one."""

    workload: str
    workload_sha256: str
    policy: str
    version: str
    artifact: str
    parameters: dict[str, int]
    stage: Literal["screen", "confirm"]

    @classmethod
    def of(cls, command: TrialCommand, workload_sha256: str) -> Tried:
        """What a trial asks for."""
        return cls(
            workload=command.workload,
            workload_sha256=workload_sha256,
            policy=command.policy,
            version=command.version,
            artifact=command.artifact.sha256,
            parameters=command.parameters,
            stage=command.spec.stage,
        )

    @property
    def key(self) -> bytes:
        """The same for the same, whatever the order of its parameters."""
        return msgspec.json.encode(self, order="deterministic")


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A line: both sides' metrics, the secondary ones too."""

    tried: Tried
    index: int
    machine: str
    order: Literal["AB", "BA"]
    seed: int
    baseline: dict[str, float]
    candidate: dict[str, float]
    seconds: float
    gap_ns: int = 0

    def as_round(self, host: str, spec: TrialSpec) -> Round:
        """What the host said when it was measured."""
        return Round(
            optimization="",
            trial="",
            host=host,
            index=self.index,
            order=self.order,
            seed=self.seed,
            baseline=self.baseline,
            candidate=self.candidate,
            seconds=self.seconds,
            gap_ns=self.gap_ns,
            spec=spec,
        )


class Ledger:
    """The pairs measured on one kind of machine."""

    def __init__(self, path: Path, machine: str) -> None:
        """Raises InputError for a file of another machine, or one that is no ledger."""
        self._path = path
        self._machine = machine
        self._pairs: dict[bytes, list[Pair]] = defaultdict(list)
        for pair in _read(path):
            if pair.machine != machine:
                raise InputError(
                    f"{path.name} has rounds of another machine",
                    expected=machine,
                    got=pair.machine,
                    advice="Begin anew, without --resume: ratios of two machines are two things.",
                )
            self._pairs[pair.tried.key].append(pair)

    def known(self, tried: Tried) -> list[Pair]:
        """What was measured of it, in order."""
        return list(self._pairs.get(tried.key, []))

    def add(self, tried: Tried, measured: Round) -> Pair:
        """Write down one more; it gets the next index."""
        pairs = self._pairs[tried.key]
        pair = Pair(
            tried=tried,
            index=len(pairs),
            machine=self._machine,
            order=measured.order,
            seed=measured.seed,
            baseline=measured.baseline,
            candidate=measured.candidate,
            seconds=measured.seconds,
            gap_ns=measured.gap_ns,
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(pair) + b"\n")
        pairs.append(pair)
        return pair

    def __len__(self) -> int:
        return sum(map(len, self._pairs.values()))


def _read(path: Path) -> list[Pair]:
    """The lines of a file, if there is one; a last line that was cut off is cut off for good."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole, newline, torn = data.rpartition(b"\n")
    if torn:
        path.write_bytes(whole + newline)
    try:
        return [msgspec.json.decode(line, type=Pair) for line in whole.split(b"\n") if line]
    except msgspec.DecodeError as error:
        raise InputError(
            f"{path.name} is no ledger of rounds",
            expected="a line of JSON for each pair",
            got=str(error)[:200],
            advice="Begin anew, without --resume.",
        ) from error
