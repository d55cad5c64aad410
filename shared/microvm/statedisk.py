"""The disk of a guest that outlives it: what a host still knows after a reboot or a power cut.

A raw ext4 file outside. What the guest's kernel has written to it is there whenever the guest ends;
what was in the guest's memory alone is gone, as with any disk. The guest sees it as the state
directories of its services. The disk's UUID is the host's machine-id, for as long as it has it.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from shared.errors import MachineError
from shared.microvm.tools import run_tool

if TYPE_CHECKING:
    from pathlib import Path

SIZE = "128M"
"""Sparse: what is not written takes no room outside."""

# ext4's superblock (fs/ext4/ext4.h): at byte 1024, its magic at 0x38, its UUID at 0x68.
_SUPERBLOCK, _MAGIC_AT, _UUID_AT = 1024, 0x38, 0x68
_MAGIC = b"\x53\xef"


async def have_state_disk(path: Path) -> str:
    """Make the disk if it is not there; the machine-id of the host that it belongs to.

    Raises MachineError if it cannot be made, or if that file is something else.
    """
    if not await asyncio.to_thread(path.exists):
        partial = path.with_name(f"{path.name}.partial")
        await run_tool(
            [
                *("mke2fs", "-q", "-F", "-t", "ext4", "-L", "coxswain-state", "-m", "0"),
                *("-U", str(uuid.uuid4()), "-E", "root_owner=0:0", str(partial), SIZE),
            ],
            what="The guest's state disk cannot be made",
        )
        partial.rename(path)
    return await asyncio.to_thread(_uuid_of, path)


def _uuid_of(path: Path) -> str:
    with path.open("rb") as disk:
        superblock = disk.read(2 * _SUPERBLOCK)[_SUPERBLOCK:]
    if superblock[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC:
        raise MachineError(
            "The guest's state disk is none",
            expected=f"an ext4 file system in {path}",
            got="something else",
            advice="Move the file away: a new one is made, and the host begins anew.",
        )
    return superblock[_UUID_AT : _UUID_AT + 16].hex()
