"""The runner measures what runs, refuses what is no measurement, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.observer.cgroups import own_cgroup
from services.observer.runner import WorkloadRunner, quoted
from shared.errors import InputError, MachineError, WorkloadError
from shared.messages import Measurement
from shared.plain import is_plain
from shared.workloads import Catalogue
from tests.eventually import eventually
from tests.workloads.conftest import PRINT, MakeRunner, write_workload

T = TypeVar("T")
CHECKOUT = Path(__file__).resolve().parents[2]
# Leaves its session, its parent and its environment, holds its parent's output open, and ignores
# what can be ignored; it writes its pid to a file in the work directory.
DAEMON = """import os, signal, time
def daemon():
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with open("daemon.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename("daemon.new", "daemon.pid")
    os.execve("/bin/sleep", ["sleep", "1000"], {})
daemon()
while not os.path.exists("daemon.pid"):
    time.sleep(0.01)
"""


async def measure(runner: WorkloadRunner, measurement: str = "m1", seed: int = 1) -> Measurement:
    return await runner.measure("tiny", seed, measurement)


async def problem_of(runner: WorkloadRunner) -> str:
    """What went wrong, as the message a person sees."""
    answer = await measure(runner)
    assert answer.problem is not None
    assert answer.problem.kind == "WorkloadError"
    assert answer.metrics == {}
    return str(answer.problem)


def work_of(root: Path) -> Path:
    (work,) = (root / "work").iterdir()
    return work


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def daemon_of(root: Path) -> int:
    """The daemon's pid, soon."""

    def read() -> int:
        for path in root.glob("work/*/daemon.pid"):
            return int(path.read_text())
        return 0

    return await eventually(read)


def start_observer(catalogue: Path, work: Path) -> subprocess.Popen[bytes]:
    """A process of its own that measures `tiny`."""
    program = (
        "import asyncio, pathlib\n"
        "from services.observer.runner import WorkloadRunner\n"
        "from shared.workloads import Catalogue\n"
        f"catalogue = Catalogue.load(pathlib.Path({str(catalogue)!r}))\n"
        f"runner = WorkloadRunner(catalogue, pathlib.Path({str(work)!r}))\n"
        "asyncio.run(runner.measure('tiny', 1, 'm'))\n"
    )
    return subprocess.Popen([sys.executable, "-c", program], cwd=CHECKOUT)


async def test_a_run_gives_the_metrics_and_what_it_cost(
    make_runner: MakeRunner, confinement: str
) -> None:
    runner = make_runner(
        "import time\nwhile time.process_time() < 0.2: pass\nprint('hello')\n" + PRINT
    )
    answer = await measure(runner)
    assert answer.problem is None
    assert answer.metrics == {"time_s": 1.5}
    assert answer.measurement == "m1"
    assert answer.cpu_s >= 0.2
    assert answer.seconds >= 0.2


async def test_the_same_measurement_id_gives_the_same_answer_without_another_run(
    make_runner: MakeRunner, tmp_path: Path
) -> None:
    runner = make_runner("open('runs', 'a').write('x')\n" + PRINT)
    first = await measure(runner)
    assert await measure(runner) is first
    await measure(runner, "m2")
    assert (work_of(tmp_path) / "runs").read_text() == "xx"


async def test_a_failure_is_remembered_too(make_runner: MakeRunner, tmp_path: Path) -> None:
    runner = make_runner("open('runs', 'a').write('x')\nraise SystemExit(1)\n")
    assert await measure(runner) is await measure(runner)
    assert (work_of(tmp_path) / "runs").read_text() == "x"


async def test_a_measurement_id_belongs_to_one_question(make_runner: MakeRunner) -> None:
    runner = make_runner()
    await measure(runner, seed=1)
    answer = await measure(runner, seed=2)
    assert answer.problem is not None
    assert answer.problem.kind == "InputError"
    assert "seed 1" in str(answer.problem)


async def test_one_workload_runs_at_a_time(make_runner: MakeRunner) -> None:
    runner = make_runner(
        "import os, time\nos.mkdir('busy')\ntime.sleep(0.2)\nos.rmdir('busy')\n" + PRINT
    )
    answers = await asyncio.gather(*(measure(runner, f"m{i}") for i in range(3)))
    assert [answer.problem for answer in answers] == [None] * 3


async def test_a_crash_is_told_with_the_last_lines_of_stderr_made_safe(
    make_runner: MakeRunner, confinement: str
) -> None:
    told = await problem_of(
        make_runner(
            "import sys\nfor i in range(9): print('line', i, file=sys.stderr)\n"
            "print('\\x1b[31mred \\u202e backwards', file=sys.stderr)\nsys.exit(3)\n"
        )
    )
    assert "exit code 3" in told
    assert r"\x1b[31mred \u202e backwards" in told
    assert "line 8" in told
    assert "line 4" not in told


async def test_a_deadly_signal_is_named(make_runner: MakeRunner, confinement: str) -> None:
    told = await problem_of(
        make_runner("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    )
    assert "SIGSEGV" in told


async def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write_workload(tmp_path)
    manifest = path / "tiny" / "workload.toml"
    manifest.write_text(manifest.read_text().replace(sys.executable, "/no/such/program"))
    told = await problem_of(WorkloadRunner(Catalogue.load(path), tmp_path / "work"))
    assert "could not be started" in told
    assert "/no/such/program: No such file or directory" in told


@pytest.mark.parametrize(
    ("printed", "complaint"),
    [
        ("", "nothing on stdout"),
        ("all went well", "all went well"),
        ('{"metrics": {"time_s": NaN}}', "NaN"),
        ('{"metrics": {"time_s": Infinity}}', "Infinity"),
        ('{"metrics": {"time_s": 1e999}}', "1e999"),
        ('{"metrics": {"time_s": "1.5"}}', "Expected `float`"),
        ('{"metrics": {"time_s": null}}', "Expected `float`"),
        ('{"metrics": {}}', "none for time_s"),
        ('{"metrics": {"time_s": 1, "joy": 2}}', "also joy"),
        ('{"metrics": {"time_s": 1}, "more": 2}', "more"),
        ('{"metrics": {"time_s": 1}}\\nbye', "bye"),
        ("[1.5]", "Expected `object`"),
    ],
)
async def test_what_is_no_measurement_is_refused(
    make_runner: MakeRunner, printed: str, complaint: str
) -> None:
    told = await problem_of(make_runner(f"print('''{printed}''')\n"))
    assert "did not measure" in told
    assert complaint in told


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_flood_of_output_ends_the_run(
    make_runner: MakeRunner, confinement: str, stream: str
) -> None:
    told = await problem_of(
        make_runner(f"import sys\nwhile True: sys.{stream}.write('x' * 65536)\n")
    )
    assert "flooded" in told
    assert len(told) < 2000


async def test_a_run_that_never_ends_is_given_up(
    make_runner: MakeRunner, tmp_path: Path, confinement: str
) -> None:
    runner = make_runner(DAEMON + "time.sleep(1000)\n", timeout_s=2.0)
    assert "did not end in time" in await problem_of(runner)
    assert not alive(int((work_of(tmp_path) / "daemon.pid").read_text()))


async def test_a_daemon_left_behind_is_killed_and_the_measurement_stands(
    make_runner: MakeRunner, tmp_path: Path, confinement: str
) -> None:
    answer = await measure(make_runner(DAEMON + PRINT))
    assert answer.metrics == {"time_s": 1.5}
    assert not alive(int((work_of(tmp_path) / "daemon.pid").read_text()))


async def test_cancelling_a_measurement_kills_all_of_it_and_the_next_one_runs(
    make_runner: MakeRunner, tmp_path: Path, confinement: str
) -> None:
    runner = make_runner(DAEMON + "if not os.path.exists('again'): time.sleep(1000)\n" + PRINT)
    asked = asyncio.create_task(measure(runner))
    pid = await daemon_of(tmp_path)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not alive(pid)
    (work_of(tmp_path) / "again").touch()
    assert (await measure(runner)).metrics == {"time_s": 1.5}


async def test_leaving_the_context_ends_what_runs(
    make_runner: MakeRunner, tmp_path: Path, confinement: str
) -> None:
    runner = make_runner(DAEMON + "time.sleep(1000)\n")
    async with runner.started(runner_catalogue(tmp_path)["tiny"], 1) as running:
        pid = await daemon_of(tmp_path)
        assert pid in running.pids()
        cgroup = running.cgroup
    assert not alive(pid)
    assert running.pids() == []
    assert cgroup is None or not cgroup.exists()


async def test_what_runs_can_be_looked_at_and_waited_for_by_several(
    make_runner: MakeRunner, tmp_path: Path, confinement: str
) -> None:
    runner = make_runner("import time\ntime.sleep(0.3)\n" + PRINT)
    async with runner.started(runner_catalogue(tmp_path)["tiny"], 1) as running:
        seen = await eventually(running.pids)
        assert os.getpid() not in seen
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running.wait(), 0.01)
        first, second = await asyncio.gather(running.wait(), running.wait())
    assert first == second
    assert first.metrics == {"time_s": 1.5}


async def test_everything_ends_when_the_observer_is_killed(tmp_path: Path) -> None:
    path = write_workload(tmp_path, DAEMON + "time.sleep(1000)\n")
    observer = start_observer(path, tmp_path / "work")
    pid = await daemon_of(tmp_path)
    observer.send_signal(signal.SIGKILL)
    await asyncio.to_thread(observer.wait)
    await eventually(lambda: not alive(pid))
    own = own_cgroup()
    await eventually(lambda: own is None or not list(own.glob(f"workload-*-{observer.pid}")))


async def test_a_workload_gets_no_privileges_no_files_no_input_and_a_bare_environment(
    make_runner: MakeRunner, tmp_path: Path, confinement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    runner = make_runner(
        "import json, os, resource, sys\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "json.dump({'env': sorted(os.environ), 'input': sys.stdin.read(),\n"
        "  'fds': sorted(int(n) for n in os.listdir('/proc/self/fd'))[:4], 'cwd': os.getcwd(),\n"
        "  'no_new_privs': status['NoNewPrivs'].strip(), 'blocked': status['SigBlk'].strip(),\n"
        "  'core': resource.getrlimit(resource.RLIMIT_CORE)[0]}, open('seen', 'w'))\n" + PRINT
    )
    assert (await measure(runner)).problem is None
    seen = json.loads((work_of(tmp_path) / "seen").read_text())
    assert set(seen["env"]) <= {"HOME", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR"}
    assert seen["input"] == ""
    assert seen["fds"] == [0, 1, 2, 3]  # 3 is the listing itself
    assert seen["cwd"] == str(work_of(tmp_path))
    assert seen["no_new_privs"] == "1"
    assert seen["blocked"] == "0" * 16
    assert seen["core"] == 0


async def test_set_up_happens_once_and_again_when_the_files_change(
    make_runner: MakeRunner, tmp_path: Path
) -> None:
    setup = [["sh", "-c", "echo x >> {source}/../../setups"]]
    runner = make_runner(setup=setup)
    await measure(runner)
    await measure(runner, "m2")
    before = work_of(tmp_path)
    changed = make_runner(PRINT + "# changed\n", setup=setup)
    await measure(changed)
    assert work_of(tmp_path) != before
    assert (tmp_path / "setups").read_text() == "x\nx\n"


async def test_a_set_up_that_fails_is_told_and_tried_again(
    make_runner: MakeRunner, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    step = f"test -e {marker} || {{{{ echo ouch >&2; exit 4; }}}}"
    runner = make_runner(setup=[["sh", "-c", step]])
    told = await problem_of(runner)
    assert "set-up of tiny" in told
    assert "exit code 4" in told
    assert "ouch" in told
    marker.touch()
    assert (await measure(runner, "m2")).metrics == {"time_s": 1.5}


async def test_what_the_host_lacks_is_said_with_what_to_install(
    make_runner: MakeRunner, tmp_path: Path
) -> None:
    more = '\n[requires.programs]\nsh = "Install sh."\nno-such-tool = "Install it."\n'
    runner = make_runner(more=more)
    with pytest.raises(MachineError, match="no no-such-tool") as raised:
        async with runner.started(runner_catalogue(tmp_path)["tiny"], 1):
            pass
    assert raised.value.advice == "Install it."


async def test_an_unknown_workload_and_a_wrong_seed_are_input_errors(
    make_runner: MakeRunner, tmp_path: Path
) -> None:
    runner = make_runner()
    answer = await runner.measure("huge", 1, "m1")
    assert answer.problem is not None
    assert answer.problem.kind == "InputError"
    assert "tiny" in answer.problem.expected
    with pytest.raises(InputError, match="not a seed"):
        async with runner.started(runner_catalogue(tmp_path)["tiny"], -1):
            pass


async def test_waiting_raises_what_measuring_reports(
    make_runner: MakeRunner, tmp_path: Path
) -> None:
    runner = make_runner("raise SystemExit(1)\n")
    async with runner.started(runner_catalogue(tmp_path)["tiny"], 1) as running:
        with pytest.raises(WorkloadError, match="exit code 1"):
            await running.wait()


@given(st.text())
def test_quoted_text_is_plain_and_short(text: str) -> None:
    assert is_plain(quoted(text))
    assert len(quoted(text)) <= 10 * 400


def runner_catalogue(root: Path) -> Catalogue:
    return Catalogue.load(root / "catalogue")
