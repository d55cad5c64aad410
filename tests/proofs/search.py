"""Search the model for a broken promise, breadth first: the first one found has the shortest way.

python -m tests.proofs.search            # every machine of MACHINES, some minutes
python -m tests.proofs.search --broken clamp
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from tests.proofs.model import Frame, State

ANY: Final = frozenset({0, 1})
ONE: Final = frozenset({0})
OTHER: Final = frozenset({1})

QUICK: Final = {
    "two tasks, one CPU": Frame((ONE,) * 2, (0,)),
    "a free and a bound task, two CPUs": Frame((ANY, ONE), (0, 0)),
    "a bound victim and a free task, an LLC each": Frame((ONE, ANY), (0, 1)),
    "two tasks, one CPU, wider windows, longer slices": Frame(
        (ONE,) * 2, (0,), window=2, group_window=2, slice_max=3
    ),
    "three tasks, one CPU": Frame((ONE,) * 3, (0,)),
}
"""Machines that a test run has time for."""
MACHINES: Final = QUICK | {
    "two free tasks and a bound one, two CPUs": Frame((ANY, ANY, ONE), (0, 0)),
    "a bound victim among free tasks, two CPUs": Frame((ONE, ANY, ANY), (0, 0)),
    "a bound victim among free tasks, an LLC each": Frame((ONE, ANY, ANY), (0, 1)),
    "two tasks to each of two CPUs": Frame((ONE, OTHER, ANY, ANY), (0, 0), slice_max=1),
}
BROKEN: Final = ("clamp", "ageing", "keep", "own first", "new key", "look")
"""Rules that can be left out: what the search finds then is in test_the_order_in_small.py."""


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    states: int
    moves: int
    longest_wait: int
    longest_turn: int
    complaint: str
    way: tuple[str, ...]
    """The shortest way to what is complained about, a line for each move."""


def search(frame: Frame) -> Found:
    """Look at every state there is, or stop at the first that breaks a promise."""
    start = frame.start
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    todo = deque([start])
    moves = wait = turn = 0
    while todo:
        state = todo.popleft()
        for said, led_to in frame.moves(state):
            moves += 1
            after = frame.canonical(led_to)
            if after in came_from:
                continue
            came_from[after] = (state, said)
            wait, turn = max(wait, after.waited), max(turn, after.turn)
            if complaint := frame.complaint(after):
                way = tuple(_way(after, came_from))
                return Found(len(came_from), moves, wait, turn, complaint, way)
            todo.append(after)
    return Found(len(came_from), moves, wait, turn, "", ())


def _way(state: State, came_from: dict[State, tuple[State, str] | None]) -> list[str]:
    way: list[str] = []
    step = came_from[state]
    while step is not None:
        way.append(step[1])
        step = came_from[step[0]]
    return way[::-1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Search the model of the frame's order.")
    parser.add_argument("--broken", choices=BROKEN, default="", help="leave this rule out")
    parser.add_argument("--quick", action="store_true", help="only the small machines")
    options = parser.parse_args()
    print(f"{'states':>9} {'moves':>9} {'wait':>5} {'of':>3} {'turn':>5} {'of':>3} {'s':>5}")
    failed = False
    for name, machine in (QUICK if options.quick else MACHINES).items():
        started = time.monotonic()
        frame = replace(machine, broken=options.broken)
        found = search(frame)
        print(
            f"{found.states:>9} {found.moves:>9} {found.longest_wait:>5} {frame.wait_bound:>3} "
            f"{found.longest_turn:>5} {frame.turn_bound:>3} {time.monotonic() - started:>5.0f}  "
            f"{name}",
            flush=True,
        )
        if found.complaint:
            failed = True
            print(*(f"    {line}" for line in found.way), sep="\n")
            print(f"  the victim {found.complaint}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
