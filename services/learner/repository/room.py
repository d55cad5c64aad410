"""Lists that fit into one message: as many of the first as there is room for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


def fitting(items: Iterable[T], most: int, most_bytes: int) -> tuple[list[T], int]:
    """The first of them, at most so many and so many bytes as JSON; and how many are left out."""
    taken: list[T] = []
    left_out = 0
    for item in items:
        if left_out or len(taken) == most:
            left_out += 1
            continue
        most_bytes -= len(msgspec.json.encode(item)) + 1
        if most_bytes < 0:
            left_out += 1
        else:
            taken.append(item)
    return taken, left_out
