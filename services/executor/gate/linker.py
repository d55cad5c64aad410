"""Linking of BPF objects in the jail: libbpf trusts what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.executor.gate.jail import Jail

if TYPE_CHECKING:
    from collections.abc import Sequence

_JAIL: Final = Jail(Path(__file__).with_name("libbpf_link.py"), inside=True)
_LINKED: Final = "linked.o"


class LinkError(Exception):
    """The linker did not take an object; the text says which and the error's name."""


def link(objects: Sequence[bytes]) -> bytes:
    """One object out of several, without debug data other than BTF.

    Raises LinkError, or MachineError without a jail or libbpf.
    """
    files = {f"{number}.o": data for number, data in enumerate(objects, start=1)}
    ended = _JAIL.run([_LINKED, *files], files, makes=_LINKED)
    if ended.how.startswith("was ended by"):
        raise LinkError("the linker crashed on it: an object that no compiler has made")
    if ended.how:
        raise LinkError(ended.said.rstrip().rpartition("\n")[2] or f"the linker {ended.how}")
    return ended.output
