"""Minds by their names, each with all that its life needs while it lasts."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench.comparing.baselines import BanditMind, RandomMind, Seen, SweepMind
from bench.comparing.entries import Entry
from bench.comparing.life import Lived
from bench.talking.asking import (
    REPLAYED_KEY,
    Gate,
    Listening,
    choice_of,
    listening,
    llm_mind,
    stale_prompt,
)
from bench.talking.conversation import Conversation, load, save
from bench.talking.tape import Player, serving
from services.planner.minds import Mind
from services.planner.minds.chosen import Choice
from services.planner.minds.embedded import EmbeddedMind
from services.planner.minds.llm.mind import LLM_S
from shared.errors import InputError

LLM: Final = "llm"
_BUILT_IN: Final[dict[str, Callable[[], Mind]]] = {
    EmbeddedMind.name: EmbeddedMind,
    SweepMind.name: SweepMind,
    RandomMind.name: RandomMind,
}
REPLAY_S: Final = 600.0
"""For a conversation that is played back: hooks are checked by the real gate meanwhile."""


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is asked."""

    conversations: Path
    """Where they are kept, a file for each workload."""
    record: bool = False
    """Keep what a live model says there."""
    patience_s: float = LLM_S
    """How long a live one may think about a plan: who answers for it may be a person."""

    def file(self, workload: str) -> Path:
        """The conversation about it."""
        return self.conversations / f"{workload}.json"


class Called(msgspec.Struct, kw_only=True):
    """The minds of one life, the first one asked first, and who plays a model, if one does."""

    minds: list[Mind]
    player: Player | None = None
    heard: Listening | None = None
    stale: list[str] = []
    thought_s: float | None = None
    """How long a model took that is played back, when it was recorded."""

    @property
    def differs(self) -> int | None:
        """Answers that were given to another question than the recorded one."""
        return None if self.player is None else self.player.differing

    @property
    def said(self) -> list[str]:
        """Where a conversation is stale, in lines."""
        return [*self.stale, *(self.player.said if self.player is not None else [])]

    def keep(self, lived: Lived, path: Path) -> None:
        """Keep what a live model has said in this life, if somebody has listened."""
        if self.heard is None or lived.question is None:
            return
        plan = lived.state.plan
        own = plan is not None and plan.mind == LLM and plan.problem is None
        declined = [each.problem for each in plan.declined if each.mind == LLM] if plan else []
        save(
            self.heard.kept(
                lived.question, plan if own else None, declined[0] if declined else None
            ),
            path,
        )


def _seen(entry: Entry) -> list[Seen]:
    """What a mind has seen in an earlier life of its own."""
    sign = -1 if entry.direction == "lower" else 1
    return [
        Seen(
            workload_class=entry.workload_class,
            policy=each.policy,
            parameters=each.parameters,
            gain=sign * math.log(each.ratio),
            pairs=each.pairs,
        )
        for each in entry.tries
        if each.pairs and each.ratio > 0
    ]


@asynccontextmanager
async def called(
    name: str, workload: str, gate: Gate, models: Models, entries: Sequence[Entry] = ()
) -> AsyncIterator[Called]:
    """Them. Raises InputError for a model without a key and without a recorded conversation."""
    if name != LLM:
        yield Called(minds=[_built_in(name, entries)])
        return
    choice = Choice.from_environment()
    if not choice.llm:
        async with _played_back(models.file(workload), gate) as found:
            yield found
        return
    key = os.environ["ANTHROPIC_API_KEY"].strip()
    # That the embedded mind goes on where a model has no plan is how the planner has it.
    if models.record:
        async with listening(choice, key, gate, within_s=models.patience_s) as heard:
            yield Called(minds=[heard.mind, EmbeddedMind()], heard=heard)
        return
    async with llm_mind(choice.base_url, key, choice, gate, within_s=models.patience_s) as mind:
        yield Called(minds=[mind, EmbeddedMind()])


def _built_in(name: str, entries: Sequence[Entry]) -> Mind:
    if name == BanditMind.name:
        return BanditMind([seen for each in entries if each.mind == name for seen in _seen(each)])
    found = _BUILT_IN.get(name)
    if found is None:
        raise InputError(
            f"there is no mind called {name}", expected=", ".join([*_BUILT_IN, BanditMind.name])
        )
    return found()


def _recorded(path: Path) -> Conversation:
    if not path.exists():
        raise InputError("no conversation recorded")
    return load(path)


@asynccontextmanager
async def _played_back(path: Path, gate: Gate) -> AsyncIterator[Called]:
    conversation = _recorded(path)
    player = Player(conversation)
    choice = choice_of(conversation)
    with serving(player.answer) as url:
        async with llm_mind(url, REPLAYED_KEY, choice, gate, within_s=REPLAY_S) as mind:
            stale = stale_prompt(conversation)
            yield Called(
                minds=[mind, EmbeddedMind()],
                player=player,
                stale=stale,
                thought_s=sum(turn.seconds for turn in conversation.turns),
            )
