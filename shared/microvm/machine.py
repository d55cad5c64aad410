"""One microVM: started and stopped."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from shared.errors import InputError, MachineError
from shared.microvm.accel import Accel, choose_accel
from shared.microvm.codedisk import make_code_disk
from shared.microvm.frozen import read_memory, write_memory
from shared.microvm.guest import EmulationError, Guest, GuestState
from shared.microvm.process import ProcessId, processes_in
from shared.microvm.statedisk import have_state_disk
from shared.microvm.tools import require, run_tool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from shared.microvm.image import Image

# What a guest sees of the machine's own loopback (qemu(1), -netdev user).
HOST_FROM_GUEST = "10.0.2.2"
DEFAULT_MEMORY_MB = 1024
DEFAULT_CPUS = 2
EMULATED_CPU = "Nehalem"
"""x86-64-v2, and no "fast" string instructions: emulated byte by byte, they make copies and
forks 3 to 6 times as expensive, and software uses them where a CPU claims to have them."""
_LAUNCH_S = 5.0
_PREFIX = "cox-vm-"
_OWNER = "owner.json"
_ROOT, _CODE, _MEMORY = "root.qcow2", "code.ext4", "memory"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_BOOT_ATTEMPTS = 3


class Microvm(Guest):
    """A guest of our own.

    As a context manager it is started, waited for, and gone at the end; and it dies with this
    process. With `directory` its files go there and stay; with `detached` it lives on when
    this process ends, and `Guest.attach(directory)` finds it again.

    `settings` become `/run/coxswain/host.env` in the guest, `credentials` (name → file) what its
    units may load by that name. `files` adds files to its code
    disk: path below /opt/coxswain/src → file or directory here. `boot_s` is how long it may take
    until it runs commands.

    Its root is a new one at each start. With `state`, a file that is made if it is not there, what
    its services keep is on a disk that stays: a guest that is started with it is the same host.

    One that is frozen runs no more; `again()` gives guests that go on from that moment, each by
    itself, in a second instead of a boot.
    """

    def __init__(
        self,
        image: Image,
        *,
        name: str = "guest",
        cpus: int | None = None,
        memory_mb: int = DEFAULT_MEMORY_MB,
        settings: Mapping[str, str] | None = None,
        credentials: Mapping[str, Path] | None = None,
        files: Mapping[str, Path] | None = None,
        network: bool = True,
        directory: Path | None = None,
        state: Path | None = None,
        detached: bool = False,
        accel: Accel | None = None,
        boot_s: float = 120.0,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise InputError(
                "A guest's name is its host name",
                expected="1 to 63 lower-case letters, digits or inner hyphens",
                got=repr(name),
            )
        self._own_directory = directory is None
        place = directory or Path(tempfile.gettempdir()) / f"{_PREFIX}{uuid.uuid4().hex}"
        super().__init__(name, place)
        self.image = image
        self.cpus = cpus or min(DEFAULT_CPUS, os.cpu_count() or 1)
        self.memory_mb = memory_mb
        self.settings = dict(settings or {})
        self.credentials = dict(credentials or {})
        self.files = dict(files or {})
        self.network = network
        self.state = state
        self.detached = detached
        self.accel = accel
        self.boot_s = boot_s
        self._child: asyncio.subprocess.Process | None = None

    # Life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self.boot()
        except BaseException:
            await self.stop()
            raise
        return self

    async def boot(self) -> None:
        """Start and wait until it runs commands; one that its emulator spoils is booted again."""
        for attempt in range(1, _BOOT_ATTEMPTS + 1):
            await self.start()
            try:
                await self.wait_ready(self.boot_s)
            except EmulationError:
                if attempt == _BOOT_ATTEMPTS:
                    raise
                await self.stop()
            else:
                return

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start QEMU; the guest then boots by itself."""
        qemu = require("qemu-system-x86_64", "qemu-system-x86")
        require("qemu-img", "qemu-utils")
        await asyncio.to_thread(self._prepare_directory)
        accel = self.accel or await choose_accel(self.image)
        (self.directory / "host.env").write_text(environment_file(self.settings))
        await self._make_disks()
        machine_id = uuid.uuid4().hex
        if self.state is not None:
            machine_id = await have_state_disk(self.state)
        self._process = await self._launch([qemu, *self._arguments(accel, machine_id)])
        state = GuestState(
            name=self.name,
            process=self._process,
            cpus=self.cpus,
            memory_mb=self.memory_mb,
            image_key=self.image.manifest.key,
            accel=accel,
            started_at=time.time(),
            detached=self.detached,
        )
        state.write(self.directory)

    async def freeze(self) -> None:
        """End it as it is now, so that others can go on from here; `stop` forgets that.

        Their clocks of the day are that late, and what is random is what it would have been here:
        for guests that nobody outside relies on. Raises InputError for one with a network or a
        disk that stays, which would be back in time; MachineError.
        """
        if self.network or self.state is not None:
            raise InputError(
                f"Guest {self.name} cannot be frozen",
                expected="one without a network and without a state disk",
                got="one that others know",
            )
        await self.close()
        await write_memory(self.directory / "qmp.sock", self.directory / _MEMORY)
        await super().stop()

    def again(self) -> Microvm:
        """One that goes on where this one was frozen."""
        return _Thawed(self)

    async def cut_power(self) -> None:
        """End it in the middle of whatever it does, as a cut of its power would.

        What its kernel has written to its state disk is left, and `start` boots from it again.
        """
        await self.close()
        if self._process is not None:
            self._process.kill()
        if self._child is not None:
            await self._child.wait()

    async def stop(self) -> None:
        """End the guest, and remove its files if nobody named a place for them."""
        await super().stop()
        if self._child is not None:
            await self._child.wait()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    # Inside -------------------------------------------------------------------------------

    async def _make_disks(self) -> None:
        await make_code_disk(self.directory / _CODE, self.image, self.files)
        await run_tool(
            [
                *("qemu-img", "create", "-q", "-f", "qcow2", "-F", self.image.root_format),
                *("-b", str(self.image.root.resolve()), str(self.directory / _ROOT)),
            ],
            what="The guest's disk cannot be made",
        )

    def _prepare_directory(self) -> None:
        if self._own_directory:
            _sweep(self.directory.parent)
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._own_directory:
            owner = msgspec.json.encode(ProcessId.of(os.getpid()))
            (self.directory / _OWNER).write_bytes(owner)
        if running := processes_in(self.directory):
            raise MachineError(
                f"Guest {self.name} cannot start",
                expected=f"no other guest in {self.directory}",
                got=f"one with process {running[0].pid}",
                advice="Stop it first: `cox lab down`, or `cox down`.",
            )

    async def _launch(self, command: list[str]) -> ProcessId:
        # setsid(1) lets QEMU go: init is its parent, and a terminal's Ctrl-C does not reach it.
        # setpriv(1) ties it to us: the kernel kills it when this process is gone, however it went.
        hold = ["setsid", "--fork"] if self.detached else ["setpriv", "--pdeathsig", "KILL"]
        with (self.directory / "qemu.log").open("wb") as log:
            child = await asyncio.create_subprocess_exec(
                *hold,
                *command,
                cwd=self.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not self.detached:
            self._child = child
            return ProcessId.of(child.pid)
        await child.wait()
        deadline_s = time.monotonic() + _LAUNCH_S
        while time.monotonic() < deadline_s:
            if found := processes_in(self.directory):
                return found[0]
            await asyncio.sleep(0.02)
        raise MachineError(
            f"Guest {self.name} did not start",
            expected="QEMU to run",
            got=(self.directory / "qemu.log").read_text(errors="replace").strip() or "no process",
        )

    def _arguments(self, accel: str, machine_id: str) -> list[str]:
        kernel_line = [
            "root=/dev/vda rw",
            "console=ttyS0 quiet loglevel=4 panic=-1",
            # Emulated CPUs pay for mitigations and gain nothing; nobody else shares the guest.
            "mitigations=off lsm=landlock audit=0",
            # Calibration of what does not vary here: 0.3 s for every boot.
            "lpj=4000000 no_timer_check tsc=reliable edd=off",
            f"systemd.hostname={self.name} systemd.machine_id={machine_id}",
            "systemd.show_status=no",
        ]
        arguments = [
            *("-name", self.name, "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", f"pc,accel={accel}" if accel == "kvm" else "pc", "-no-reboot"),
            *("-cpu", "host" if accel == "kvm" else EMULATED_CPU),
            *("-smp", str(self.cpus), "-m", f"{self.memory_mb}M"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)),
            *("-append", " ".join(kernel_line)),
            *("-drive", f"if=none,id=root,file={_ROOT},format=qcow2,cache=unsafe"),
            *("-device", "virtio-blk-pci,drive=root"),
            *("-drive", f"if=none,id=code,file={_CODE},format=raw,readonly=on"),
            *("-device", "virtio-blk-pci,drive=code"),
            *self._state_disk(),
            *("-chardev", "file,id=console,path=console.log", "-serial", "chardev:console"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", "socket,id=shell,path=shell.sock,server=on,wait=off"),
            *("-device", "virtconsole,chardev=shell"),
            *("-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-qmp", "unix:qmp.sock,server=on,wait=off"),
            *("-fw_cfg", "name=opt/coxswain/host.env,file=host.env"),
            *("-device", "virtio-rng-pci"),
        ]
        for name, file in self.credentials.items():
            arguments += ["-fw_cfg", f"name=opt/coxswain/credentials/{name},file={file.resolve()}"]
        if accel == "tcg":
            arguments += ["-accel", "tcg,thread=multi,tb-size=256"]
        if self.network:
            arguments += ["-netdev", "user,id=net,ipv6=off"]
            arguments += ["-device", "virtio-net-pci,netdev=net,romfile="]
        return arguments

    def _state_disk(self) -> list[str]:
        """Unlike the root, which is thrown away, it takes a flush for what it is."""
        if self.state is None:
            return []
        file = str(self.state.resolve()).replace(",", ",,")
        return [
            *("-drive", f"if=none,id=state,file={file},format=raw,cache=writeback"),
            *("-device", "virtio-blk-pci,drive=state"),
        ]


class _Thawed(Microvm):
    """Goes on where another was frozen, with disks of its own."""

    def __init__(self, frozen: Microvm) -> None:
        super().__init__(
            frozen.image,
            name=frozen.name,
            cpus=frozen.cpus,
            memory_mb=frozen.memory_mb,
            settings=frozen.settings,
            credentials=frozen.credentials,
            network=False,
            accel=frozen.accel,
            boot_s=frozen.boot_s,
        )
        self._frozen_in = frozen.directory

    async def boot(self) -> None:
        await self.start()
        async with asyncio.timeout(self.boot_s):
            await self._wait_for_agent()

    async def start(self) -> None:
        await super().start()
        await read_memory(self.directory / "qmp.sock", self._frozen_in / _MEMORY)

    async def _make_disks(self) -> None:
        for disk in (_ROOT, _CODE):
            await asyncio.to_thread(shutil.copyfile, self._frozen_in / disk, self.directory / disk)

    def _arguments(self, accel: str, machine_id: str) -> list[str]:
        return [*super()._arguments(accel, machine_id), "-incoming", "defer"]


def _sweep(place: Path) -> None:
    """Remove what processes that were killed have left of their guests."""
    for directory in place.glob(f"{_PREFIX}*"):
        try:
            owner = msgspec.json.decode((directory / _OWNER).read_bytes(), type=ProcessId)
        except (OSError, msgspec.DecodeError):
            continue  # being made, or no longer there
        if not owner.alive:
            shutil.rmtree(directory, ignore_errors=True)


def environment_file(settings: Mapping[str, str]) -> str:
    """Settings as systemd reads them (systemd.exec(5), EnvironmentFile=). Raises InputError."""
    lines = []
    for key, value in settings.items():
        if not _VARIABLE.fullmatch(key) or any(ord(char) < ord(" ") for char in value):
            raise InputError(
                "A setting cannot be passed to a guest",
                expected="a variable's name and a value in one line",
                got=f"{key!r}={value!r}",
            )
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        lines.append(f'{key}="{escaped}"\n'.replace("`", "\\`"))
    return "".join(lines)
