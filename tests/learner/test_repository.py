from __future__ import annotations

import itertools
import random
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.learner.repository import Repository, history, policies, policy
from services.learner.repository.fold import BUILDS_OF_POLICY, OF_FINGERPRINT, OF_ONE, Version
from services.learner.repository.newest import Level, Newest
from shared.errors import InputError, Problem
from shared.fingerprint import key
from shared.messages import MAX_MESSAGE_BYTES, Built, Outcome, Remembered, encode
from shared.plain import is_plain
from shared.policies import Catalogue
from shared.repository import (
    PolicyHistory,
    PolicyHistoryRequest,
    PolicyList,
    PolicyRecord,
    PolicyRequest,
)
from tests.learner.known_builds import artifact, built, rejected
from tests.learner.known_outcomes import HERE, elsewhere, outcome, repository_of, take, told
from tests.learner.known_trials import steady

CATALOGUE = Catalogue.load()
LATENCY = CATALOGUE["latency"]


def record(repository: Repository, name: str = "latency", version: str = "1") -> PolicyRecord:
    return policy(repository, PolicyRequest(policy=name, version=version))


def story(repository: Repository, name: str = "latency", limit: int = 100) -> PolicyHistory:
    return history(repository, PolicyHistoryRequest(policy=name, limit=limit))


def everything(
    repository: Repository,
) -> tuple[PolicyList, list[PolicyRecord], list[PolicyHistory]]:
    listed = policies(repository)
    names = sorted({each.policy for each in listed.policies})
    return (
        listed,
        [record(repository, each.policy, each.version) for each in listed.policies],
        [story(repository, name) for name in names],
    )


# What ships -----------------------------------------------------------------------------------


def test_without_any_event_there_is_what_ships() -> None:
    listed = policies(Repository(CATALOGUE)).policies
    assert [each.policy for each in listed] == list(CATALOGUE)
    assert all(each.shipped and not each.tally.trials and each.best is None for each in listed)
    told = policy(Repository(CATALOGUE), PolicyRequest(policy="latency"))
    assert told.manifest is not None
    assert msgspec.convert(told.manifest, type(LATENCY.manifest)) == LATENCY.manifest
    assert (told.artifacts, told.records, told.rejected) == ([], [], 0)


def test_a_version_that_does_not_ship_has_a_record_and_no_manifest() -> None:
    told = record(repository_of(outcome(), builds=(built(),)))
    assert (told.about.shipped, told.manifest) == (False, None)
    assert told.versions == [LATENCY.manifest.version, "1"]
    assert told.about.tally.promoted == 1


def test_the_version_that_ships_is_the_one_that_is_meant() -> None:
    told = policy(repository_of(outcome()), PolicyRequest(policy="latency"))
    assert told.about.version == LATENCY.manifest.version


def test_of_a_policy_that_does_not_ship_the_last_used_version_is_meant() -> None:
    older = msgspec.structs.replace(outcome("own", at=5), version="2.0.0")
    newer = msgspec.structs.replace(outcome("own", at=9), version="1.0.0")
    told = policy(repository_of(older, newer), PolicyRequest(policy="own"))
    assert (told.about.version, told.versions) == ("1.0.0", ["2.0.0", "1.0.0"])


@pytest.mark.parametrize("asked", [("nobody", ""), ("latency", "9.9.9")])
def test_what_nobody_has_heard_of_is_said(asked: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="nobody has heard of"):
        record(Repository(CATALOGUE), *asked)
    if asked[0] == "nobody":
        with pytest.raises(InputError, match="nobody has heard of"):
            story(Repository(CATALOGUE), asked[0])


# Builds ---------------------------------------------------------------------------------------


def test_an_object_is_told_once_with_what_was_proven_and_where_its_source_is_from() -> None:
    version = LATENCY.manifest.version
    shipped = LATENCY.source_sha256
    told = record(
        repository_of(
            builds=(
                built(version=version, at=1, source=shipped),
                built(version=version, at=7, source=shipped, optimization="o2"),
                built(version=version, at=3, sha256="c" * 64, optimization="o3"),
            )
        ),
        version=version,
    )
    again, other = told.artifacts
    assert again.artifact == artifact(version=version, source=shipped)
    assert (again.builds, again.optimization, again.first_unix_ns, again.unix_ns) == (2, "o2", 1, 7)
    assert (again.shipped, other.shipped) == (True, False)
    assert told.about.builds == 3


def test_a_rejected_build_is_history_and_no_version() -> None:
    repository = repository_of(builds=(rejected("own"),))
    assert not [each for each in policies(repository).policies if each.policy == "own"]
    (event,) = story(repository, "own").events
    assert (event.kind, event.version) == ("rejected", "")
    assert event.reasons == ["proof, call: a hook calls a helper"]
    with pytest.raises(InputError, match="nobody has heard of that version"):
        policy(repository, PolicyRequest(policy="own"))


def test_a_build_that_was_stopped_is_no_rejection() -> None:
    stopped = Built(
        optimization="o1", policy="latency", problem=Problem(kind="MachineError", what="no clang")
    )
    repository = repository_of(builds=(stopped,))
    assert story(repository).events[0].kind == "failed"
    assert policy(repository, PolicyRequest(policy="latency")).rejected == 0


# Outcomes -------------------------------------------------------------------------------------


def test_a_record_counts_by_fingerprint_and_by_candidate() -> None:
    there = elsewhere(kernel="7.4.0")
    told = record(
        repository_of(
            outcome(at=1),
            outcome(verdict="inconclusive", at=2, optimization="o2", host="h2"),
            outcome(slice_ns=5, at=3, optimization="o3"),
            outcome(verdict="revert", of=there, at=9, optimization="o4"),
        )
    )
    newer, older = told.records
    assert (newer.key, older.key) == (key(there), key(HERE))
    assert (newer.tally.reverted, older.tally.trials, older.tally.promoted) == (1, 3, 2)
    most, least = older.tried
    assert (most.pairs, most.hosts, most.newest.optimization) == (16, ["h2", "lab-1"], "o2")
    assert (most.combined and most.combined.trials, least.parameters) == (2, {"slice_ns": 5})
    assert told.about.fingerprints == 2


def test_of_one_optimization_the_trial_with_more_pairs_came_later() -> None:
    screened = outcome(verdict="inconclusive", pairs=3)
    confirmed = outcome(pairs=8)
    for order in itertools.permutations([screened, confirmed]):
        (tried,) = record(repository_of(*order)).records[0].tried
        assert tried.newest.verdict == "promote"
        assert tried.combined is not None
        assert tried.combined.trials == 1


def test_what_contradicts_itself_is_called_conflicting() -> None:
    failed = outcome(verdict="revert", ratio=1.5, optimization="o2", host="h2")
    repository = repository_of(outcome(), failed)
    (tried,) = record(repository).records[0].tried
    assert tried.conflicting
    assert not record(repository_of(outcome())).records[0].tried[0].conflicting


def test_the_best_was_promoted_and_is_chosen_by_its_worse_end() -> None:
    lucky = msgspec.structs.replace(outcome(ratio=0.3, slice_ns=1), high=0.95)
    sure = outcome(ratio=0.5, slice_ns=2, optimization="o2")
    hopeful = outcome(verdict="inconclusive", ratio=0.1, slice_ns=3, optimization="o3")
    gone = outcome(ratio=0.2, slice_ns=4, optimization="o4")
    reverted = outcome(verdict="revert", ratio=0.2, slice_ns=4, at=9, optimization="o5")
    best = record(repository_of(lucky, sure, hopeful, gone, reverted)).about.best
    assert best is not None
    assert best.parameters == {"slice_ns": 2}
    assert best.combined.ratio == 0.5


def test_where_higher_is_better_the_best_is_the_highest() -> None:
    rate = elsewhere(objective="requests_per_s:higher")
    best = record(
        repository_of(
            outcome(ratio=1.2, slice_ns=1, of=rate),
            outcome(ratio=1.6, slice_ns=2, of=rate, optimization="o2"),
        )
    ).about.best
    assert best is not None
    assert best.parameters == {"slice_ns": 2}


# History --------------------------------------------------------------------------------------


def test_history_is_told_in_order_and_an_old_build_before_what_it_was_for() -> None:
    events = story(
        repository_of(
            outcome(at=20, optimization="o2"),
            outcome(at=10),
            builds=(built(at=0), built(at=15, optimization="o2"), rejected(at=30)),
        )
    ).events
    assert [(each.kind, each.optimization) for each in events] == [
        ("built", "o1"),
        ("tried", "o1"),
        ("built", "o2"),
        ("tried", "o2"),
        ("rejected", "o1"),
    ]
    tried = events[1]
    assert (tried.host, tried.workload, tried.fingerprint) == ("lab-1", "wakeup", key(HERE))
    assert (tried.verdict, tried.ratio, tried.pairs) == ("promote", 0.5, 8)


def test_history_says_how_much_it_leaves_out() -> None:
    repository = repository_of(*(outcome(at=n, optimization=f"o{n}") for n in range(9)))
    told = story(repository, limit=4)
    assert [each.unix_ns for each in told.events] == [5, 6, 7, 8]
    assert told.more == 5


# What does not matter ---------------------------------------------------------------------------

outcomes = st.builds(
    outcome,
    policy=st.sampled_from(["latency", "own"]),
    verdict=st.sampled_from(["promote", "revert", "inconclusive"]),
    ratio=st.sampled_from([0.5, 0.8, 1.0, 1.4]),
    pairs=st.integers(0, 24),
    at=st.integers(0, 5),
    optimization=st.sampled_from(["o1", "o2", "o3"]),
    slice_ns=st.sampled_from([1, 2]),
    host=st.sampled_from(["h1", "h2"]),
    of=st.sampled_from([HERE, elsewhere(kernel="6.12.1")]),
)
builds = st.one_of(
    st.builds(
        built,
        policy=st.sampled_from(["latency", "own"]),
        version=st.sampled_from(["1", "1.0.0"]),
        at=st.integers(0, 5),
        optimization=st.sampled_from(["o1", "o2"]),
        sha256=st.sampled_from(["a" * 64, "c" * 64]),
    ),
    st.builds(rejected, policy=st.sampled_from(["latency", "own"]), at=st.integers(0, 5)),
)


@steady
@given(st.lists(st.one_of(outcomes, builds), max_size=20), st.integers(0, 99))
def test_the_order_and_number_of_deliveries_do_not_matter(
    events: list[Outcome | Built], seed: int
) -> None:
    delivered = [*events, *events[: seed % 7]]
    random.Random(seed).shuffle(delivered)
    told_once, delivered_so = Repository(CATALOGUE), Repository(CATALOGUE)
    for repository, said in ((told_once, events), (delivered_so, delivered)):
        for event in said:
            assert not heard(repository, event)
    assert everything(told_once) == everything(delivered_so)


def heard(repository: Repository, event: Outcome | Built) -> list[str]:
    if isinstance(event, Built):
        return repository.built(event)
    return take(repository, told(event))


@steady
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 2))), st.randoms())
def test_what_is_kept_does_not_depend_on_the_order_when_there_is_too_much(
    things: list[tuple[int, int, int]], shuffler: random.Random
) -> None:
    def kept(order: list[tuple[int, int, int]]) -> set[tuple[int, int, int]]:
        newest: Newest[tuple[int, int, int]] = Newest(
            [
                Level(lambda each: each[1:], 2),
                Level(lambda each: each[1], 3),
                Level(lambda _: None, 5),
            ],
            lambda each: (each[0], 0),
        )
        for each in order:
            newest.add(str(each), each)
        for level in range(3):
            assert all(
                len(newest.of(level, group)) <= (2, 3, 5)[level] for group in newest.groups(level)
            )
        return set(newest)

    shuffled = list(things)
    shuffler.shuffle(shuffled)
    assert kept(things) == kept(shuffled)
    if things:
        assert max(each[0] for each in things) == max(each[0] for each in kept(things))


# Strangers --------------------------------------------------------------------------------------

HOUR_NS = 3_600_000_000_000
ABSURD_OUTCOMES: dict[str, dict[str, Any]] = {
    "no number": {"ratio": float("nan")},
    "from the future": {"unix_ns": time.time_ns() + 24 * HOUR_NS},
    "of another optimization": {"optimization": "o-of-somebody-else"},
    "a version that gives orders": {"version": "1.0.0\nverdict: promote"},
}
ABSURD_BUILDS: dict[str, Built] = {
    "from the future": built("evil", at=time.time_ns() + 24 * HOUR_NS),
    "an object of another policy": msgspec.structs.replace(built("evil"), policy="latency"),
    "a name without end": built("evil", optimization="o" * 1000),
    "a version that gives orders": built("evil", version="1\x1b[2J"),
    "less than nothing": Built(
        optimization="o1",
        policy="evil",
        artifact=msgspec.structs.replace(artifact("evil"), size_bytes=-1),
    ),
    "no number": Built(
        optimization="o1",
        policy="evil",
        artifact=msgspec.structs.replace(artifact("evil"), evidence={"insns": float("inf")}),
    ),
    "figures without end": Built(
        optimization="o1",
        policy="evil",
        artifact=msgspec.structs.replace(
            artifact("evil"), evidence={f"insns_{n}": 1.0 for n in range(1000)}
        ),
    ),
}


@pytest.mark.parametrize("case", ABSURD_OUTCOMES)
def test_44_what_no_trial_can_have_shown_is_refused(case: str) -> None:
    bad = msgspec.structs.replace(outcome("evil"), **ABSURD_OUTCOMES[case])
    repository = Repository(CATALOGUE)
    assert len(take(repository, Remembered(optimization="o1", outcomes=[bad, outcome()]))) == 1
    assert {trial.outcome.policy for trial in repository.trials()} == {"latency"}


@pytest.mark.parametrize("case", ABSURD_BUILDS)
def test_44_what_no_gate_can_have_told_is_refused(case: str) -> None:
    repository = Repository(CATALOGUE)
    assert len(repository.built(ABSURD_BUILDS[case])) == 1
    assert repository.builds("evil") == repository.builds("latency") == []


def test_44_a_gates_reasons_are_kept_short_and_plain() -> None:
    loud = rejected()
    loud = msgspec.structs.replace(
        loud,
        reasons=[msgspec.structs.replace(loud.reasons[0], text="\x1b[2J" * 10_000)] * 100,
        problem=Problem(kind="MachineError", what="\u202e" * 10_000),
    )
    (event,) = story(repository_of(builds=(loud,))).events
    assert sum(map(len, event.reasons)) < 10_000
    assert all(map(is_plain, event.reasons))


def test_44_nobody_pushes_the_others_out() -> None:
    """One optimization tells a thousand trials of a policy, and another one has told one before."""
    stuffed = [outcome(ratio=0.5 + n / 10_000, at=9) for n in range(1000)]
    repository = repository_of(outcome(at=1, optimization="honest"), *stuffed)
    kept = repository.trials(Version("latency", "1"))
    assert len(kept) == OF_ONE + 1
    assert kept[0].outcome.optimization == "honest"


def test_what_is_kept_is_bounded() -> None:
    many = [outcome(at=n, optimization=f"o{n}") for n in range(OF_FINGERPRINT + 20)]
    there = outcome(of=elsewhere(kernel="6.12.1"), at=0)
    built_often = tuple(built(at=n, optimization=f"o{n}") for n in range(BUILDS_OF_POLICY + 20))
    repository = repository_of(there, *many, builds=built_often)
    kept = repository.trials(Version("latency", "1"))
    assert len(kept) == OF_FINGERPRINT + 1
    assert kept[0].outcome.fingerprint == there.fingerprint
    assert kept[-1].outcome == many[-1]
    assert len(repository.builds("latency")) == BUILDS_OF_POLICY


def test_every_answer_fits_into_a_message_and_says_what_it_leaves_out() -> None:
    wide = {f"{'p' * 190}{n}": n for n in range(60)}
    trials = [
        msgspec.structs.replace(
            outcome(of=elsewhere(kernel=f"7.{n}"), optimization=f"o{n}", at=n, host="h" * 200),
            parameters=wide,
            reasons=["why" * 150] * 16,
        )
        for n in range(60)
    ]
    others = [outcome("v" * 60 + str(n), optimization=f"v{n}") for n in range(300)]
    repository = repository_of(*trials, *others)
    listed, told, happened = policies(repository), record(repository), story(repository)
    for answer in (listed, told, happened):
        assert len(encode(answer)) < MAX_MESSAGE_BYTES
    assert set(CATALOGUE) <= {each.policy for each in listed.policies}
    assert len(listed.policies) + listed.more == len(CATALOGUE) + 1 + 300
    assert len(told.records) + told.records_more == 60
    assert told.records[0].fingerprint.kernel == "7.59"
    assert len(happened.events) + happened.more == 60
    assert min(listed.more, told.records_more, happened.more) > 0
