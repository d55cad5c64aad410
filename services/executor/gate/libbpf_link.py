"""Static linking by libbpf's own linker (src/linker.c), as a program: OUTPUT FRAME HOOKS.

A program, because libbpf trusts the objects it reads: some that are broken end the process that
reads them. It is started by path and imports nothing of ours, so that it starts quickly.

Exit code: 0, or 1 with the reason on stderr, or 2 where libbpf is missing.
"""

import ctypes
import os
import sys


def main(output: str, objects: list[str]) -> int:
    """Link; the last line on stderr says why not."""
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as missing:
        sys.stderr.write(f"{missing}\n")
        return 2
    library.bpf_linker__new.restype = ctypes.c_void_p
    library.bpf_linker__new.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    library.bpf_linker__add_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    library.bpf_linker__finalize.argtypes = [ctypes.c_void_p]
    # What it prints holds paths; the errno says enough.
    library.libbpf_set_print.restype = ctypes.c_void_p
    library.libbpf_set_print.argtypes = [ctypes.c_void_p]
    library.libbpf_set_print(None)
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
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
