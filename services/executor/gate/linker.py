"""Static linking of BPF objects by libbpf's own linker (src/linker.c), through ctypes."""

from __future__ import annotations

import ctypes
import os
import threading
from functools import cache
from typing import TYPE_CHECKING

from shared.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_ONE_AT_A_TIME = threading.Lock()


class LinkError(Exception):
    """The linker did not take a file; the text says which and the error's name."""


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise MachineError(
            "libbpf is missing",
            expected="libbpf.so.1",
            got=str(error),
            advice="Install the package libbpf1.",
        ) from error
    library.bpf_linker__new.restype = ctypes.c_void_p
    library.bpf_linker__new.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    library.bpf_linker__add_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    library.bpf_linker__finalize.argtypes = [ctypes.c_void_p]
    library.bpf_linker__free.argtypes = [ctypes.c_void_p]
    # What it prints holds paths and goes to stderr; the errno says enough.
    library.libbpf_set_print.restype = ctypes.c_void_p
    library.libbpf_set_print.argtypes = [ctypes.c_void_p]
    library.libbpf_set_print(None)
    return library


def link(objects: Sequence[Path], output: Path) -> bytes:
    """One object out of several, without debug data other than BTF. Raises LinkError."""
    library = _library()
    with _ONE_AT_A_TIME:
        linker = library.bpf_linker__new(os.fsencode(output), None)
        if not linker:
            raise LinkError(f"no linker: {os.strerror(ctypes.get_errno())}")
        try:
            for path in objects:
                error = library.bpf_linker__add_file(linker, os.fsencode(path), None)
                if error:
                    raise LinkError(f"{path.name}: {os.strerror(abs(error))}")
            error = library.bpf_linker__finalize(linker)
            if error:
                raise LinkError(f"at the end: {os.strerror(abs(error))}")
        finally:
            library.bpf_linker__free(linker)
    return output.read_bytes()
