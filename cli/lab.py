"""`cox lab`: hosts on a real sched_ext kernel, on a machine that has none.

Each is a microVM with an observer and an executor, and lives in `$COX_HOME/lab/<name>` until
`cox lab down`. One that a crash left there is cleaned up by the next `up` or `down`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit, urlunsplit

import msgspec
import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.fleet.joining import expect_host, forget_host, wait_joined
from cli.fleet.keys import enroll_host, host_credentials, operator
from cli.fleet.roster import Roster
from cli.output import console, print_json
from cli.session import connected, run, settings
from shared.errors import BusUnavailableError, CoxswainError, InputError, MachineError
from shared.microvm import HOST_FROM_GUEST, Guest, Microvm, ensure_image
from shared.microvm.guest import GuestState
from shared.microvm.process import processes_in
from shared.microvm.sockets import open_socket
from shared.settings import state_home
from shared.subjects import host_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from rich.progress import TaskID

    from shared.microvm import Finished
    from shared.microvm.image import Progress as OnProgress

MEMORY_MARGIN_MB = 1024
"""What must stay for everything else on this machine."""
DETACH = b"\x1d"  # Ctrl-]
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|\[::1\]")

app = typer.Typer(help="Lab hosts: microVMs with a sched_ext kernel.", no_args_is_help=True)


class LabHost(msgspec.Struct, frozen=True, kw_only=True):
    """One lab host, as `cox lab list --json` shows it."""

    name: str
    running: bool
    pid: int
    cpus: int
    memory_mb: int
    accel: str
    uptime_s: float
    owner: str
    directory: str
    console: str


def lab_home() -> Path:
    """Where the lab's hosts keep their files."""
    return state_home() / "lab"


def lab_hosts() -> list[LabHost]:
    """Every host of the lab, in the order of their numbers."""
    found = []
    for directory in lab_home().glob("*/"):
        state = GuestState.read(directory)
        if state is not None:
            running = state.process.alive
            host = LabHost(
                name=state.name,
                running=running,
                pid=state.process.pid if running else 0,
                cpus=state.cpus,
                memory_mb=state.memory_mb,
                accel=state.accel,
                uptime_s=round(time.time() - state.started_at, 1) if running else 0.0,
                owner="cox lab" if state.detached else "cox up",
                directory=str(directory),
                console=str(directory / "console.log"),
            )
            found.append(host)
    return sorted(found, key=lambda host: [int(n) for n in re.findall(r"\d+", host.name)])


def seen_from_guest(url: str) -> str:
    """A bus address on this machine's loopback, as a lab host reaches it."""
    parts = urlsplit(url)
    who, at, where = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=who + at + _LOOPBACK.sub(HOST_FROM_GUEST, where)))


async def lab_up(
    count: int,
    nats_url: str,
    *,
    namespace: str = "cox",
    credentials: Callable[[str], Mapping[str, Path]] = lambda _host: {},
    cpus: int | None = None,
    memory_mb: int = 1024,
    extra: Mapping[str, str] | None = None,
    progress: OnProgress | None = None,
) -> list[LabHost]:
    """Have `lab-1` to `lab-<count>` running, and return them once they run commands.

    Those that run already stay as they are. Cancelled or failing, it ends what it started.
    `credentials(host)` are the keys with which a host's services join the bus.
    `progress(stage, fraction, text)` hears about the image and about each boot.
    """
    tell = progress or (lambda _stage, _fraction, _text: None)
    if count < 1:
        raise InputError("No lab host asked for", expected="a number from 1", got=str(count))
    url = seen_from_guest(nats_url)
    image = await ensure_image(progress)
    async with _lab_lock():
        _clean_up()
        running = {host.name for host in lab_hosts()}
        wanted = [f"lab-{number + 1}" for number in range(count)]
        missing = [host_token(name) for name in wanted if name not in running]
        _check_memory(len(missing) * memory_mb)
        guests = [
            Microvm(
                image,
                name=name,
                cpus=cpus,
                memory_mb=memory_mb,
                settings={
                    "COX_HOST": name,
                    "COX_NATS_URL": url,
                    "COX_NAMESPACE": namespace,
                    **(extra or {}),
                },
                credentials=credentials(name),
                directory=lab_home() / name,
                detached=True,
            )
            for name in missing
        ]
        try:
            await _boot(guests, tell)
        except BaseException:
            for guest in guests:
                await guest.stop()
                await asyncio.to_thread(shutil.rmtree, guest.directory, ignore_errors=True)
            raise
        finally:
            for guest in guests:
                await guest.close()
        return [host for host in lab_hosts() if host.name in wanted]


async def lab_down() -> list[str]:
    """End every host of the lab and remove its files; the names of those that ran.

    Hosts that belong to a running `cox up` are left to it.
    """
    async with _lab_lock():
        ended = [host.name for host in lab_hosts() if host.running and host.owner == "cox lab"]
        # Time for their services to say goodbye to the bus.
        await asyncio.gather(*(Guest.attach(lab_home() / name).power_off() for name in ended))
        _clean_up()
        return ended


async def _boot(guests: list[Microvm], tell: OnProgress) -> None:
    # A booting guest keeps about one core busy: more of them at once would only wait.
    free_cores = asyncio.Semaphore(os.cpu_count() or 1)
    ready: list[str] = []

    async def boot(guest: Microvm) -> None:
        async with free_cores:
            await guest.boot()
        ready.append(guest.name)
        tell("boot", len(ready) / len(guests), f"{', '.join(sorted(ready))} ready")

    if guests:
        tell("boot", 0.0, f"{len(guests)} lab hosts")
    try:
        async with asyncio.TaskGroup() as group:
            for guest in guests:
                group.create_task(boot(guest))
    except* CoxswainError as errors:
        raise errors.exceptions[0] from None


def _clean_up() -> None:
    """Remove what crashes left: guests that nothing names, files of guests that ended."""
    for directory in lab_home().glob("*/"):
        state = GuestState.read(directory)
        if state is not None and state.process.alive:
            continue
        for process in processes_in(directory):
            process.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _check_memory(needed_mb: int) -> None:
    if needed_mb == 0:
        return
    with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
        available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    if available // 1024 < needed_mb + MEMORY_MARGIN_MB:
        raise MachineError(
            "Too little memory for these lab hosts",
            expected=f"{needed_mb + MEMORY_MARGIN_MB} MB available",
            got=f"{available // 1024} MB",
            advice="Ask for fewer hosts, or for less with --memory-mb.",
        )


@contextlib.asynccontextmanager
async def _lab_lock() -> AsyncIterator[None]:
    """One `up` or `down` at a time; the kernel drops the lock with its process."""
    home = lab_home()
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(0.2)
        yield
    finally:
        os.close(lock)


# The command line ---------------------------------------------------------------------------

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def up(
    count: Annotated[int, typer.Argument(help="How many hosts shall run.", min=1)] = 2,
    cpus: Annotated[int | None, typer.Option(help="Virtual CPUs of each.", min=1)] = None,
    memory_mb: Annotated[int, typer.Option(help="Memory of each.", min=512)] = 1024,
    as_json: Json = False,
) -> None:
    """Boot lab hosts and have them join the bus; the first time this builds their image.

    Example:  cox lab up 2
    """
    with _progress_bar(silent=as_json) as tell:
        hosts = run(_up_and_join(count, cpus=cpus, memory_mb=memory_mb, progress=tell))
    _show(hosts, as_json=as_json)


async def _up_and_join(
    count: int, *, cpus: int | None, memory_mb: int, progress: OnProgress
) -> list[LabHost]:
    """Boot what is missing, and wait until every host has joined the bus."""
    found = settings()
    # On this machine's own bus they are let in; another's owner has to have sent us their keys.
    ours = found.credentials == operator()
    async with connected() as bus:
        running = {host.name for host in lab_hosts() if host.running}
        for name in (f"lab-{number + 1}" for number in range(count)):
            if name not in running:
                await expect_host(bus, name)
        hosts = await lab_up(
            count,
            found.nats_url,
            namespace=found.subjects.namespace,
            credentials=enroll_host if ours else host_credentials,
            cpus=cpus,
            memory_mb=memory_mb,
            progress=progress,
        )
        roster = Roster()
        await roster.listen(bus)
        for done, host in enumerate(hosts):

            def tell(missing: str, done: int = done, name: str = host.name) -> None:
                progress("join", done / len(hosts), f"{name}: waiting for {missing}")

            await wait_joined(bus, roster, host.name, tell)
        progress("join", 1.0, "")
        return hosts


async def _down_and_forget() -> list[str]:
    """End them, and take them out of the bus's books if the bus is there."""
    ended = await lab_down()
    if ended:
        with contextlib.suppress(BusUnavailableError):
            async with connected() as bus:
                for name in ended:
                    await forget_host(bus, name)
    return ended


@app.command("list")
def list_hosts(*, as_json: Json = False) -> None:
    """Show the lab hosts."""
    _show(lab_hosts(), as_json=as_json)


@app.command()
def down(*, as_json: Json = False) -> None:
    """End all lab hosts and remove their files."""
    ended = run(_down_and_forget())
    if as_json:
        print_json({"ended": ended})
    else:
        console().print(f"Ended: {', '.join(ended)}." if ended else "No lab host was running.")


@app.command()
def shell(
    host: Annotated[str, typer.Argument(help="Which one: see `cox lab list`.")],
    command: Annotated[list[str] | None, typer.Argument(help="Run this instead.")] = None,
    timeout_s: Annotated[float, typer.Option(help="A command's limit.", min=1)] = 600.0,
) -> None:
    """Open a root shell in a lab host (Ctrl-] leaves it), or run one command there."""
    guest = Guest.attach(lab_home() / host_token(host))
    if command:
        finished = run(_run_command(guest, command, timeout_s))
        sys.stdout.write(finished.output)
        raise typer.Exit(finished.exit_code)
    if not sys.stdin.isatty():
        raise InputError(
            "A shell needs a terminal",
            expected="standard input to be a terminal",
            got="something else",
            advice=f"Run one command: cox lab shell {host} -- uname -r",
        )
    console().print(f"root@{host}; Ctrl-] leaves.")
    run(_attach_terminal(guest.directory / "shell.sock"))


async def _run_command(guest: Guest, command: list[str], timeout_s: float) -> Finished:
    try:
        return await guest.run(command, timeout_s=timeout_s)
    finally:
        await guest.close()


async def _attach_terminal(socket: Path) -> None:
    """Join this terminal, raw, with the guest's console, until either hangs up."""
    reader, writer = await open_socket(socket)
    loop = asyncio.get_running_loop()
    left = asyncio.Event()
    keys = sys.stdin.fileno()

    def typed() -> None:
        data = os.read(keys, 4096)
        if not data or DETACH in data:
            left.set()
        writer.write(data.partition(DETACH)[0])

    async def show() -> None:
        while data := await reader.read(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        left.set()

    before = termios.tcgetattr(keys)
    tty.setraw(keys)
    loop.add_reader(keys, typed)
    shown = asyncio.create_task(show())
    try:
        size = shutil.get_terminal_size()
        writer.write(f" stty rows {size.lines} cols {size.columns}; clear\r".encode())
        await left.wait()
    finally:
        loop.remove_reader(keys)
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
        shown.cancel()
        writer.close()
        sys.stdout.write("\r\n")


@contextlib.contextmanager
def _progress_bar(*, silent: bool) -> Iterator[Callable[[str, float, str], None]]:
    """A bar for each stage, on stderr."""
    titles = {
        "wait": "Waiting",
        "root": "Debian root",
        "wheels": "Python packages",
        "image": "Image",
        "boot": "Boot",
        "join": "Join",
    }
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[title]:<16}"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=console(stderr=True),
        disable=silent,
    )
    tasks: dict[str, TaskID] = {}

    def tell(stage: str, fraction: float, text: str) -> None:
        short = text if len(text) <= 48 else text[:47] + "…"
        if stage not in tasks:
            for task in tasks.values():
                bar.update(task, completed=1.0, text="")
            tasks[stage] = bar.add_task(stage, total=1.0, title=titles[stage], text=short)
        bar.update(tasks[stage], completed=fraction, text=short)

    with bar:
        yield tell


def _show(hosts: list[LabHost], *, as_json: bool) -> None:
    if as_json:
        print_json(hosts)
        return
    if not hosts:
        console().print("No lab hosts. Start two with: cox lab up 2")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("host", "state", "cpus", "memory", "accel", "up", "owner", "console"):
        table.add_column(column, overflow="fold")
    for host in hosts:
        table.add_row(
            host.name,
            "running" if host.running else "ended",
            str(host.cpus),
            f"{host.memory_mb} MB",
            host.accel,
            f"{host.uptime_s:.0f} s",
            host.owner,
            host.console,
        )
    console().print(table)
