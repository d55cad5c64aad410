"""Runs the image's own programs on the machine outside, from the directory they stand in.

No chroot, no mount, no privilege: the image's loader and libraries run its programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.microvm.tools import run_tool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Always exits 0: a file that does not compile says why when a guest imports it.
_COMPILE = """
import compileall, sys
tree, seen_as = sys.argv[1:]
compileall.compile_dir(tree, quiet=2, maxlevels=32, stripdir=tree, prependdir=seen_as)
"""


async def run_in_root(debian_root: Path, command: Sequence[str], *, what: str) -> None:
    """Run a program of the root's, named by its path there. Raises MachineError."""
    libraries = debian_root / "usr/lib/x86_64-linux-gnu"
    program, *arguments = command
    await run_tool(
        [
            *("env", f"PYTHONHOME={debian_root / 'usr'}"),
            *(str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)),
            *(f"{debian_root}{program}", *arguments),
        ],
        what=what,
    )


async def compile_tree(debian_root: Path, tree: Path, *, seen_as: str) -> None:
    """Compile every module in `tree`, which a guest sees at `seen_as`, to bytecode.

    An emulated CPU compiles slowly, and this machine's Python writes another version's.
    """
    await run_in_root(
        debian_root,
        ["/usr/bin/python3", "-S", "-B", "-c", _COMPILE, str(tree), seen_as],
        what="Python code cannot be compiled for the guest",
    )
