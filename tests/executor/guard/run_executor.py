"""An executor's signs of life and nothing else: `run_executor.py ROOT [SEEN]`.

Prints a line of JSON for each piece of the guard's news, and for its coming and going.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import msgspec
import structlog

from services.executor.guard.limits import BEAT_S
from services.executor.host.lifesign import GuardLink, Running


async def live(root: Path, seen: int) -> None:
    link = GuardLink(root / "guard.sock")
    link.says(Running(artifact="a" * 64, policy="probe", optimization="o1"))
    keeping = asyncio.create_task(link.keep(lambda: seen))
    present = False
    while not keeping.done():
        link.tick()
        while not link.news.empty():
            tell(news=msgspec.to_builtins(link.news.get_nowait()))
        if link.present is not present:
            present = link.present
            tell(present=present)
        await asyncio.sleep(BEAT_S)


def tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
asyncio.run(live(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
