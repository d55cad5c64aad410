"""How much an outcome under one fingerprint says about another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.messages import Fingerprint, Hardware, Outcome, RecallRequest

PRIOR_COUNT = 8
"""Imagined features of mean 0 and variance 1 (in logs) that standardizing starts from.

Without them two feature vectors are always each other's opposite around their own mean.
"""


class Similarity:
    """Of everything remembered to what is asked for, 0 to 1."""

    def __init__(self, request: RecallRequest, known: Sequence[Outcome]) -> None:
        self._request = request
        rows = [_logs(request.features), *(_logs(each.features) for each in known)]
        self._scales = {
            name: _scale([row[name] for row in rows if name in row])
            for name in {name for row in rows for name in row}
        }
        self._asked = self._standardized(request.features)

    def to(self, outcome: Outcome) -> float:
        """Zero under another objective or in other company, else how alike all aspects are.

        In other company a policy is another risk, and against another baseline a ratio means
        something else: neither is a smaller likeness, both are another question.
        """
        here, there = self._request.fingerprint, outcome.fingerprint
        if here.objective != there.objective:
            return 0.0
        if (here.beside, here.against) != (there.beside, there.against):
            return 0.0
        return (
            (1.0 if here.workload_class == there.workload_class else 0.5)
            * _kernels(here, there)
            * _machines(here.hardware, there.hardware)
            * self._behaviour(outcome.features)
        )

    def _behaviour(self, features: dict[str, float]) -> float:
        """Cosine of the standardized logs, from 0 (opposite) to 1; 0.5 if there is none."""
        other = self._standardized(features)
        names = self._asked.keys() & other.keys()
        here = math.sqrt(math.fsum(self._asked[name] ** 2 for name in names))
        there = math.sqrt(math.fsum(other[name] ** 2 for name in names))
        if not here or not there:
            return 0.5
        product = math.fsum(self._asked[name] * other[name] for name in names)
        return (1 + product / (here * there)) / 2

    def _standardized(self, features: dict[str, float]) -> dict[str, float]:
        return {
            name: (value - self._scales[name][0]) / self._scales[name][1]
            for name, value in _logs(features).items()
        }


def _logs(features: dict[str, float]) -> dict[str, float]:
    """Logs that keep the sign and pass through zero; features that are no numbers are left out."""
    return {
        name: math.copysign(math.log1p(abs(value)), value)
        for name, value in features.items()
        if math.isfinite(value)
    }


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """Mean and deviation, pulled towards 0 and 1 while there are few values."""
    count = len(values) + PRIOR_COUNT
    centre = math.fsum(values) / count
    square = math.fsum((value - centre) ** 2 for value in values)
    return centre, math.sqrt((square + PRIOR_COUNT * (1 + centre**2)) / count)


def _kernels(here: Fingerprint, there: Fingerprint) -> float:
    if here.kernel == there.kernel:
        return 1.0
    return 0.9 if here.kernel.split(".")[:2] == there.kernel.split(".")[:2] else 0.75


def _machines(here: Hardware, there: Hardware) -> float:
    """Sizes count by their ratio, the rest by being the same."""
    if here == there:
        return 1.0
    counts = [
        (here.cpus, there.cpus),
        (here.llcs, there.llcs),
        (here.numa_nodes, there.numa_nodes),
        (here.threads_per_core, there.threads_per_core),
    ]
    likeness = math.prod(math.sqrt(math.sqrt(min(a, b) / max(a, b, 1))) for a, b in counts)
    for a, b, factor in (
        (here.arch, there.arch, 0.6),
        (here.virtualization, there.virtualization, 0.9),
        (here.cpu_model, there.cpu_model, 0.95),
    ):
        likeness *= 1.0 if a == b else factor
    return likeness
