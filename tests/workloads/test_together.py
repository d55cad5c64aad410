"""Workloads that run at once: who is covered by whom, what counts, and whose fault it is.

The programs wait for each other's runs, so nothing here depends on how long anything takes: what
does not happen ends in a timeout of the workload, which is a problem in the answer.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.observer.runner import WorkloadRunner
from shared.errors import InputError
from shared.messages import Measurement
from shared.workloads import Catalogue
from tests.workloads.conftest import write_workload

NOTE = """import json, os, pathlib, sys, time
name, board = {name!r}, pathlib.Path({board!r})
def runs(of):
    return len([line for line in board.read_text().splitlines() if line.startswith(of + " ")])
def until(of, count):
    while runs(of) < count:
        time.sleep(0.01)
with board.open("a") as file:
    file.write(f"{{name}} {{sys.argv[1]}} {{os.getpid()}}\\n")
run = runs(name)
"""
DONE = 'print(json.dumps({"metrics": {"time_s": float(run)}}))\n'
"""A run's number is its metric."""


class Board:
    """A catalogue of programs that note each of their runs: name, seed, pid."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "board"
        self._path.touch()

    def program(self, name: str, does: str = "", **manifest: object) -> None:
        source = NOTE.format(name=name, board=str(self._path)) + does + DONE
        write_workload(self._root, source, name=name, **manifest)  # type: ignore[arg-type]

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue.load(self._root / "catalogue")

    @property
    def runner(self) -> WorkloadRunner:
        return WorkloadRunner(self.catalogue, self._root / "work")

    async def measure(self, main: str, *beside: str, seed: int = 5) -> Measurement:
        return await self.runner.measure(main, seed, "m1", list(beside))

    def runs(self, of: str) -> list[tuple[int, int]]:
        """Seed and pid of each run so far."""
        lines = (line.split() for line in self._path.read_text().splitlines())
        return [(int(seed), int(pid)) for name, seed, pid in lines if name == of]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_a_short_neighbour_runs_again_until_the_workload_has_been_measured(
    board: Board, confinement: str
) -> None:
    board.program("main", 'until("short", 3)\n')
    board.program("short")
    answer = await board.measure("main", "short")
    assert answer.problem is None
    # The first run counts, whatever came after it as load.
    assert answer.metrics == {"time_s": 1.0, "short.time_s": 1.0}
    assert len(board.runs("short")) >= 3
    assert len(board.runs("main")) == 1


async def test_a_long_neighbour_is_measured_whole_with_the_workload_beside_it_to_its_end(
    board: Board, confinement: str
) -> None:
    board.program("main")
    board.program("long", 'until("main", 3)\n')
    answer = await board.measure("main", "long")
    assert answer.metrics == {"time_s": 1.0, "long.time_s": 1.0}
    assert len(board.runs("main")) >= 3


async def test_all_of_three_run_at_once(board: Board) -> None:
    for name, other in (("main", "one"), ("one", "two"), ("two", "main")):
        board.program(name, f'until("{other}", 1)\n')
    answer = await board.measure("main", "one", "two")
    assert answer.metrics.keys() == {"time_s", "one.time_s", "two.time_s"}


async def test_each_has_a_seed_of_its_own_and_the_same_one_again(board: Board) -> None:
    board.program("main", 'until("short", 3)\n')
    board.program("short")
    await board.measure("main", "short", seed=5)
    main, short = board.runs("main"), board.runs("short")
    assert main[0][0] == 5
    seeds = [seed for seed, _ in short[:3]]
    assert len({5, *seeds}) == 4
    assert (await board.measure("main", "short", seed=5)).problem is None
    assert board.runs("main")[1][0] == 5
    assert board.runs("short")[len(short)][0] == seeds[0]


async def test_what_still_runs_as_load_is_ended_with_the_measurement(
    board: Board, confinement: str
) -> None:
    board.program("main", 'until("endless", 2)\n')
    board.program("endless", "if run > 1: time.sleep(1000)\n")
    assert (await board.measure("main", "endless")).problem is None
    assert all(gone(pid) for _, pid in board.runs("endless"))


@pytest.mark.parametrize("run", [1, 2])
async def test_a_neighbour_that_fails_is_named_in_its_first_run_and_as_load(
    board: Board, confinement: str, run: int
) -> None:
    board.program("main", "time.sleep(1000)\n", timeout_s=60.0)
    board.program("weak", f"if run == {run}: sys.exit('ouch')\n")
    answer = await board.measure("main", "weak")
    assert answer.metrics == {}
    assert answer.problem is not None
    assert answer.problem.kind == "WorkloadError"
    assert answer.problem.what == "weak, a neighbour of main: weak failed"
    assert "ouch" in answer.problem.got
    assert all(gone(pid) for _, pid in board.runs("main"))


async def test_in_company_each_may_take_longer_but_not_for_ever(board: Board) -> None:
    board.program("main", "time.sleep(1000)\n", timeout_s=1.0)
    board.program("short")
    answer = await board.measure("main", "short")
    assert answer.problem is not None
    assert answer.problem.what == "main did not end in time"
    assert answer.problem.expected == "an end within 2 s"


async def test_a_workload_that_fails_is_not_blamed_on_a_neighbour(board: Board) -> None:
    board.program("main", "sys.exit(3)\n")
    board.program("steady", "time.sleep(1000)\n", timeout_s=60.0)
    answer = await board.measure("main", "steady")
    assert answer.problem is not None
    assert answer.problem.what == "main failed"
    assert all(gone(pid) for _, pid in board.runs("steady"))


async def test_what_a_neighbour_lacks_or_cannot_set_up_is_said_of_it(board: Board) -> None:
    board.program("main")
    board.program("lacks", more='\n[requires.programs]\nno-such-tool = "Install it."\n')
    board.program("breaks", setup=[["false"]])
    lacks = (await board.runner.measure("main", 1, "m1", ["lacks"])).problem
    assert lacks is not None
    assert (lacks.kind, lacks.advice) == ("MachineError", "Install it.")
    assert lacks.what.startswith("lacks, a neighbour of main")
    breaks = (await board.runner.measure("main", 1, "m2", ["breaks"])).problem
    assert breaks is not None
    assert "set-up of breaks" in breaks.what
    assert board.runs("main") == []


async def test_a_measurement_id_belongs_to_one_company(board: Board) -> None:
    board.program("main")
    board.program("other")
    runner = board.runner
    first = await runner.measure("main", 1, "m1", ["other"])
    assert await runner.measure("main", 1, "m1", ["other"]) is first
    alone = await runner.measure("main", 1, "m1")
    assert alone.problem is not None
    assert "main beside other with seed 1" in alone.problem.expected


async def test_nobody_runs_beside_itself(board: Board) -> None:
    board.program("main")
    answer = await board.measure("main", "main")
    assert answer.problem is not None
    assert "beside itself" in answer.problem.what
    with pytest.raises(InputError):
        async with board.runner.started(
            board.catalogue["main"], 1, beside=[board.catalogue["main"]]
        ):
            pass


async def test_who_looks_sees_the_workload_alone_and_its_own_end(
    board: Board, confinement: str
) -> None:
    board.program("main", 'until("long", 1)\n')
    board.program("long", 'until("main", 2)\ntime.sleep(1000)\n', timeout_s=60.0)
    catalogue = board.catalogue
    async with board.runner.started(catalogue["main"], 1, beside=[catalogue["long"]]) as running:
        await running.ended()
        while len(board.runs("main")) < 2:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        (_, first), (_, load), *_ = board.runs("main")
        ((_, neighbour),) = board.runs("long")
        assert {first, load, neighbour}.isdisjoint(running.pids())
        assert not gone(neighbour)
    assert all(gone(pid) for name in ("main", "long") for _, pid in board.runs(name))


async def test_each_is_in_a_control_group_of_its_own(board: Board, tmp_path: Path) -> None:
    where = 'pathlib.Path({path!r}).write_text(pathlib.Path("/proc/self/cgroup").read_text())\n'
    for name in ("main", "other"):
        board.program(name, where.format(path=str(tmp_path / name)))
    catalogue = board.catalogue
    async with board.runner.started(catalogue["main"], 1, beside=[catalogue["other"]]) as running:
        cgroup = running.cgroup
        await running.wait()
    seen = {(tmp_path / name).read_text() for name in ("main", "other")}
    # Where no group can be made all are in ours; tests/workloads/test_on_a_lab_host.py has them.
    assert len(seen) == (1 if cgroup is None else 2)
