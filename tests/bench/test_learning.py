"""A simulated month with and without a memory: the same at every run, so it says the same."""

from __future__ import annotations

import statistics

from bench.learning import ROUNDS, World


def test_a_memory_saves_rounds_and_regret_and_promotes_nothing_worse() -> None:
    known = World(seed=2, days=30, per_day=4).live(remembering=True)
    none = World(seed=2, days=30, per_day=4).live(remembering=False)
    assert len(known) == len(none) == 120
    assert all(each.rounds <= ROUNDS for each in (*known, *none))
    # Nothing is known at first.
    assert (known[0].regret, known[0].rounds) == (none[0].regret, none[0].rounds)
    assert sum(each.rounds for each in known) < sum(each.rounds for each in none)
    # It costs six rounds where what won before holds, and nothing is tried beside it yet.
    assert any(each.rounds == 6 and each.promoted for each in known)
    late = [statistics.fmean(each.regret for each in run[60:]) for run in (known, none)]
    assert late[0] < late[1]
    assert not any(each.worse for each in known)
