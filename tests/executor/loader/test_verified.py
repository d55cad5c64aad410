"""What the verifier says in the end, of kernels that say more or less of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from services.executor.loader.verified import Verified, verified

WHOLE = """verification time 1432 usec
stack depth 64+0+128
processed 321 insns (limit 1000000) max_states_per_insn 4 total_states 20 peak_states 18 mark_read 3
"""
NEWER = """verification time 175780 usec
stack depth max 160
subprog 0 (cox_op_select_cpu) main insns_self 717 insns_total 717 stack 152
subprog 1 (cox_slice) global insns_self 3 insns_total 3 stack 0
processed 720 insns (limit 1000000) max_states_per_insn 3 total_states 49 peak_states 49 mark_read 0
"""


@pytest.mark.parametrize(
    ("log", "figures"), [(WHOLE, (321, 20, 18, 128, 1432)), (NEWER, (720, 49, 49, 160, 175780))]
)
def test_all_of_it_is_read(log: str, figures: tuple[int, ...]) -> None:
    assert astuple(verified(log)) == figures


@pytest.mark.parametrize(
    ("log", "known"),
    [
        ("", Verified()),
        ("processed 7 insns (limit 1000000)\n", Verified(instructions=7)),
        ("stack depth 0\n", Verified(stack_bytes=0)),
        ("verification time 0 usec\n", Verified(time_us=0)),
    ],
)
def test_what_is_not_said_is_not_known(log: str, known: Verified) -> None:
    assert verified(log) == known


def test_the_last_word_counts() -> None:
    assert verified("processed 1 insns (limit 1)\n" + WHOLE).instructions == 321


@given(st.text() | st.text("processdinta_kue 0123456789+\n"))
def test_no_text_is_too_odd(log: str) -> None:
    figures = verified(log)
    assert all(value is None or value >= 0 for value in astuple(figures))
