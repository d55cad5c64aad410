"""Whether guests run on KVM or are emulated: decided by booting one, once.

`/dev/kvm` may open, answer and even create a VM, and still be unable to boot a kernel (nested
hosts). The answer is remembered for this boot of this machine, this QEMU and this kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
from typing import TYPE_CHECKING, Literal

import msgspec

from shared.microvm.places import cache_dir
from shared.microvm.process import boot_id

if TYPE_CHECKING:
    from shared.microvm.image import Image

Accel = Literal["kvm", "tcg"]

# Real KVM takes about one second.
_DEADLINE_S = 10.0
# With /bin/true for its init the kernel has run user space before it says this.
_PROOF = b"Attempted to kill init! exitcode=0x00000000"


class _Answer(msgspec.Struct, frozen=True):
    question: list[str]
    accel: Accel


async def choose_accel(image: Image) -> Accel:
    """`kvm` if the image's kernel truly boots on it, else `tcg`."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    memory = cache_dir() / "accel.json"
    question = [boot_id(), _qemu_version(), image.manifest.key]
    with contextlib.suppress(OSError, msgspec.DecodeError):
        answer = msgspec.json.decode(memory.read_bytes(), type=_Answer)
        if answer.question == question:
            return answer.accel
    accel: Accel = "kvm" if await _boots_on_kvm(image) else "tcg"
    partial = memory.with_name(f"{memory.name}.{os.getpid()}")
    # A container's cache cannot be written: it boots once more the next time.
    with contextlib.suppress(OSError):
        partial.write_bytes(msgspec.json.encode(_Answer(question, accel)))
        partial.rename(memory)
    return accel


async def _boots_on_kvm(image: Image) -> bool:
    with tempfile.NamedTemporaryFile(prefix="cox-kvm-") as console:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "pc", "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", "512"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
            *("-append", "root=/dev/vda ro console=ttyS0 panic=-1 init=/bin/true"),
            *(
                "-drive",
                f"if=none,id=root,file={image.root},format={image.root_format},snapshot=on",
            ),
            *("-device", "virtio-blk-pci,drive=root"),
            *("-serial", f"file:{console.name}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DEADLINE_S):
                    await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return _PROOF in console.read()


def _qemu_version() -> str:
    done = subprocess.run(
        ["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False
    )
    return done.stdout.partition("\n")[0]
