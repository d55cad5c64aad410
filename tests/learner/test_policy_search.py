from __future__ import annotations

import msgspec
import pytest

from services.learner.repository import Finder
from services.learner.repository.words import Index, Passage, stem, tokens
from shared.errors import InputError
from shared.messages import MAX_MESSAGE_BYTES, Fingerprint, Outcome, encode
from shared.policies import Catalogue
from shared.repository import PolicyHits, PolicySearchRequest
from tests.learner.known_outcomes import (
    HERE,
    PROFILE,
    elsewhere,
    outcome,
    repository_of,
    take,
    told,
)

CATALOGUE = Catalogue.load()


def search(words: str = "", *outcomes: Outcome, of: Fingerprint | None = None) -> PolicyHits:
    repository = repository_of(*outcomes)
    return Finder(repository).find(
        PolicySearchRequest(words=words, fingerprint=of, features=PROFILE.features)
    )


def names(found: PolicyHits) -> list[str]:
    return [hit.about.policy for hit in found.hits]


# Words ----------------------------------------------------------------------------------------


def test_words_are_taken_apart_and_their_endings_off() -> None:
    assert tokens("Wakeup_P99_us: wake-up, Größe") == [
        "wakeup",
        "p99",
        "us",
        "wake",
        "up",
        "grösse",
    ]
    for alike in ("wait waits waiting waited", "slice slices sliced", "process processes"):
        assert len({stem(word) for word in alike.split()}) == 1
    assert stem("ns") == "ns"


def index(**documents: str) -> Index:
    return Index({name: [Passage(text)] for name, text in documents.items()})


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    found = index(a="queue tail", b="queue head", c="queue other").find("queue tail")
    assert list(found) == ["a", "b", "c"]
    assert found["a"].words == ["queue", "tail"]


def test_a_short_text_about_it_comes_before_a_long_one_that_mentions_it() -> None:
    found = index(long="tail " + "other words " * 50, short="tail words").find("tail")
    assert list(found) == ["short", "long"]


def test_saying_it_often_helps_less_and_less() -> None:
    documents = {"once": "tail one two three", "often": "tail tail tail tail"}
    found = index(**documents, other="none of it").find("tail")
    assert found["once"].score < found["often"].score < 3 * found["once"].score


def test_nothing_is_found_where_no_word_is() -> None:
    assert index(a="queue").find("tail") == {}
    assert Index({}).find("tail") == {}
    assert index(a="queue").find("!?") == {}


def test_the_excerpt_has_the_rarest_of_the_words() -> None:
    one = Index({"a": [Passage("every queue"), Passage("a tail")], "b": [Passage("queue")]})
    assert one.find("queue tail")["a"].excerpt == "a tail"


# Policies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("latency", "latency"),
        ("short runners that sleep soon", "latency"),
        ("weighted fair queueing", "fair"),
        ("batch of many short jobs and a few long ones", "longtail"),
        ("hardly any preemption, long slices", "throughput"),
        ("first come first served", "fifo"),
    ],
)
def test_a_policy_is_found_by_what_it_says_of_itself(words: str, first: str) -> None:
    found = search(words)
    assert names(found)[0] == first
    assert found.hits[0].excerpt


def test_a_policy_is_found_by_what_its_trials_say() -> None:
    tried = msgspec.structs.replace(
        outcome("own"), reasons=["Guardrail victim_wait_p99_us is violated: at worst 2.4 times."]
    )
    found = search("guardrail violated victim", tried)
    assert names(found) == ["own"]
    assert found.hits[0].excerpt.startswith("Guardrail victim_wait")
    assert names(search("tried on wakeup p99", tried))[0] == "own"


def test_the_index_knows_what_was_told_since() -> None:
    repository = repository_of()
    finder = Finder(repository)
    request = PolicySearchRequest(words="newcomer")
    assert finder.find(request).hits == []
    take(repository, told(outcome("newcomer")))
    assert names(finder.find(request)) == ["newcomer"]


def test_likeness_is_the_one_of_recalling() -> None:
    near = outcome("near", of=elsewhere(kernel="7.3.9-cloud-amd64"))
    far = outcome("far", of=elsewhere(kernel="6.12.1", cpus=64))
    other = outcome("other", of=elsewhere(objective="requests_per_s:higher"))
    found = search("", far, other, near, outcome("here"), of=HERE)
    assert names(found) == ["here", "near", "far"]
    assert found.hits[0].likeness == pytest.approx(1.0)
    assert 0 < found.hits[2].likeness < found.hits[1].likeness < 1


def test_with_words_and_likeness_both_must_fit() -> None:
    tried = [outcome(name, of=elsewhere(kernel="6.12.1")) for name in ("tail", "head")]
    found = search("tail runners", *tried, of=HERE)
    assert "latency" in names(search("tail runners", *tried))
    assert names(found) == ["tail"]
    assert found.hits[0].likeness > 0
    assert found.hits[0].words == ["tail"]


def test_a_search_for_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="nothing is looked for"):
        search("  ")


def test_what_is_found_fits_into_a_message() -> None:
    loud = [
        msgspec.structs.replace(
            outcome("p" * 60 + str(n), optimization=f"o{n}"),
            parameters={f"{'p' * 190}{m}": m for m in range(60)},
            reasons=["tail " * 90] * 16,
        )
        for n in range(60)
    ]
    repository = repository_of(*loud)
    found = Finder(repository).find(PolicySearchRequest(words="tail", limit=50))
    assert len(encode(found)) < MAX_MESSAGE_BYTES
    assert len(found.hits) + found.more >= 60
    assert all(len(hit.excerpt) <= 300 for hit in found.hits)
