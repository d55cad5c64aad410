"""Streams that somebody deletes from under a real fleet: it is told, and all come to rest."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.chaos.losing import LOSSES, What, losing
from tests.chaos.run import play
from tests.chaos.story import Lose

SEED = 5


def test_a_loss_comes_once_and_in_the_middle() -> None:
    for what in LOSSES:
        steps = losing(what, SEED).steps
        assert [step.what for step in steps if isinstance(step, Lose)] == [what]
        assert losing(what, SEED) == losing(what, SEED)


async def test_what_is_deleted_is_told_and_all_come_to_rest(tmp_path: Path) -> None:
    """They play beside each other: most of a story is waiting."""
    homes: dict[What, Path] = {what: tmp_path / what for what in LOSSES}
    results = await asyncio.gather(
        *(play(SEED, home, losing(what, SEED)) for what, home in homes.items())
    )
    found = dict(zip(LOSSES, results, strict=True))
    broken = [
        f"{what}: {each.invariant}: {each.text} ({homes[what]})"
        for what, result in found.items()
        for each in result.violations
    ]
    assert not broken, "\n".join(broken)
    assert all(result.lost is not None for result in results)
    # Something has happened on which all that could be seen.
    assert sum(result.loads for result in results)
