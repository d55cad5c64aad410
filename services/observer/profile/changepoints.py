"""Where a series changes: means that jump, over several channels at once.

The segmentation that costs least, where a segment costs the squares of what its rows are off its
mean, in units of the channel's noise, and each change costs what BIC asks for the parameters it
adds: a mean for each channel and a place, each half the log of the number of rows of likelihood
(Yao, Statistics & Probability Letters 6, 1988). Found exactly, by dynamic programming (Jackson et
al., IEEE Signal Processing Letters 12, 2005): the square of a few hundred rows is little.
"""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST: Final = 4
"""Rows of a segment, at least."""
CAUTION: Final = 2.5
"""BIC is for independent noise. What we read is alike from one row to the next."""
_NORMAL: Final = 0.6745
"""Median of the absolute value of a standard normal."""


def change_points(
    rows: Sequence[Sequence[float]], floors: Sequence[float], shortest: int = SHORTEST
) -> list[int]:
    """The rows at which a new segment begins, in order; none if nothing changes.

    `floors` say for each channel how little noise is believed: a channel that hardly moves is not
    made to look as if it did.
    """
    count, channels = len(rows), len(floors)
    if count < 2 * shortest or not channels:
        return []
    scales = [max(floor, noise([row[at] for row in rows])) for at, floor in enumerate(floors)]
    scaled = [[value / scale for value, scale in zip(row, scales, strict=True)] for row in rows]
    squares = [0.0, *accumulate(math.fsum(v * v for v in row) for row in scaled)]
    sums = [[0.0, *accumulate(row[at] for row in scaled)] for at in range(channels)]
    penalty = CAUTION * (channels + 1) * math.log(count)

    def cost(begin: int, end: int) -> float:
        of_means = sum((s[end] - s[begin]) ** 2 for s in sums) / (end - begin)
        return squares[end] - squares[begin] - of_means

    # best[t]: of the first t rows; before[t]: where its last segment begins.
    best = [math.inf] * (count + 1)
    best[0] = -penalty
    before = [0] * (count + 1)
    for end in range(shortest, count + 1):
        starts = (0, *range(shortest, end - shortest + 1))
        least, before[end] = min((best[begin] + cost(begin, end), begin) for begin in starts)
        best[end] = least + penalty
    found: list[int] = []
    at = count
    while before[at]:
        at = before[at]
        found.append(at)
    return found[::-1]


def noise(values: Sequence[float]) -> float:
    """Deviation of a channel's noise, from its steps: a few jumps do not count (MAD)."""
    steps = [abs(after - before) for before, after in pairwise(values)]
    return median(steps) / (_NORMAL * math.sqrt(2)) if steps else 0.0
