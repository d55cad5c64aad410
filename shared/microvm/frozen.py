"""A guest's memory and devices as a file, written and read by QEMU's migration (migrate in QMP).

Through a command's pipe, which every QEMU can; writing into a file by itself takes QEMU 8.2.
"""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING

from shared.errors import MachineError
from shared.microvm.sockets import Monitor

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_S = 0.02
_PATIENCE_S = 120.0
"""Some 200 MB, on a machine that others use, too."""


async def write_memory(monitor_at: Path, file: Path) -> None:
    """Stop the guest for good, and write what it is. Raises MachineError."""
    async with await Monitor.open(monitor_at) as monitor:
        await monitor.greet()
        await monitor.ask("stop")
        await monitor.ask("migrate-set-parameters", **{"max-bandwidth": 0})
        await monitor.ask("migrate", uri=f"exec:cat > {shlex.quote(str(file))}")
        status = await _settled(monitor, {"completed", "failed", "cancelled"})
    if status != "completed":
        raise MachineError("A guest cannot be frozen", expected=f"it in {file}", got=status)


async def read_memory(monitor_at: Path, file: Path) -> None:
    """Let a QEMU that waits for it go on from there. Raises MachineError."""
    monitor = await _opened(monitor_at)
    async with monitor:
        await monitor.greet()
        await monitor.ask("migrate-incoming", uri=f"exec:cat {shlex.quote(str(file))}")
        status = await _settled(monitor, {"completed", "failed"})
        if status != "completed":
            raise MachineError("A guest cannot be thawed", expected=f"it from {file}", got=status)
        await monitor.ask("cont")


async def _opened(monitor_at: Path) -> Monitor:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                return await Monitor.open(monitor_at)
            except OSError:
                await asyncio.sleep(_LOOK_S)  # QEMU has not come that far


async def _settled(monitor: Monitor, ends: set[str]) -> str:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            status: str = (await monitor.ask("query-migrate")).get("status", "")
            if status in ends:
                return status
            await asyncio.sleep(_LOOK_S)
