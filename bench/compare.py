"""Minds against each other: the same workloads, the same budget of rounds, the same measured pairs.

    cox bench compare [--workload W …] [--mind M …] [--budget 24] [--seconds S] [--resume]

For each workload of the catalogue, on one lab host with a real kernel: the kernel's default is 1;
the default sweep, random search, the bandit, the embedded mind and a model (live with a key, else
played back from bench/conversations) each live an optimization from its question to its end, by
the planner's own machine and walls, the real gate and the real judge. What a mind wins with is
confirmed on pairs that nobody has chosen by. Pairs are measured when a mind asks for them and
written down, so that all who try the same candidate see the same pairs; an interrupted run goes
on with --resume. Prints a table (Markdown) and writes bench/results/compare.json; exit code 1 if
anything that was promoted is worse than the default beyond its interval.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from bench.comparing.entries import MINDS, Entry, entry_of, summarized
from bench.comparing.hosts import Bed
from bench.comparing.lab import HostLostError, LabHost, machine, one_host
from bench.comparing.life import Life
from bench.comparing.minds import Models, called
from bench.comparing.rounds import Ledger
from bench.comparing.tables import told
from services.planner.minds.llm.mind import LLM_S
from shared.errors import CoxswainError
from shared.messages import Budget, OptimizeRequest
from shared.policies import Catalogue as Policies
from shared.workloads import Catalogue as Workloads
from shared.workloads import Workload

RESULTS: Final = Path(__file__).parent / "results"
CONVERSATIONS: Final = Path(__file__).parent / "conversations"
FIRST: Final = ("embedded", "sweep", "random", "bandit", "llm")
"""Who is run first, over all workloads: what is missing when time runs out is what matters less."""
MOST_LOSSES: Final = 3
"""Fleets that are lost in one run before it is given up."""


class Comparison(msgspec.Struct, kw_only=True):
    """The file."""

    budget: int
    machine: str = ""
    entries: list[Entry] = []

    def put(self, entry: Entry) -> None:
        """In place of an earlier one."""
        same = (entry.workload, entry.mind)
        self.entries = [e for e in self.entries if (e.workload, e.mind) != same] + [entry]

    def has(self, workload: str, mind: str) -> bool:
        """Whether it was run, and came to an end that says something."""
        return any(e.workload == workload and e.mind == mind and e.was_run for e in self.entries)


class Bench:
    """One run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._out: Path = options.out
        self._budget: int = options.budget
        self._end_s = time.monotonic() + options.seconds if options.seconds else None
        self._workloads = Workloads.load()
        self._policies = Policies.load()
        self._resume: bool = options.resume
        self._models = Models(
            conversations=options.conversations,
            record=options.record,
            patience_s=options.patience,
        )
        self._profiles_only: bool = options.profiles_only
        names = options.workload or list(self._workloads)
        self._chosen = [self._workloads[name] for name in names]
        self._minds = [name for name in FIRST if not options.mind or name in options.mind]
        self.done = self._opened()

    @property
    def todo(self) -> list[tuple[str, Workload]]:
        """What is missing, in the order in which it is run."""
        return [
            (mind, workload)
            for mind in self._minds
            for workload in self._chosen
            if not self.done.has(workload.name, mind)
        ]

    async def run(self) -> None:
        """All of it, as far as time allows; lost fleets are started again."""
        losses = 0
        while losses < MOST_LOSSES:
            try:
                async with one_host() as (bus, inventory):
                    self._begin(machine(inventory))
                    ledger = Ledger(self._ledger, machine(inventory))
                    host = LabHost(
                        bus, inventory, self._workloads, ledger, self._profiles, say=_say
                    )
                    await self.measure(host)
                    return
            except HostLostError as error:
                losses += 1
                _say(f"the host is lost ({losses} of {MOST_LOSSES} times): {error}")

    async def measure(self, host: Bed) -> None:
        """All that is missing, on this host. Raises HostLostError."""
        if self._profiles_only:
            for workload in self._chosen:
                if not self._resume:
                    (self._profiles / f"{workload.name}.json").unlink(missing_ok=True)
                said = await host.profile(workload.name)
                _say(f"{workload.name}: {said.problem or 'profiled'}")
            return
        for mind, workload in self.todo:
            if self._end_s is not None and time.monotonic() > self._end_s:
                return
            began, before = time.monotonic(), host.measured
            entry = await self._life(mind, workload, host)
            if entry.end == "failed":
                # A run that an emulated guest has spoilt: what was measured is not lost.
                _say(f"{workload.name}, {mind}: once more, for it failed: {entry.why}")
                entry = await self._life(mind, workload, host)
            self.done.put(entry)
            self._save()
            _say(
                f"{workload.name}, {mind}: {entry.end} {entry.policy} {entry.ratio:.3f} "
                f"[{entry.low:.3f}, {entry.high:.3f}], {entry.rounds} rounds of which "
                f"{host.measured - before} are new, {time.monotonic() - began:.0f} s {entry.why}"
            )

    async def _life(self, mind: str, workload: Workload, host: Bed) -> Entry:
        request = OptimizeRequest(
            workload=workload.name, budget=Budget(rounds=self._budget, seconds=86_400)
        )
        try:
            earlier = [each for each in self.done.entries if each.workload != workload.name]
            async with called(mind, workload.name, host.check, self._models, earlier) as found:
                life = Life(
                    request,
                    host.inventory,
                    self._workloads,
                    self._policies,
                    found.minds,
                    host,
                )
                lived = await life.live()
                found.keep(lived, self._models.file(workload.name))
                for line in found.said:
                    _say(f"{workload.name}, {mind}: the conversation is stale: {line}")
                return entry_of(lived, mind, found.differs, found.thought_s)
        except HostLostError:
            raise
        except CoxswainError as error:
            return not_run(workload, mind, str(error))

    # Files ------------------------------------------------------------------------------------

    @property
    def _ledger(self) -> Path:
        return self._out.with_name(f"{self._out.stem}-rounds.jsonl")

    @property
    def _profiles(self) -> Path:
        return self._out.with_name("profiles")

    def _opened(self) -> Comparison:
        """What an interrupted run has left, if this one goes on with it."""
        if not self._resume:
            self._ledger.unlink(missing_ok=True)
        elif self._out.exists():
            done = msgspec.json.decode(self._out.read_bytes(), type=Comparison)
            if done.budget == self._budget:
                return done
        return Comparison(budget=self._budget)

    def _begin(self, where: str) -> None:
        self.done.machine = where

    def _save(self) -> None:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._out.write_bytes(msgspec.json.format(msgspec.json.encode(self.done), indent=1) + b"\n")


def not_run(workload: Workload, mind: str, why: str) -> Entry:
    """A life that says nothing of a mind, and why it was not lived."""
    objective = workload.objective
    return Entry(
        workload=workload.name,
        mind=mind,
        metric=objective.metric,
        direction=objective.direction,
        end="not-run",
        why=why,
    )


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def shown(path: Path) -> int:
    """Print what a file says; 1 if it has a regression."""
    done = msgspec.json.decode(path.read_bytes(), type=Comparison)
    print(f"{done.budget} rounds each, on a lab host with {done.machine}\n\n{told(done.entries)}")
    return 1 if any(each.regressions for each in summarized(done.entries)) else 0


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="cox bench compare", description=__doc__.splitlines()[0])
    parser.add_argument("--workload", action="append", default=[], help="only this one; repeatable")
    parser.add_argument(
        "--mind", action="append", default=[], choices=MINDS, help="only this one; repeatable"
    )
    parser.add_argument("--budget", type=int, default=24, help="rounds for each mind (24)")
    parser.add_argument("--seconds", type=float, default=0, help="begin nothing after so many")
    parser.add_argument("--resume", action="store_true", help="go on with what is there")
    parser.add_argument("--profiles-only", action="store_true", help="profiles, and no trial")
    parser.add_argument("--show", action="store_true", help="print what is there, measure nothing")
    parser.add_argument(
        "--conversations", type=Path, default=CONVERSATIONS, help="with models, to be played back"
    )
    parser.add_argument("--record", action="store_true", help="keep there what a live model says")
    parser.add_argument(
        "--patience", type=float, default=LLM_S, help=f"seconds for a live model's plan ({LLM_S:g})"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "compare.json")
    return parser.parse_args(arguments)


def main() -> int:
    """Run in a state home of its own, and print."""
    options = options_of()
    if options.show:
        return shown(options.out)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    bench = Bench(options)
    if (load := os.getloadavg()[0]) > (os.cpu_count() or 1) / 2:
        _say(f"the machine is not quiet (load {load:.1f}): pairs will scatter")
    with tempfile.TemporaryDirectory(prefix="cox-bench-") as home:
        os.environ["COX_HOME"] = home
        os.environ.pop("COX_NATS_URL", None)
        try:
            asyncio.run(bench.run())
        except CoxswainError as error:
            print(f"cox bench compare: {error}", file=sys.stderr)
            return error.exit_code
    if options.profiles_only:
        return 0
    worse = shown(options.out)
    if bench.todo:
        print(f"\nmissing: {', '.join(f'{w.name} by {mind}' for mind, w in bench.todo)}")
    return worse


if __name__ == "__main__":
    sys.exit(main())
