"""Lab hosts that outlive the process which started them, and what crashes leave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from cli.lab import lab_down, lab_hosts, lab_up
from shared.microvm import Guest, Image, Microvm
from shared.microvm.process import ProcessId, processes_in

pytestmark = [pytest.mark.kernel, pytest.mark.asyncio(loop_scope="session")]

CHECKOUT = Path(__file__).parents[2]
UP = """
import asyncio, signal
from cli.lab import lab_up
# Where tests run in the background of a script, Ctrl-C is ignored by all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(lab_up(1, "nats://127.0.0.1:9"))
"""
HOLD = """
import asyncio, sys
from pathlib import Path
from shared.microvm import Microvm, ensure_image
async def main():
    guest = Microvm(await ensure_image(), directory=Path(sys.argv[1]))
    await guest.start()
    print("started", flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COX_HOME", str(tmp_path))
    return tmp_path


async def _python(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", *arguments),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def _first_guest(directory: Path) -> ProcessId:
    async with asyncio.timeout(120):
        while not (found := processes_in(directory)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found[0]


async def test_a_host_lives_until_down(home: Path, image: Image) -> None:
    up = await _python(UP)
    assert await up.wait() == 0
    (host,) = lab_hosts()
    assert (host.name, host.running, host.owner) == ("lab-1", True, "cox lab")
    assert [again.pid for again in await lab_up(1, "nats://127.0.0.1:9")] == [host.pid]
    guest = Guest.attach(home / "lab/lab-1")
    _, output = await guest.run("hostname; cat /run/coxswain/host.env", timeout_s=60)
    await guest.close()
    assert output.splitlines() == [
        *("lab-1", 'COX_HOST="lab-1"', 'COX_NATS_URL="nats://10.0.2.2:9"', 'COX_NAMESPACE="cox"')
    ]
    assert await lab_down() == ["lab-1"]
    assert lab_hosts() == []
    assert processes_in(home / "lab/lab-1") == []
    assert not (home / "lab/lab-1").exists()
    assert await lab_down() == []


async def test_an_interrupted_up_leaves_nothing(home: Path, image: Image) -> None:
    up = await _python(UP)
    await _first_guest(home / "lab/lab-1")
    up.send_signal(signal.SIGINT)
    assert await up.wait() != 0
    assert processes_in(home / "lab/lab-1") == []
    assert not (home / "lab/lab-1").exists()


async def test_what_a_killed_up_leaves_is_cleaned(home: Path, image: Image) -> None:
    up = await _python(UP)
    orphan = await _first_guest(home / "lab/lab-1")
    os.killpg(up.pid, signal.SIGKILL)
    await up.wait()
    # Whether or not it came to note its guest.
    (home / "lab/lab-1/machine.json").unlink(missing_ok=True)
    await lab_down()
    assert not orphan.alive
    assert not (home / "lab/lab-1").exists()


async def test_a_guest_dies_with_the_process_it_belongs_to(home: Path, image: Image) -> None:
    owner = await _python(HOLD, str(home / "held"))
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"started\n"
    guest = await _first_guest(home / "held")
    owner.kill()
    await owner.wait()
    async with asyncio.timeout(30):
        while guest.alive:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_state_file_never_points_at_a_stranger(home: Path, image: Image) -> None:
    directory = home / "lab/lab-1"
    guest = Microvm(image, name="lab-1", directory=directory, detached=True)
    await guest.start()
    await guest.stop()
    # The pid now belongs to somebody else: to us.
    state = (directory / "machine.json").read_text()
    assert guest._process is not None
    (directory / "machine.json").write_text(
        state.replace(str(guest._process.pid), str(os.getpid()), 1)
    )
    assert [host.running for host in lab_hosts()] == [False]
    assert await lab_down() == []
