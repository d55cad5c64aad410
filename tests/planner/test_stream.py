"""Whatever comes as a stream, an answer is whole or none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planner.minds.llm.meter import Usage
from services.planner.minds.llm.stream import Heard
from tests.planner.messages_api import Event, events_of, text, use

WHOLE = events_of(text("Let me look."), use("recall", of="this"), stop="tool_use")


def heard(events: list[Event]) -> Heard:
    found = Heard()
    for event in events:
        found.take(event)
    return found


def test_an_answer_is_put_together() -> None:
    answer = heard(WHOLE).answer()
    assert answer.content == [text("Let me look."), use("recall", of="this")]
    assert [(call.id, call.name, call.input) for call in answer.calls] == [
        ("toolu_1", "recall", {"of": "this"})
    ]
    assert (answer.stop_reason, answer.usage) == ("tool_use", Usage(fresh=100, output=20))


def test_a_tool_may_be_called_with_nothing() -> None:
    events = events_of(use("list_policies"))
    quiet = [event for event in events if event["type"] != "content_block_delta"]
    assert heard(quiet).answer().calls[0].input == {}


@given(st.integers(0, len(WHOLE) - 1))
def test_without_its_end_there_is_no_answer(length: int) -> None:
    with pytest.raises(ValueError, match="broke off"):
        heard(WHOLE[:length]).answer()


@given(st.data())
def test_events_out_of_order_give_what_was_said_or_nothing(data: st.DataObject) -> None:
    events = data.draw(st.permutations(WHOLE) | st.lists(st.sampled_from(WHOLE), max_size=20))
    try:
        answer = heard(events).answer()
    except ValueError:
        return
    # Blocks in their order, and each of them whole.
    said = [text("Let me look."), use("recall", of="this")]
    whole = {repr(block) for block in said} | {repr(text(""))} | {repr(use("recall"))}
    twice = {repr(text("Let me look." * count)) for count in range(2, 20)}
    assert {repr(block) for block in answer.content} <= whole | twice
    assert answer.usage.fresh == 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)
KINDS = st.sampled_from(sorted({event["type"] for event in WHOLE}))


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": KINDS},
            optional={
                "index": JSON,
                "message": JSON,
                "content_block": JSON,
                "delta": JSON,
                "usage": JSON,
            },
        ),
        max_size=6,
    )
)
def test_nothing_is_raised_but_that_it_cannot_be(events: list[dict[str, Any]]) -> None:
    found = Heard()
    for event in [WHOLE[0], *events]:
        try:
            found.take(event)
        except ValueError:
            break
    assert min(found.usage.fresh, found.usage.output) >= 0
