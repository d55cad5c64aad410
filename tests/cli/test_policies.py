"""`cox policies` without a bus, and on one with a real learner that has read the event stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from services.learner.service import Learner
from shared.bus import Bus
from shared.fingerprint import key
from shared.fleet import ORDERS, Orders
from shared.messages import Built, Outcome, Remembered
from shared.optimization import Optimization
from shared.policies import Catalogue
from shared.repository import PolicyHits, PolicySearchRequest
from shared.telemetry import start_telemetry
from tests.cli.conftest import Cox, CoxOnBus
from tests.cli.recorded import optimization
from tests.learner.known_builds import built, rejected
from tests.learner.known_outcomes import HERE, elsewhere, outcome, told

LATENCY = Catalogue.load()["latency"]
VERSION = LATENCY.manifest.version
THEN_NS = 1_700_000_000_000_000_000


def tried(verdict: str = "promote", ratio: float = 0.5, **changes: object) -> Outcome:
    made = outcome(ratio=ratio)
    return msgspec.structs.replace(
        made, **{"version": VERSION, "verdict": verdict, "unix_ns": THEN_NS, **changes}
    )


async def tell(bus: Bus, event: Built | Remembered) -> None:
    subjects, of = bus.subjects, event.optimization
    if isinstance(event, Built):
        subject = subjects.event("executor", "built", of)
    else:
        subject = subjects.event("learner", "remembered", of)
    await bus.publish(subject, event, message_id=f"{of}-{type(event).__name__}")


@pytest.fixture
async def learner(bus: Bus) -> AsyncIterator[None]:
    """One that finds a build and two conflicting trials of latency in the stream."""
    source = LATENCY.source_sha256
    await tell(bus, built(version=VERSION, at=THEN_NS, source=source))
    await tell(bus, told(tried(reasons=["wakeup_p99_us is better: at worst 0.230 times."])))
    harm = tried("revert", 1.5, optimization="o2", host="h2", unix_ns=THEN_NS + 10**12)
    await tell(bus, told(harm))
    telemetry = start_telemetry("learner", publish=None)
    await Learner(bus, telemetry).start()
    yield
    await telemetry.shutdown()


# Without a bus ----------------------------------------------------------------------------------


def test_without_a_bus_the_list_is_what_ships_and_says_so(cox: Cox) -> None:
    bare, listed = cox("policies"), cox("policies", "list")
    assert bare.out == listed.out
    assert bare.code == 0
    assert "Short runners first" in bare.out
    assert "Without outcomes" in bare.out
    document = cox("policies", "list", "--json").document
    assert "no NATS server answers" in document["without"]
    assert [each["policy"] for each in document["versions"]] == list(Catalogue.load())
    assert not any(sum(each["tally"].values()) for each in document["versions"])


def test_without_a_bus_what_ships_is_found_shown_and_compared(cox: Cox) -> None:
    found = cox("policies", "search", "short", "runners", "that", "sleep", "--json").document
    assert found["found"]["hits"][0]["about"]["policy"] == "latency"
    shown = cox("policies", "show", "latency", "--json").document
    assert shown["manifest"]["name"] == "latency"
    assert shown["source"] == LATENCY.source
    history = cox("policies", "history", "latency", "--json").document
    assert history["history"]["events"] == []
    assert history["without"]


def test_a_difference_is_a_unified_diff_of_manifest_and_hooks(cox: Cox) -> None:
    told = cox("policies", "diff", "fair", "fifo")
    assert told.code == 0
    for line in (
        "--- fair/policy.toml",
        "+++ fifo/hooks.bpf.c",
        '-name = "fair"',
        '+name = "fifo"',
    ):
        assert line in told.out.splitlines()
    files = cox("policies", "diff", "fair", "fifo", "--json").document["files"]
    assert files["policy.toml"].startswith("--- fair/policy.toml\n+++ fifo/policy.toml\n@@ ")
    assert "the same" in cox("policies", "diff", "fair", "fair").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "nobody"],
        ["show", "latency", "--version", "9.9.9"],
        ["diff", "latency", "nobody"],
        ["history", "nobody"],
        ["search"],
        ["search", "x" * 501],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_what_nobody_knows_is_a_usage_error(cox: Cox, arguments: list[str]) -> None:
    ran = cox("policies", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "error" in ran.err


def test_a_likeness_needs_a_bus(cox: Cox) -> None:
    assert cox("policies", "search", "--like", "last").code == 1


# On a bus ---------------------------------------------------------------------------------------


async def test_a_bus_without_a_learner_is_as_good_as_none(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    ran = await cox_on_bus("policies", "list", "--json")
    assert ran.code == 0
    assert "nobody answers" in ran.document["without"]


@pytest.mark.usefixtures("learner")
async def test_the_list_tells_what_came_of_each(cox_on_bus: CoxOnBus) -> None:
    document = (await cox_on_bus("policies", "--json")).document
    assert document["without"] == ""
    (line,) = [each for each in document["versions"] if each["policy"] == "latency"]
    assert line["shipped"]
    assert line["builds"] == 1
    assert line["tally"] == {"promoted": 1, "reverted": 1, "inconclusive": 0}
    text = " ".join((await cox_on_bus("policies")).out.split())  # however wide the terminal is
    assert "2 trials: 1 promoted, 1 reverted" in text
    assert "never tried" in text


@pytest.mark.usefixtures("learner")
async def test_what_operators_have_said_is_listed_and_shown(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    retired, preferred = {f"latency@{VERSION}": "batch jobs complain"}, {"fair": "it serves us"}
    orders = Orders(retired=retired, preferred=preferred)
    await (await bus.records("fleet", Orders)).create(ORDERS, orders)
    listed = await cox_on_bus("policies")
    text = " ".join(listed.out.split())
    assert text.count("an operator") == 2
    assert "an operator prefers it: it serves us" in text
    assert "an operator has retired it: batch jobs complain" in text
    document = (await cox_on_bus("policies", "--json")).document
    assert (document["retired"], document["preferred"]) == (retired, preferred)
    shown = await cox_on_bus("policies", "show", "latency")
    assert "an operator has retired it: batch jobs complain" in " ".join(shown.out.split())
    document = (await cox_on_bus("policies", "show", "latency", "--json")).document
    assert (document["retired"], document["preferred"]) == ("batch jobs complain", "")


@pytest.mark.usefixtures("learner")
async def test_what_is_shown_has_its_record_and_says_that_it_conflicts(
    cox_on_bus: CoxOnBus,
) -> None:
    ran = await cox_on_bus("policies", "show", "latency")
    assert ran.code == 0
    assert "short_ns" in ran.out
    shown = " ".join(ran.out.split())
    for words in ("the source that ships", "insns_rank 34", "conflicting", key(HERE), "h2, lab-1"):
        assert words in shown
    record = (await cox_on_bus("policies", "show", "latency", "--json")).document["record"]
    (there,) = record["records"]
    assert there["tried"][0]["combined"]["trials"] == 2
    assert there["tried"][0]["newest"]["verdict"] == "revert"


@pytest.mark.usefixtures("learner")
async def test_the_history_goes_on_while_the_learner_lives(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    now = msgspec.structs.replace(rejected(optimization="o3"), unix_ns=THEN_NS + 10**13)
    await tell(bus, now)
    subject = bus.subjects.endpoint("learner", "search")
    await tell(bus, told(msgspec.structs.replace(tried(optimization="o4"), policy="newcomer")))

    asked = PolicySearchRequest(words="newcomer")
    async with asyncio.timeout(60):
        while not (await bus.ask(subject, asked, PolicyHits, timeout_s=10)).hits:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    history = (await cox_on_bus("policies", "history", "latency", "--json")).document["history"]
    assert [each["kind"] for each in history["events"]] == ["built", "tried", "tried", "rejected"]
    text = " ".join((await cox_on_bus("policies", "history", "latency")).out.split())
    assert "0.500 [0.450, 0.550] 8 pairs" in text
    assert history["events"][-1]["reasons"] == ["proof, call: a hook calls a helper"]
    listed = (await cox_on_bus("policies")).out
    assert "not shipped here" in listed
    shown = await cox_on_bus("policies", "show", "newcomer")
    assert shown.code == 0
    assert "does not ship here" in shown.out


@pytest.mark.usefixtures("learner")
async def test_policies_are_found_by_words_and_by_what_they_were_tried_on(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    ran = await cox_on_bus("policies", "search", "p99", "better", "at", "worst")
    assert ran.out.startswith(f"latency {VERSION}")
    assert "at worst 0.230 times" in ran.out
    recorded = optimization().record
    assert recorded.fingerprint is not None
    like = msgspec.structs.replace(recorded, fingerprint=elsewhere(kernel="7.3.9"))
    records = await bus.records("optimizations", Optimization)
    await records.create(like.id, like)
    found = (await cox_on_bus("policies", "search", "--like", like.id, "--json")).document["found"]
    (hit,) = found["hits"]
    assert (hit["about"]["policy"], hit["fingerprint"]) == ("latency", key(HERE))
    assert 0.3 < hit["likeness"] < 1


@pytest.mark.usefixtures("learner")
async def test_what_the_learner_does_not_know_is_a_usage_error(cox_on_bus: CoxOnBus) -> None:
    ran = await cox_on_bus("policies", "show", "nobody")
    assert (ran.code, ran.out) == (2, "")
    assert "nobody has heard of" in ran.err
