"""A hundred scripted sessions with models: what each came to, what it cost, what was loaded.

Real planner, learner, gate, NATS server and SDK; the model is a script on loopback, the hosts are
on paper. The scripts are drawn from a seed (tests/planner/sessions.py): good, clumsy, wrong and
hostile ones in turn. No number here says how good a real model's plans are.

Exit code 1 if something was loaded that the gate did not pass, or fewer than 95 of 100 end well.

--record DIR asks a real model (ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, COX_MODEL) about workloads
whose profiles `cox bench compare --profiles-only` has kept, and keeps each conversation as
DIR/<workload>.json: no guest is needed, hooks are checked by the real gate. --replay DIR plays
them back through the real SDK and says where one is stale; --strict makes that exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
from pathlib import Path

import msgspec
import structlog

from bench.comparing.hosts import PaperHosts
from bench.comparing.lab import read_profile
from bench.comparing.life import Life
from bench.talking.asking import PATIENCE_S, conversations, recorded, replayed
from bench.talking.conversation import Conversation, load, save
from bench.talking.gate import local_gate
from services.planner.minds import Question
from services.planner.minds.chosen import Choice
from shared.bus.server import NatsServer
from shared.errors import CoxswainError, InputError
from shared.messages import Budget, OptimizeRequest
from shared.policies import Catalogue as Policies
from shared.workloads import Catalogue as Workloads
from tests.planner.gated_fleet import DOLLARS, TOKENS, Played, play
from tests.planner.sessions import KINDS, session

RESULTS = Path(__file__).parent / "results" / "minds.json"
PROFILES = RESULTS.with_name("profiles")
LEAST_HONEST = 0.95


async def _played(first: int, count: int, at_once: int) -> list[Played]:
    room = asyncio.Semaphore(at_once)
    with tempfile.TemporaryDirectory() as folder, NatsServer(Path(folder)) as server:

        async def one(number: int) -> Played:
            async with room:
                played = await play(session(number), server.url)
                said = (
                    played.declined[:90] or f"{played.tried} tried, {played.made} of them written"
                )
                print(f"{number:4} {played.kind:8}{played.name:30}{played.terminal:13}{said}")
                return played

        return list(await asyncio.gather(*map(one, range(first, first + count))))


def _table(played: list[Played]) -> str:
    titles = (
        "model",
        "sessions",
        "its own plan",
        "fell back, and said so",
        "ended otherwise",
        "promoted",
        "default kept",
        "hooks tried",
        "loads not passed by the gate",
        "tokens",
        "dollars at most",
    )
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for kind in (*KINDS, "all"):
        of = [each for each in played if kind in {each.kind, "all"}]
        if not of:
            continue
        own = sum(each.honest and each.mind == "llm" for each in of)
        fell = sum(each.honest and each.mind != "llm" for each in of)
        promoted = sum(each.terminal == "promoted" for each in of)
        kept = sum(each.terminal == "kept-default" for each in of)
        cells = (
            kind,
            len(of),
            own,
            fell,
            len(of) - own - fell,
            promoted,
            kept,
            sum(each.made for each in of),
            sum(each.unverified for each in of),
            f"{sum(each.tokens for each in of):,}",
            f"{max(each.dollars for each in of):.3f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def question_about(workload: str, profiles: Path, rounds: int) -> Question:
    """The question that a mind is asked about it, from its kept profile. Raises InputError."""
    kept = read_profile(profiles / f"{workload}.json")
    if kept is None or kept.profiled.inventory is None or kept.profiled.profile is None:
        raise InputError(
            f"there is no profile of {workload}",
            expected=f"{profiles / workload}.json",
            advice=f"cox bench compare --profiles-only --workload {workload}",
        )
    profiled, inventory, profile = kept.profiled, kept.profiled.inventory, kept.profiled.profile
    request = OptimizeRequest(workload=workload, budget=Budget(rounds=rounds, seconds=86_400))
    nobody = PaperHosts(inventory, profile, {})
    life = Life(request, inventory, Workloads.load(), Policies.load(), [], nobody)
    return life.first_question(profiled)


async def _record(options: argparse.Namespace) -> int:
    """Ask about each workload; 1 if one of them came to no plan."""
    choice = Choice.from_environment()
    if not choice.llm:
        raise InputError(
            "there is no model to record",
            expected="ANTHROPIC_API_KEY, and COX_MIND not embedded",
            advice="Any key does for a server of your own at ANTHROPIC_BASE_URL.",
        )
    key = os.environ["ANTHROPIC_API_KEY"].strip()
    names = options.workload or [path.stem for path in conversations(options.profiles)]
    planned = 0
    with tempfile.TemporaryDirectory() as folder:
        gate = local_gate(Path(folder))
        for name in names:
            question = question_about(name, options.profiles, options.budget)
            kept = await recorded(question, choice, key, gate, within_s=options.patience)
            save(kept, options.record / f"{name}.json")
            planned += kept.plan is not None
            print(f"{name:20}{_came(kept)}", flush=True)
    return 0 if planned == len(names) else 1


def _came(kept: Conversation) -> str:
    """What a conversation came to, in a line."""
    if kept.plan is None:
        return f"{len(kept.turns)} answers, no plan: {kept.problem}"
    cost, tried = kept.plan.cost, ", ".join(each.policy for each in kept.plan.candidates)
    return (
        f"{len(kept.turns)} answers, {cost.tokens:,} tokens, ${cost.dollars:.4f}, "
        f"{kept.plan.kind}: {tried or 'no candidate'}"
    )


async def _replay(options: argparse.Namespace) -> int:
    """Play back what a folder has; 1 in strict mode if one is stale."""
    stale, policies = 0, Policies.load()
    files = [
        path
        for path in conversations(options.replay)
        if not options.workload or path.stem in options.workload
    ]
    if not files:
        raise InputError("there is no conversation", expected=f"files in {options.replay}")
    for path in files:
        kept = load(path)
        again = await replayed(kept, policies)
        stale += bool(again.stale)
        print(f"{path.stem:20}{'STALE ' if again.stale else 'the same: '}{_came(kept)}", flush=True)
        for line in again.stale:
            print(f"{'':20}{line}")
    print(f"{len(files)} conversations, {stale} of them stale")
    return 1 if stale and options.strict else 0


def main() -> int:
    """Play them and print the table."""
    parser = argparse.ArgumentParser(prog="cox bench minds", description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=100, help="how many (100)")
    parser.add_argument("--first", type=int, default=1, help="number of the first one (1)")
    parser.add_argument("--at-once", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--record", type=Path, help="keep conversations with a model there")
    parser.add_argument("--replay", type=Path, help="play back those that are there")
    parser.add_argument("--strict", action="store_true", help="a stale one is a failure")
    parser.add_argument("--workload", action="append", default=[], help="only this; repeatable")
    parser.add_argument("--profiles", type=Path, default=PROFILES, help="to record about")
    parser.add_argument("--budget", type=int, default=24, help="rounds to plan with (24)")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE_S, help="seconds for a recorded plan (3600)"
    )
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if options.record is None and options.replay is None:
        return _play(options)
    try:
        done = 0
        if options.record is not None:
            done |= asyncio.run(_record(options))
        if options.replay is not None:
            done |= asyncio.run(_replay(options))
    except CoxswainError as error:
        print(f"cox bench minds: {error}", file=sys.stderr)
        return error.exit_code
    return done


def _play(options: argparse.Namespace) -> int:
    """The scripted sessions."""
    played = asyncio.run(_played(options.first, options.sessions, options.at_once))
    print(f"\n{_table(played)}\n")
    over = [each.number for each in played if not each.within_budget]
    unverified = sum(each.unverified for each in played)
    honest = sum(each.honest for each in played)
    print(
        f"{len(played)} sessions: {honest} honest ends, {unverified} unverified loads, "
        f"over budget ({TOKENS:,} tokens, ${DOLLARS:.2f}): {over or 'none'}"
    )
    if options.save:
        RESULTS.write_text(json.dumps(msgspec.to_builtins(played), indent=1) + "\n")
    well = not unverified and not over and honest >= LEAST_HONEST * len(played)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
