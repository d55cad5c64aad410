"""The learner vouches for what its own verdicts have promoted, not for what is only told."""

from __future__ import annotations

from msgspec.structs import replace

from services.learner.judge import judge
from services.learner.vouch import Evidence, Vouching
from shared.messages import Artifact, Built, Loadable, Round
from tests.learner.known_outcomes import HERE, elsewhere, memory_of, outcome, told
from tests.learner.known_trials import pair, spec

SPEC = spec()
TRIED = Loadable(artifact="a" * 64, parameters={"slice_ns": 1_000_000})


def rounds(tried: Loadable = TRIED, *, least: int = 8) -> list[Round]:
    of = replace(SPEC, min_pairs=least)
    return [
        replace(pair(index, {"time": 100.0}, {"time": 50.0}), spec=of, tried=tried)
        for index in range(10)
    ]


def built(policy: str = "latency") -> Built:
    artifact = Artifact(
        sha256="a" * 64,
        size_bytes=1,
        policy=policy,
        version="1",
        source_sha256="b" * 64,
        toolchain="clang",
    )
    return Built(optimization="o1", policy=policy, artifact=artifact)


def evidence(of: list[Round], *builds: Built) -> Evidence:
    return [judge(of[0].spec, of)], [], of, list(builds)


class Shelf:
    """What is on the bus of each optimization, and how often it was looked up."""

    def __init__(self, **of: Evidence) -> None:
        self._of = of
        self.looked: list[str] = []

    async def __call__(self, optimization: str) -> Evidence:
        self.looked.append(optimization)
        return self._of.get(optimization, ([], [], [], []))


async def test_what_was_promoted_is_vouched_for_and_looked_up_once() -> None:
    first, second = outcome(at=1), outcome(at=2, optimization="o2")
    shelf = Shelf(o1=evidence(rounds(), built()))
    vouching = Vouching(memory_of(told(first), told(second)), shelf)
    for _ in range(2):
        (found,) = await vouching.of([second])
        assert (found.policy, found.parameters, found.promotions) == (
            "latency",
            TRIED.parameters,
            2,
        )
    assert shelf.looked == ["o1"]


async def test_praise_is_not() -> None:
    praised = outcome()
    memory = memory_of(told(praised))
    other = Loadable(artifact="a" * 64, parameters={"slice_ns": 5})
    for lie in (
        evidence(rounds()),  # nobody has built it
        evidence(rounds(), built("fair")),
        evidence(rounds(other), built()),
        evidence(rounds(least=6), built()),  # an early look rests on an earlier promotion
    ):
        assert await Vouching(memory, Shelf(o1=lie)).of([praised]) == []
    assert await Vouching(memory, Shelf()).of([praised]) == []


async def test_a_flood_of_praise_is_not_looked_up_without_end() -> None:
    flood = [outcome(at=number, optimization=f"p{number}") for number in range(50)]
    shelf = Shelf()
    assert await Vouching(memory_of(*map(told, flood)), shelf).of(flood) == []
    assert len(set(shelf.looked)) == 8


async def test_a_promotion_elsewhere_is_none_here() -> None:
    there = outcome(of=elsewhere(kernel="6.12"))
    shelf = Shelf(o1=evidence(rounds(), built()))
    vouching = Vouching(memory_of(told(there)), shelf)
    assert await vouching.of([replace(there, fingerprint=HERE)]) == []
    assert await vouching.of([replace(there, verdict="inconclusive")]) == []
