"""Run one command as root in a fresh guest: `python -m shared.microvm 'uname -r'`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from shared.microvm.image import ensure_image
from shared.microvm.machine import Microvm


def main() -> int:
    """Boot, run, print, exit as the command did."""
    parser = argparse.ArgumentParser(prog="python -m shared.microvm", description=__doc__)
    parser.add_argument("command", help="what bash shall run in the guest")
    parser.add_argument("--file", action="append", default=[], metavar="GUEST=HERE")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS")
    options = parser.parse_args()
    files = {guest: Path(here) for guest, _, here in (f.partition("=") for f in options.file)}
    return asyncio.run(_run(options.command, files, options.timeout))


async def _run(command: str, files: dict[str, Path], timeout_s: float) -> int:
    async with Microvm(await ensure_image(), files=files) as guest:
        code, output = await guest.run(command, timeout_s=timeout_s)
    sys.stdout.write(output)
    return code


if __name__ == "__main__":
    sys.exit(main())
