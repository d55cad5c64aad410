"""Static linking by libbpf's own linker (src/linker.c), run by cell.py: OUTPUT OBJECT...

In the jail, because libbpf trusts the objects it reads: some that are broken end the process that
reads them. It imports nothing of ours, so that it starts quickly.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def prepare() -> Callable[[list[str]], int]:
    """The linker, with its library loaded. Raises OSError where libbpf is missing."""
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    library.bpf_linker__new.restype = ctypes.c_void_p
    library.bpf_linker__new.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    library.bpf_linker__add_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    library.bpf_linker__finalize.argtypes = [ctypes.c_void_p]
    # The errno says enough.
    library.libbpf_set_print.restype = ctypes.c_void_p
    library.libbpf_set_print.argtypes = [ctypes.c_void_p]
    library.libbpf_set_print(None)
    return partial(link, library)


def link(library: ctypes.CDLL, command: list[str]) -> int:
    """0, or 1 and on stderr why not."""
    output, *objects = command
    # libbpf believes that libelf says why in errno. It does not always, and what libbpf takes for
    # no error it goes on with: into nothing.
    ctypes.set_errno(errno.EINVAL)
    linker = library.bpf_linker__new(os.fsencode(output), None)
    if not linker:
        return failed("at the start", ctypes.get_errno())
    for number, path in enumerate(objects, start=1):
        error = library.bpf_linker__add_file(linker, os.fsencode(path), None)
        if error:
            return failed(f"object {number}", error)
    error = library.bpf_linker__finalize(linker)
    return failed("at the end", error) if error else 0


def failed(where: str, error: int) -> int:
    """Say so."""
    sys.stderr.write(f"{where}: {os.strerror(abs(error))}\n")
    sys.stderr.flush()
    return 1
