from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bench.compare import Bench, Comparison, options_of, shown
from bench.comparing.entries import Entry, Try
from bench.comparing.hosts import PaperHosts
from bench.comparing.minds import Models, called
from bench.talking.conversation import load, save
from tests.bench.questions import paper, question
from tests.bench.test_conversations import record
from tests.planner.messages_api import KEY, message, messages_api
from tests.planner.sessions import proposing

SERVER = ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "COX_MODEL_PRICE", "COX_MIND", "COX_MODEL")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SERVER:
        monkeypatch.delenv(name, raising=False)


def bench(tmp_path: Path, *more: str, mind: str = "embedded") -> Bench:
    folder, file = tmp_path / "talks", tmp_path / "compare.json"
    paths = ["--out", str(file), "--conversations", str(folder)]
    return Bench(options_of([*paths, "--workload", "wakeup", "--mind", mind, *more]))


async def entries(one: Bench, host: PaperHosts) -> list[Entry]:
    await one.measure(host)
    return one.done.entries


async def test_what_was_run_is_in_the_file_and_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = paper({"latency": 0.4})
    first = await entries(bench(tmp_path), host)
    assert [each.end for each in first] == ["promoted"]
    assert first[0].rounds == host.measured
    again = bench(tmp_path, "--resume")
    assert again.todo == []
    assert (await entries(again, paper({}))) == first
    assert shown(tmp_path / "compare.json") == 0
    assert "| embedded mind | promoted | latency " in capsys.readouterr().out


async def test_another_budget_is_another_comparison(tmp_path: Path) -> None:
    await entries(bench(tmp_path), paper({"latency": 0.4}))
    assert len(bench(tmp_path, "--resume", "--budget", "16").todo) == 1


async def test_what_could_not_be_run_is_told_and_is_run_again(tmp_path: Path) -> None:
    broken = paper({}, broken={"latency": "workload", "fair": "workload"})
    first = bench(tmp_path)
    (entry,) = await entries(first, broken)
    assert entry.end == "failed"
    assert "it broke" in entry.why
    assert [mind for mind, _ in first.todo] == ["embedded"]
    assert len(bench(tmp_path, "--resume").todo) == 1


async def test_nothing_begins_when_time_is_up(tmp_path: Path) -> None:
    late = bench(tmp_path, "--seconds", "0.000001")
    assert await entries(late, paper({})) == []
    assert len(late.todo) == 1


async def test_a_model_that_nobody_has_recorded_is_told_as_that(tmp_path: Path) -> None:
    (entry,) = await entries(bench(tmp_path, mind="llm"), paper({}))
    assert (entry.end, entry.why) == ("not-run", "no conversation recorded")


async def test_a_recorded_model_plans_and_pays_what_it_said(tmp_path: Path) -> None:
    kept, _ = await record(message(proposing("latency")))
    save(kept, tmp_path / "talks" / "wakeup.json")
    (entry,) = await entries(bench(tmp_path, mind="llm"), paper({"latency": 0.4}))
    assert (entry.end, entry.policy, entry.declined) == ("promoted", "latency", [])
    assert entry.differs == 0
    assert kept.plan is not None
    assert entry.tokens == kept.plan.cost.tokens > 0


async def test_a_recorded_model_is_charged_for_the_time_it_took_then(tmp_path: Path) -> None:
    kept, _ = await record(message(proposing("latency")))
    slow = replace(kept, turns=[replace(each, seconds=500.0) for each in kept.turns])
    save(slow, tmp_path / "talks" / "wakeup.json")
    (entry,) = await entries(bench(tmp_path, mind="llm"), paper({"latency": 0.4}))
    assert 500.0 <= entry.seconds - 10.0 * entry.rounds < 560.0


async def test_a_conversation_about_another_profile_is_played_back_and_counted(
    tmp_path: Path,
) -> None:
    kept, _ = await record(message(proposing("latency")), rounds=16)
    save(kept, tmp_path / "talks" / "wakeup.json")
    (entry,) = await entries(bench(tmp_path, mind="llm"), paper({"latency": 0.4}))
    assert entry.end == "promoted"
    assert entry.differs == 1  # it was asked about 16 rounds


async def test_where_a_model_has_no_plan_it_says_whose_plan_it_was(tmp_path: Path) -> None:
    kept, _ = await record(message(proposing("turbo")))
    save(kept, tmp_path / "talks" / "wakeup.json")
    (entry,) = await entries(bench(tmp_path, mind="llm"), paper({"latency": 0.4}))
    assert entry.end == "promoted"
    assert entry.declined[0].startswith("llm: ")


async def test_a_live_model_is_asked_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with messages_api(message(proposing("latency"))) as api:
        values = (KEY, api.url, "3,15", "auto", "claude-of-paper")
        for name, value in zip(SERVER, values, strict=True):
            monkeypatch.setenv(name, value)
        (entry,) = await entries(bench(tmp_path, "--record", mind="llm"), paper({"latency": 0.4}))
    assert (entry.end, entry.differs) == ("promoted", None)
    kept = load(tmp_path / "talks" / "wakeup.json")
    assert kept.model == "claude-of-paper"
    assert len(kept.turns) == len(api.requests) == 1
    assert kept.plan is not None
    assert kept.plan.cost.tokens == entry.tokens
    assert KEY not in (tmp_path / "talks" / "wakeup.json").read_text()
    assert kept.question["objective"]["metric"] == question().objective.metric


def test_a_regression_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Comparison(budget=24, machine="m")
    bad = Entry(
        workload="w",
        mind="sweep",
        metric="m",
        direction="lower",
        end="promoted",
        policy="p",
        ratio=1.3,
        low=1.2,
        high=1.4,
    )
    done.put(bad)
    (tmp_path / "c.json").write_bytes(msgspec.json.encode(done))
    assert shown(tmp_path / "c.json") == 1
    assert "beyond the interval: default sweep: w." in capsys.readouterr().out


async def test_a_bandit_learns_from_its_own_lives_before(tmp_path: Path) -> None:
    host, models = paper({}), Models(conversations=tmp_path)

    async def first_of(entries: list[Entry]) -> tuple[str, dict[str, int]]:
        async with called("bandit", "wakeup", host.check, models, entries) as found:
            plan = await found.minds[0].plan(question())
        return plan.candidates[0].policy, plan.candidates[0].parameters

    untaught = await first_of([])
    hurt = Try(
        policy=untaught[0],
        parameters=untaught[1],
        stage="screen",
        pairs=8,
        verdict="inconclusive",
        ratio=5.0,
        low=4.0,
        high=6.0,
    )
    other = Entry(
        workload="pulse",
        mind="bandit",
        metric="m",
        direction="lower",
        end="kept-default",
        workload_class="latency-under-load",
        tries=[hurt],
    )
    assert await first_of([other]) != untaught
    assert await first_of([replace(other, direction="higher")]) == untaught
    assert await first_of([replace(other, mind="sweep")]) == untaught
