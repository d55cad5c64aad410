from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.talking import asking
from bench.talking.asking import recorded, replayed
from bench.talking.conversation import (
    HIDDEN,
    Conversation,
    differences,
    load,
    question_of,
    save,
    unmarked,
)
from services.planner.minds.chosen import Choice
from services.planner.minds.llm.mind import PROMPT
from shared.errors import InputError
from shared.messages import Checked, CheckRequest
from shared.policies import Catalogue
from tests.bench.questions import question
from tests.planner.messages_api import KEY, MessagesApi, Turn, failure, message, messages_api, use
from tests.planner.sessions import hooks, name_of, proposing, writing

POLICIES = Catalogue.load()


async def gate(_request: CheckRequest) -> Checked:
    return Checked(evidence={"instructions": 40.0}, seconds=0.1)


async def record(*script: Turn, rounds: int = 24) -> tuple[Conversation, MessagesApi]:
    with messages_api(*script) as api:
        choice = Choice.from_environment(
            {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.url, "COX_MODEL_PRICE": "3,15"}
        )
        kept = await recorded(question(rounds=rounds), choice, KEY, gate, within_s=60)
    return kept, api


@pytest.fixture
def session() -> list[Turn]:
    """It looks, writes hooks, and proposes them."""
    import random

    wrote = writing(hooks(random.Random(3)))
    return [
        message(use("read_profile", part="features"), use("list_policies", id="toolu_2")),
        message(wrote),
        message(proposing("latency", name_of(wrote))),
    ]


async def test_what_was_recorded_is_played_back_to_the_same_plan(
    tmp_path: Path, session: list[Turn]
) -> None:
    kept, api = await record(*session)
    save(kept, tmp_path / "wakeup.json")
    again = await replayed(load(tmp_path / "wakeup.json"), POLICIES)
    assert len(api.requests) == len(kept.turns) == 3
    assert kept.plan is not None
    assert kept.plan.candidates[0].policy == "latency"
    assert again.stale == []
    assert again.plan == replace(kept.plan, cost=again.plan.cost if again.plan else kept.plan.cost)
    assert again.tokens == kept.plan.cost.tokens > 0


async def test_every_request_can_be_read_whole_from_the_file(session: list[Turn]) -> None:
    kept, api = await record(*session)
    assert list(kept.requests()) == [unmarked(each) for each in api.requests]
    assert len(kept.turns[1].added) == 2  # what it answered, and what it was told


async def test_a_question_comes_back_as_it_was(session: list[Turn]) -> None:
    kept, _ = await record(*session, rounds=16)
    asked, now = question_of(kept, POLICIES), question(rounds=16)
    for name in now.__struct_fields__:
        if name != "policies":
            assert getattr(asked, name) == getattr(now, name)
    assert set(asked.policies) == set(now.policies)


async def test_the_key_is_in_no_file_though_the_server_says_it_back(
    tmp_path: Path, session: list[Turn]
) -> None:
    told = failure(400, "invalid_request_error", f"what is {KEY}?")
    kept, api = await record(told)
    save(kept, tmp_path / "a.json")
    assert KEY in "".join(api.headers[0].values())  # it was handed on
    assert KEY not in (tmp_path / "a.json").read_text()
    assert HIDDEN in kept.turns[0].text
    whole, _ = await record(message(use("read_guide", why=KEY)), *session)
    save(whole, tmp_path / "b.json")
    assert KEY not in (tmp_path / "b.json").read_text()
    assert HIDDEN in (tmp_path / "b.json").read_text()


async def test_a_changed_prompt_makes_it_stale_and_is_told_with_its_hash(
    tmp_path: Path, session: list[Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = await record(*session)
    changed = tmp_path / "plan.md"
    changed.write_text(PROMPT.read_text() + "\nBe brief.\n")
    monkeypatch.setattr("services.planner.minds.llm.mind.PROMPT", changed)
    monkeypatch.setattr(asking, "PROMPT", changed)
    again = await replayed(kept, POLICIES)
    assert kept.prompt_sha256[:12] in again.stale[0]
    assert asking.prompt_sha256()[:12] in again.stale[0]
    assert any("request 1: system[0].text" in line and "Be brief" in line for line in again.stale)
    assert again.plan is not None  # its answers are the same, so is the plan


async def test_another_question_is_told_by_its_place(session: list[Turn]) -> None:
    kept, _ = await record(*session)
    other = replace(kept, question=json.loads(json.dumps(kept.question).replace("hogs", "pigs")))
    again = await replayed(other, POLICIES)
    assert any(line.startswith("request 2: messages[2].content[0]") for line in again.stale)


async def test_answers_that_nobody_asks_for_and_those_that_are_missing_are_told(
    session: list[Turn],
) -> None:
    kept, _ = await record(*session)
    more = replace(kept, turns=[*kept.turns, kept.turns[-1]])
    assert "1 recorded answers were not asked for" in (await replayed(more, POLICIES)).stale
    fewer = await replayed(replace(kept, turns=kept.turns[:-1]), POLICIES)
    assert fewer.plan is None
    assert fewer.problem is not None
    assert "the recorded conversation ends here" in str(fewer.problem)
    assert any("nothing was asked any more" in line for line in fewer.stale)
    assert "the plan is another one" in fewer.stale


async def test_what_goes_wrong_is_recorded_and_goes_wrong_again(session: list[Turn]) -> None:
    broken = session[0]._replace(body=session[0].body[: len(session[0].body) // 2])
    kept, _ = await record(failure(529, "overloaded_error"), broken)
    assert kept.plan is None
    assert [turn.status for turn in kept.turns] == [529, 200]
    again = await replayed(kept, POLICIES)
    assert again.stale == []
    assert again.problem == kept.problem


async def test_a_server_that_is_not_there_is_a_recorded_failure() -> None:
    choice = Choice.from_environment(
        {
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
            "COX_MODEL_PRICE": "3,15",
        }
    )
    kept = await recorded(question(), choice, KEY, gate, within_s=60)
    assert kept.plan is None
    assert {turn.status for turn in kept.turns} == {502}


async def test_hooks_that_were_not_checked_then_are_told(session: list[Turn]) -> None:
    kept, _ = await record(*session)
    again = await replayed(replace(kept, checks=[]), POLICIES)
    assert any("the gate was not asked about latency-made-" in line for line in again.stale)


def test_what_is_no_conversation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match="no conversation"):
        load(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("then", "now", "where"),
    [
        ({"a": [1, {"b": "x"}]}, {"a": [1, {"b": "y"}]}, ["a[1].b: 'x' is now 'y'"]),
        ({"a": 1}, {"b": 1}, ["a is gone", "b is new"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a has 2 parts, not 1"]),
        ({"a": [1]}, {"a": [1]}, []),
    ],
)
def test_differences_are_told_by_their_paths(then: object, now: object, where: list[str]) -> None:
    assert differences(then, now) == where
