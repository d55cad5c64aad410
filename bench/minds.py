"""A hundred scripted sessions with models: what each came to, what it cost, what was loaded.

Real planner, learner, gate, NATS server and SDK; the model is a script on loopback, the hosts are
on paper. The scripts are drawn from a seed (tests/planner/sessions.py): good, clumsy, wrong and
hostile ones in turn. No number here says how good a real model's plans are.

Exit code 1 if something was loaded that the gate did not pass, or fewer than 95 of 100 end well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path

import msgspec
import structlog

from shared.bus.server import NatsServer
from tests.planner.gated_fleet import DOLLARS, TOKENS, Played, play
from tests.planner.sessions import KINDS, session

RESULTS = Path(__file__).parent / "results" / "minds.json"
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


def main() -> int:
    """Play them and print the table."""
    parser = argparse.ArgumentParser(prog="cox bench minds", description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=100, help="how many (100)")
    parser.add_argument("--first", type=int, default=1, help="number of the first one (1)")
    parser.add_argument("--at-once", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
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
