"""A host role without a bus: `hold.py OBJECT [NAME=VALUE...]` loads it and stays, guarded.

Loader, journal, safeguards and the link to the guard are the executor's own. What the guard
did up to number HEARD is known. Prints what happens, a line each.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import structlog

from services.executor.guard.places import socket_path
from services.executor.host.books import Entry, GuardHeard
from services.executor.host.guarding import Guarding
from services.executor.host.journal import Journal
from services.executor.host.lifesign import GuardLink
from services.executor.host.machine import this_machine
from services.executor.host.permit import redeem
from services.executor.host.scheduler import HostScheduler
from services.executor.host.steering import Steering
from services.executor.token import Token
from shared.errors import CoxswainError
from shared.messages import SchedulerState
from shared.metrics import Metrics


class Role:
    """What the host role does when the guard wants something of it."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering

    async def take_back(self, _optimization: str, reason: str, *, cause: str) -> None:
        await self._steering.drop(reason)
        say(f"took back: {cause}: {reason}")


async def report(_state: SchedulerState) -> None:
    return


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def token(artifact: bytes, values: dict[str, int]) -> Token:
    """What a gate would sign for it."""
    return Token(
        plan_id="o1", request_sha256="", purpose="deploy", policy="probe", parameters=values,
        object_sha256=hashlib.sha256(artifact).hexdigest(), source_sha256="", toolchain="",
        headers_sha256="", host="h", machine_id="", boot_id="", kernel="", btf_sha256="",
        loads=1, max_duration_s=3600.0, nbf_unix_ns=0, exp_unix_ns=0, nonce="n", epoch=1,
    )  # fmt: skip


async def live(artifact: bytes, values: dict[str, int], folder: Path) -> None:
    link = GuardLink(socket_path())
    with Journal[Entry](folder / "journal", Entry) as journal:  # type: ignore[arg-type]
        steering = Steering(
            SimpleNamespace(here=this_machine("h")),  # type: ignore[arg-type]
            HostScheduler(),
            journal,
            folder / "artifacts",
            report,
            guard=link,
        )
        steering.write(GuardHeard(int(os.environ["HEARD"])))
        guarding = Guarding(link, steering, Role(steering), Metrics())
        tasks = [asyncio.create_task(link.keep(lambda: steering.books.guard_heard))]
        await guarding.begin()
        tasks.append(asyncio.create_task(guarding.watch()))
        try:
            permit = redeem(token(artifact, values), steering.write)
            await steering.load(permit, artifact, "probe", values, "deployed", "o1")
            say("holding")
        except CoxswainError as error:
            say(f"refused: {error}")
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    given = dict(pair.split("=") for pair in sys.argv[2:])
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(
            live(
                Path(sys.argv[1]).read_bytes(),
                {name: int(value) for name, value in given.items()},
                Path(folder),
            )
        )
