"""Each invariant is seen to fail on a history that has been doctored, and to hold on a good one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from bench.hosts.ledger import Line
from services.executor.token import Token
from shared.fleet import Claims
from tests.chaos.history import Acknowledged, Book, Clock, Event, History, Record, Said
from tests.chaos.invariants import INVARIANTS, violations

HOST, OTHER, ALONE = "h1", "h2", "h3"
OPTIMIZATION, TRIAL = "o1", "o1-t1"
REQUEST = "r" * 64
OBJECT = "a" * 64
PAIRS = 8
DAY_NS, HOUR_NS = 86_400 * 10**9, 3600 * 10**9
BOOTED_NS = 600 * 10**9
"""When everything happens on kernels; it is a day since 1970 then."""


def token(nonce: str, *, host: str = HOST, purpose: str = "trial", loads: int = 1) -> Token:
    return Token(
        plan_id=OPTIMIZATION,
        request_sha256=REQUEST,
        purpose=purpose,  # type: ignore[arg-type]
        policy="fifo",
        parameters={},
        object_sha256=OBJECT,
        source_sha256="",
        toolchain="",
        headers_sha256="",
        host=host,
        machine_id="",
        boot_id="",
        kernel="",
        btf_sha256="",
        loads=loads,
        max_duration_s=1.0,
        nbf_unix_ns=DAY_NS,
        exp_unix_ns=DAY_NS + 120 * 10**9,
        nonce=nonce,
        epoch=0,
    )


def line(what: Any, pid: int = 1, leave: Token | None = None) -> Line:
    return Line(at_ns=BOOTED_NS, pid=pid, what=what, name="cox_fifo", sha256=OBJECT, token=leave)


def fact(
    sequence: int, name: str, host: str = "_", service: str = "executor", **said: Any
) -> Event:
    return Event(
        sequence=sequence,
        subject=f"cox.evt.{service}.{name}.{OPTIMIZATION}.{host}",
        sha256=f"{name} {said}",
        said=Said(**said),
    )


def good() -> History:
    """An optimization that was promoted on one host, as it should be."""
    events = [
        fact(1, "accepted", service="planner"),
        *(fact(2 + i, "round", HOST, trial=TRIAL, index=i) for i in range(PAIRS)),
        fact(10, "judged", service="learner", trial=TRIAL, pairs=PAIRS, verdict="promote"),
        fact(11, "trial_ended", HOST, trial=TRIAL, end="completed"),
        fact(12, "deployed", HOST),
        fact(13, "remembered", service="learner"),
        fact(14, "ended", service="planner", terminal="promoted"),
    ]
    kernel = [
        line("began"),
        line("loaded", leave=token("n1", loads=PAIRS)),
        line("detached"),
        line("loaded", leave=token("n2", purpose="deploy")),
    ]
    return History(
        most_canaries=1,
        events=events,
        acknowledged=[Acknowledged(sequence=2, subject=events[1].subject, sha256=events[1].sha256)],
        claims=[Claims(), Claims(hosts={HOST: OPTIMIZATION}, canaries=[OPTIMIZATION])],
        records={
            OPTIMIZATION: Record(
                id=OPTIMIZATION,
                fence=2,
                over=True,
                terminal="promoted",
                request_sha256=REQUEST,
                winner=TRIAL,
                least_pairs=PAIRS,
                kept_on=[HOST],
            )
        },
        promised=[OPTIMIZATION],
        requests=[REQUEST],
        kernels={HOST: kernel, OTHER: [line("began")], ALONE: [line("began")]},
        held=[HOST],
        books={HOST: Book(redeemed=["n1", "n2"], kept=OPTIMIZATION)},
        clocks={host: [clock()] for host in (HOST, OTHER, ALONE)},
        left_alone=[ALONE],
    )


def clock(from_ns: int = 0, *, ahead_ns: int = 0) -> Clock:
    return Clock(from_ns=from_ns, ahead_ns=DAY_NS - BOOTED_NS + ahead_ns)


def shown(history: History, *clocks: Clock) -> History:
    return replace(history, clocks={**history.clocks, HOST: list(clocks)})


def on_kernel(history: History, *more: Line, host: str = HOST) -> History:
    kernels = {**history.kernels, host: [*history.kernels[host], *more]}
    return replace(history, kernels=kernels)


def told(history: History, *more: Event) -> History:
    return replace(history, events=[*history.events, *more])


def untold(history: History, *names: str) -> History:
    left = [each for each in history.events if each.subject.split(".")[3] not in names]
    return replace(history, events=left, acknowledged=[])


def recorded(history: History, **change: Any) -> History:
    record = replace(history.records[OPTIMIZATION], **change)
    return replace(history, records={OPTIMIZATION: record})


def kept(history: History, *redeemed: str, now: str = OPTIMIZATION) -> History:
    return replace(history, books={HOST: Book(redeemed=[*redeemed], kept=now)})


DOCTORED: list[tuple[str, str, Callable[[History], History]]] = [
    ("I1", "over one that", lambda h: on_kernel(h, line("loaded", leave=token("n2")))),
    ("I1", "beside another", lambda h: on_kernel(h, line("refused", pid=2))),
    ("I1", "not its own", lambda h: on_kernel(h, line("detached", pid=2))),
    ("I2", "without a token", lambda h: on_kernel(h, line("loaded", pid=2))),
    ("I2", "journal 0 times", lambda h: kept(h, "n2")),
    ("I2", "journal 2 times", lambda h: kept(h, "n1", "n2", "n2")),
    ("I2", "nobody has sent", lambda h: replace(h, requests=[])),
    (
        "I2",
        "something else",
        lambda h: on_kernel(h, line("loaded", pid=2, leave=token("n2", host=OTHER))),
    ),
    (
        "I2",
        "one more",
        lambda h: on_kernel(h, line("detached"), line("loaded", leave=token("n2"))),
    ),
    ("I2", "no time for", lambda h: shown(h, clock(ahead_ns=HOUR_NS))),
    ("I2", "no time for", lambda h: shown(h, clock(ahead_ns=-HOUR_NS))),
    (
        "I2",
        "no time for",
        lambda h: shown(h, clock(ahead_ns=HOUR_NS), clock(BOOTED_NS + 1)),
    ),
    (
        "I2",
        "no time for",
        lambda h: shown(h, clock(), clock(BOOTED_NS - 2 * 10**9, ahead_ns=HOUR_NS)),
    ),
    ("I2", "2 processes", lambda h: on_kernel(h, line("loaded", 2, token("n2", loads=2)))),
    (
        "I4",
        "round 3 of o1-t1 was measured 2 times",
        lambda h: told(h, fact(15, "round", HOST, trial=TRIAL, index=3, pairs=1)),
    ),
    (
        "I4",
        "ended 2 times",
        lambda h: told(h, fact(15, "trial_ended", HOST, trial=TRIAL, end="stopped")),
    ),
    (
        "I4",
        "remembered 2 times",
        lambda h: told(h, fact(15, "remembered", service="learner", pairs=1)),
    ),
    (
        "I4",
        "deployed 2 times",
        lambda h: on_kernel(h, line("detached"), line("loaded", 1, token("n3", purpose="deploy"))),
    ),
    ("I5", "not at rest", lambda h: replace(h, restless=["not at rest: o1 is trying"])),
    ("I5", "no record", lambda h: replace(h, promised=["o2"])),
    ("I5", "has not ended", lambda h: recorded(h, over=False)),
    ("I5", "never sent", lambda h: recorded(h, unsent=1)),
    ("I5", "0 times", lambda h: untold(h, "accepted")),
    ("I5", "told to be", lambda h: untold(h, "ended")),
    (
        "I5",
        "told to be",
        lambda h: told(h, fact(15, "ended", service="planner", terminal="failed")),
    ),
    ("I6", "acknowledged", lambda h: replace(h, events=h.events[:1] + h.events[2:])),
    (
        "I6",
        "acknowledged",
        lambda h: replace(h, events=[replace(each, sha256="other") for each in h.events]),
    ),
    ("I7", "was promoted there last", lambda h: recorded(h, terminal="failed")),
    ("I7", "is kept", lambda h: kept(h, "n1", "n2", now="")),
    ("I7", "otherwise", lambda h: replace(h, held=[])),
    ("I7", "otherwise", lambda h: replace(h, held=[HOST, OTHER])),
    (
        "I7",
        "nobody was told",
        lambda h: replace(kept(on_kernel(h, line("detached")), "n1", "n2", now=""), held=[]),
    ),
    ("I8", "without a clear word", lambda h: untold(h, "judged")),
    ("I8", "without a clear word", lambda h: untold(h, "round")),
    ("I8", "without a clear word", lambda h: recorded(h, least_pairs=PAIRS + 1)),
    ("I8", "has not said", lambda h: untold(h, "deployed")),
    ("I9", "2 canaries", lambda h: replace(h, claims=[Claims(canaries=["o1", "o2"])])),
    ("I10", "nobody killed it", lambda h: replace(h, fallen=["gate-0 (code 1)"])),
    (
        "I10",
        "no request",
        lambda h: on_kernel(h, line("loaded", leave=token("n4", host=ALONE)), host=ALONE),
    ),
]


def test_a_good_history_breaks_nothing() -> None:
    assert violations(good()) == []


@pytest.mark.parametrize(("name", "words", "doctor"), DOCTORED)
def test_a_doctored_history_is_found_out(
    name: str, words: str, doctor: Callable[[History], History]
) -> None:
    found = [each.text for each in violations(doctor(good())) if each.invariant == name]
    assert any(words in text for text in found), found


def test_every_invariant_has_been_doctored() -> None:
    assert {name for name, _, _ in DOCTORED} == set(INVARIANTS)


def test_rounds_that_come_after_the_word_do_not_count() -> None:
    history = good()
    late = [each for each in history.events if "round" not in each.subject]
    rounds = [each for each in history.events if "round" in each.subject]
    assert any(
        each.invariant == "I8" for each in violations(replace(history, events=[*late, *rounds]))
    )


@pytest.mark.parametrize("ahead_ns", [40 * 10**9, -40 * 10**9])
def test_clocks_may_differ_by_less_than_a_minute(ahead_ns: int) -> None:
    assert violations(shown(good(), clock(ahead_ns=ahead_ns))) == []


def test_a_clock_may_step_between_a_token_and_its_load() -> None:
    stepped = clock(BOOTED_NS - 10**9 // 2, ahead_ns=HOUR_NS)
    assert violations(shown(good(), clock(), stepped)) == []


def test_a_scheduler_dies_with_its_process() -> None:
    """The next process finds an empty slot: that is no second scheduler."""
    history = on_kernel(
        good(), line("began", pid=2), line("loaded", 2, token("n3", purpose="restore"))
    )
    assert violations(kept(history, "n1", "n2", "n3")) == []


def test_what_was_taken_back_with_a_word_may_be_gone() -> None:
    history = replace(kept(on_kernel(good(), line("detached")), "n1", "n2", now=""), held=[])
    assert violations(told(history, fact(15, "reverted", HOST))) == []
