"""Things of which the newest are kept, in groups within groups, each of a bounded size.

What is kept is a function of what was told, not of the order it came in. That holds because
groups are nested: whoever is put out has so many newer ones beside him in some group, and each
of those is only ever put out for still newer ones of a group within that group. (One thing told
twice with two times counts with the earlier one; told again after it was put out, it is new.)
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

T = TypeVar("T")

Age = tuple[int, int]
"""When, and what comes later of two at the same time; larger is newer."""


class Level(NamedTuple, Generic[T]):
    """How a thing's group is called, and how many of it are kept."""

    group: Callable[[T], Hashable]
    most: int


class Newest(Generic[T]):
    """The newest things, by identity. `levels` are nested, the narrowest first."""

    def __init__(self, levels: list[Level[T]], age: Callable[[T], Age]) -> None:
        self._levels = levels
        self._age = age
        self._things: dict[str, T] = {}
        self._groups: list[dict[Hashable, list[tuple[Age, str]]]] = [{} for _ in levels]
        """Age and identity of each thing of a group, in that order."""

    def __len__(self) -> int:
        return len(self._things)

    def __iter__(self) -> Iterator[T]:
        return iter(self._things.values())

    def add(self, identity: str, thing: T) -> None:
        """Take a thing in; of one that is known the earlier telling stays."""
        known = self._things.get(identity)
        if known is not None:
            if self._age(known) <= self._age(thing):
                return
            self._drop(identity)
        self._things[identity] = thing
        for level, groups in zip(self._levels, self._groups, strict=True):
            entry = (self._age(thing), identity)
            bisect.insort(groups.setdefault(level.group(thing), []), entry)
        for level, groups in zip(self._levels, self._groups, strict=True):
            members = groups.get(level.group(thing), [])
            if len(members) > level.most:
                self._drop(members[0][1])

    def groups(self, level: int) -> list[Hashable]:
        """The groups of a level that have anything in them."""
        return list(self._groups[level])

    def of(self, level: int, group: Hashable) -> list[T]:
        """A group's things, oldest first."""
        return [self._things[identity] for _, identity in self._groups[level].get(group, ())]

    def _drop(self, identity: str) -> None:
        thing = self._things.pop(identity)
        entry = (self._age(thing), identity)
        for level, groups in zip(self._levels, self._groups, strict=True):
            group = level.group(thing)
            members = groups[group]
            del members[bisect.bisect_left(members, entry)]
            if not members:
                del groups[group]
