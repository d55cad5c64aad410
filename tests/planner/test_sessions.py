"""Models of all kinds, from a request to its end: real planner, learner, gate and SDK.

Twenty-two of them here; `cox bench minds` plays a hundred and prints the table of docs/minds.md.
"""

from __future__ import annotations

import pytest

from shared.messages import BuildCommand
from tests.planner.gated_fleet import Played, play
from tests.planner.sessions import KINDS, SCRIPTS, session

EVERY = sorted(
    KINDS.index(kind) + 1 + len(KINDS) * place
    for kind in KINDS
    for place, script in enumerate(SCRIPTS[kind])
    if script not in SCRIPTS[kind][:place]
)
"""Each script once."""


@pytest.mark.parametrize("number", EVERY, ids=lambda number: session(number).name)
async def test_whatever_a_model_says_it_ends_well(nats_url: str, number: int) -> None:
    played = await play(session(number), nats_url)
    assert played.unverified == 0
    assert played.honest, played
    assert played.within_budget, played
    _about_its_kind(played)


def _about_its_kind(played: Played) -> None:
    """What this kind of model must come to: a fallback for all would be no product."""
    match played.kind:
        case "good" | "clumsy":
            assert played.mind == "llm", played.declined
            writes = "writes" in played.name or "compile" in played.name or "before" in played.name
            assert (played.made > 0) == writes, played
        case "wrong":
            assert played.mind == "embedded"
        case "hostile":
            assert played.made == 0, played
    assert (played.tried == 0) == (played.terminal == "kept-default"), played


def test_a_build_carries_no_source_under_anothers_name() -> None:
    assert "source" not in BuildCommand.__struct_fields__
