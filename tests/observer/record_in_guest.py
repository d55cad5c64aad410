"""Boots a lab guest and records there: python -m tests.observer.record_in_guest OUT SEEDS NAMES."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

from shared.microvm import Microvm, ensure_image

HERE = Path(__file__).parent


async def record(arguments: list[str]) -> tuple[int, bytes]:
    """The recorder's exit code and what it recorded; what it says is printed."""
    image = await ensure_image()
    async with Microvm(image, cpus=2, memory_mb=1024, files={"tests/observer": HERE}) as guest:
        command = ["python3", "-m", "tests.observer.record", "/tmp/recorded.json", *arguments]
        code, output = await guest.run(
            f"cd /opt/coxswain/src && {shlex.join(command)}", timeout_s=1500
        )
        print(output)  # noqa: T201
        return code, await guest.get("/tmp/recorded.json") if code == 0 else b""


def main() -> int:
    code, recorded = asyncio.run(record(sys.argv[2:]))
    if code == 0:
        Path(sys.argv[1]).write_bytes(recorded)
    return code


if __name__ == "__main__":
    sys.exit(main())
