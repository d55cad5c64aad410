"""The schedule of a trial's pairs: who goes first, and with which seeds.

A pure function of the trial, so that an executor which comes back in mid-trial goes on with
the same schedule, and anybody can check afterwards that the order was not chosen.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Final, Literal

Order = Literal["AB", "BA"]
"""A is the baseline, B the candidate."""

BLOCK: Final = 4
"""Pairs in a block; half of each block runs the candidate first."""

_BLOCKS: Final[list[list[Order]]] = [
    ["BA" if position in first else "AB" for position in range(BLOCK)]
    for first in itertools.combinations(range(BLOCK), BLOCK // 2)
]


def order(seed: int, trial: str, index: int) -> Order:
    """The order of pair `index`, counted from 0: random, yet balanced in every four pairs.

    Balance keeps a drift, or an advantage of going second, out of the mean; randomness keeps
    a rhythm of the machine from falling in step with the order.
    """
    block, position = divmod(_checked(index), BLOCK)
    return _BLOCKS[_draw(f"order/{seed}/{trial}/{block}") % len(_BLOCKS)][position]


def workload_seed(seed: int, trial: str, index: int) -> int:
    """The seed that both sides of pair `index` give to their workload: 0 to 2^31 - 1."""
    return _draw(f"load/{seed}/{trial}/{_checked(index)}") & 0x7FFF_FFFF


def repeated_seed(seed: int, workload: str, run: int) -> int:
    """The seed of one of several workloads that run at once, and again: 0 to 2^31 - 1.

    `run` 0 is the first one. Who is asked for keeps the given seed there; its neighbours have
    seeds of their own, so that no two loads fall in step.
    """
    return _draw(f"repeated/{seed}/{workload}/{_checked(run)}") & 0x7FFF_FFFF


def _checked(index: int) -> int:
    if index < 0:
        msg = f"pairs are counted from 0, got {index}"
        raise ValueError(msg)
    return index


def _draw(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
