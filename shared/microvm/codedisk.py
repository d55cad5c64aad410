"""The project's own code as a small read-only disk, made anew for every guest."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import InputError
from shared.microvm.guestroot import compile_tree
from shared.microvm.places import CHECKOUT
from shared.microvm.tools import run_tool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.microvm.image import Image

# Where a guest sees the disk.
GUEST_SRC = "/opt/coxswain/src"
# What a host runs: the planner, the learner and the command line stay outside.
_PARTS = ("shared", "services/__init__.py", "services/observer", "services/executor")
_PARTS_WITH_FILES = ("bpf", "workloads")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
_SLACK_BYTES = 4 * 2**20


async def make_code_disk(target: Path, image: Image, files: Mapping[str, Path]) -> None:
    """Write the disk to `target`.

    `files` adds files and directories of the caller's own: the key is the path below
    `/opt/coxswain/src`. Raises InputError for one that is not there or points outside.
    """
    with tempfile.TemporaryDirectory(prefix="cox-code-") as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        await asyncio.to_thread(_collect, tree, files)
        await compile_tree(image.debian_root, tree, seen_as=GUEST_SRC)
        used = sum(-(-path.lstat().st_size // 4096) * 4096 for path in tree.rglob("*"))
        kilobytes = (used + used // 4 + _SLACK_BYTES) // 1024
        await run_tool(
            [
                *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-i", "8192"),
                *("-O", "^has_journal", "-E", "root_owner=0:0"),
                *("-d", str(tree), str(target), f"{kilobytes}k"),
            ],
            what="The code disk cannot be written",
        )


def _collect(tree: Path, files: Mapping[str, Path]) -> None:
    parts = {part: CHECKOUT / part for part in (*_PARTS, *_PARTS_WITH_FILES)}
    for part, source in {**parts, **files}.items():
        target = (tree / part).resolve()
        if not target.is_relative_to(tree.resolve()) or target == tree.resolve():
            raise InputError(
                "A file for the guest has a place outside the code disk",
                expected=f"a path below {GUEST_SRC}",
                got=part,
            )
        if not source.exists():
            raise InputError(
                "A file for the guest does not exist",
                expected=f"a file or directory at {source}",
                got="nothing there",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=_IGNORED, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
