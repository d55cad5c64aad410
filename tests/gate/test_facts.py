"""Hooks read their two arguments, and nothing before or after them."""

from __future__ import annotations

import pytest

from services.executor.gate import Accepted, BuildRequest, Rejected, Workshop, build
from services.executor.gate.memory import FACTS_BYTES
from shared.policies import Catalogue

FAIR = Catalogue.load()["fair"]


def built(rank: str) -> Accepted | Rejected:
    """A policy whose rank is this, all else being another's."""
    head = "s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)"
    source = FAIR.source.replace("cox_rank(", "of_fair(", 1).replace(
        "s64 of_fair", "COX_INLINE s64 of_fair"
    )
    request = BuildRequest(manifest=FAIR.manifest, source=f"{source}\n{head}\n{{\n\t{rank}\n}}\n")
    return build(request, Workshop())


@pytest.mark.parametrize("facts", FACTS_BYTES)
def test_the_proof_knows_how_large_they_are(facts: str) -> None:
    size = FACTS_BYTES[facts]
    told = built(f'_Static_assert(sizeof(*{facts}) == {size}, ""); return of_fair(task, cpu);')
    assert isinstance(told, Accepted), told


@pytest.mark.parametrize(
    ("facts", "at", "allowed"),
    [
        ("task", 0, True),
        ("task", 120, True),
        ("task", 121, False),
        ("task", 128, False),
        ("task", -8, False),
        ("task", 40_000, False),
        ("task", 720_896, False),
        ("cpu", 64, True),
        ("cpu", 65, False),
        ("cpu", 72, False),
        ("cpu", -1, False),
    ],
)
def test_what_may_be_read_of_them(facts: str, at: int, *, allowed: bool) -> None:
    told = built(
        f"return *(volatile const s64 *)((const char *){facts} + {at}) + of_fair(task, cpu);"
    )
    if allowed:
        assert isinstance(told, Accepted), told
    else:
        assert isinstance(told, Rejected)
        assert (told.stage, told.reasons[0].rule) == ("proof", "load")
        assert f"struct cox_{facts}" in told.reasons[0].text
