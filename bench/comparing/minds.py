"""Minds by their names, each with all that its life needs while it lasts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench.talking.asking import REPLAYED_KEY, Gate, choice_of, llm_mind, stale_prompt
from bench.talking.conversation import load
from bench.talking.tape import Player, serving
from services.planner.minds import Mind
from services.planner.minds.chosen import Choice
from services.planner.minds.embedded import EmbeddedMind
from services.planner.minds.llm.mind import LLM_S
from shared.errors import InputError

LLM: Final = "llm"
REPLAY_S: Final = 600.0
"""For a conversation that is played back: hooks are checked by the real gate meanwhile."""


class Called(msgspec.Struct, kw_only=True):
    """The minds of one life, the first one asked first, and who plays a model, if one does."""

    minds: list[Mind]
    player: Player | None = None
    stale: list[str] = []

    @property
    def differs(self) -> int | None:
        """Answers that were given to another question than the recorded one."""
        return None if self.player is None else self.player.differing

    @property
    def said(self) -> list[str]:
        """Where a conversation is stale, in lines."""
        return [*self.stale, *(self.player.said if self.player is not None else [])]


@asynccontextmanager
async def called(
    name: str, workload: str, gate: Gate, conversations: Path
) -> AsyncIterator[Called]:
    """Them. Raises InputError for a model without a key and without a recorded conversation."""
    if name == LLM:
        async with _model(workload, gate, conversations) as found:
            yield found
        return
    if name != EmbeddedMind.name:
        raise InputError(f"there is no mind called {name}", expected="one that is built in")
    yield Called(minds=[EmbeddedMind()])


@asynccontextmanager
async def _model(workload: str, gate: Gate, conversations: Path) -> AsyncIterator[Called]:
    """A model, live with a key, else played back; the embedded mind goes on where it has no plan.

    That is how the planner has it; what is told says whose plan it was.
    """
    live = Choice.from_environment()
    if live.llm:
        key = os.environ["ANTHROPIC_API_KEY"].strip()
        async with llm_mind(live.base_url, key, live, gate, within_s=LLM_S) as mind:
            yield Called(minds=[mind, EmbeddedMind()])
        return
    path = conversations / f"{workload}.json"
    if not path.exists():
        raise InputError("no conversation recorded")
    conversation = load(path)
    player = Player(conversation)
    with serving(player.answer) as url:
        async with llm_mind(
            url, REPLAYED_KEY, choice_of(conversation), gate, within_s=REPLAY_S
        ) as mind:
            yield Called(
                minds=[mind, EmbeddedMind()], player=player, stale=stale_prompt(conversation)
            )
