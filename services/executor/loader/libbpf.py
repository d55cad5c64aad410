"""libbpf's C API through ctypes: only the calls the loader makes.

Errors become `LibbpfError`, and the library's chatter is kept off stderr.

Signatures are those of libbpf.h 1.4 (libbpf.map names the version that brought each in). ctypes
releases the GIL around every call, so a slow load or attach blocks no other thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections import deque
from contextlib import contextmanager
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from typing import TYPE_CHECKING, Any

from shared.errors import MachineError, SchedulerError

if TYPE_CHECKING:
    from collections.abc import Iterator

# 1.4 is the first whose struct_ops maps show their initial value, where name and timeout go.
NEEDED = (1, 4)
SONAME = "libbpf.so.1"

# include/uapi/linux/bpf.h
MAP_TYPE_STRUCT_OPS = 26
BPF_F_LINK = 1 << 13
# include/linux/bpf_verifier.h
BPF_LOG_STATS = 4
# Kernel-internal, yet it reaches user space when a JIT is off (include/linux/errno.h).
ENOTSUPP = 524

_LEVEL_DEBUG = 2
_MESSAGES_KEPT = 200
_MESSAGE_BYTES = 4096


class LibbpfError(SchedulerError):
    """A libbpf call failed: `errno`, the call's name, and what libbpf said meanwhile."""

    def __init__(self, code: int, call: str, messages: list[str]) -> None:
        super().__init__(
            f"{call} failed", expected="success", got="; ".join([errno_text(code), *messages[-3:]])
        )
        self.errno = code
        self.messages = messages


def errno_text(code: int) -> str:
    """`EBUSY (Device or resource busy)`, and the same for the kernel's own 524."""
    if code == ENOTSUPP:
        return "ENOTSUPP (operation not supported by this kernel's set-up)"
    return f"{errno.errorcode.get(code, str(code))} ({os.strerror(code)})"


class OpenOptions(Structure):
    """`struct bpf_object_open_opts`, up to the kernel's log."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", c_char_p),
        ("_unused", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
    )


# name: (result, arguments); libbpf hands errors back as -errno or as NULL with errno set.
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_object__open_file": (c_void_p, (c_char_p, POINTER(OpenOptions))),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__btf": (c_void_p, (c_void_p,)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__set_log_level": (c_int, (c_void_p, c_uint32)),
    "bpf_program__set_log_buf": (c_int, (c_void_p, c_void_p, c_size_t)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    **{
        f"bpf_{kind}_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32)))
        for kind in ("prog", "map", "link")
    },
    **{
        f"bpf_{kind}_get_next_id": (c_int, (c_uint32, POINTER(c_uint32)))
        for kind in ("prog", "map", "link")
    },
    "btf__raw_data": (c_void_p, (c_void_p, POINTER(c_uint32))),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__type": (c_int, (c_void_p,)),
    "bpf_map__map_flags": (c_uint32, (c_void_p,)),
    "bpf_map__pin_path": (c_char_p, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__btf_value_type_id": (c_uint32, (c_void_p,)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "bpf_map__set_initial_value": (c_int, (c_void_p, c_void_p, c_size_t)),
    "bpf_map__lookup_elem": (
        c_int,
        (c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_uint64),
    ),
    "bpf_map__attach_struct_ops": (c_void_p, (c_void_p,)),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_link_detach": (c_int, (c_int,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "libbpf_major_version": (c_uint32, ()),
    "libbpf_minor_version": (c_uint32, ()),
}

_PrintFunction = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)


class Libbpf:
    """The library, checked and silenced. There is one in a process: see `libbpf()`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._heard = threading.local()
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._library = library
        self.version: tuple[int, int] = (
            library.libbpf_major_version(),
            library.libbpf_minor_version(),
        )
        # libbpf keeps only the pointer: the callback must live as long as the library.
        self._print = _PrintFunction(self._on_print)
        # On x86-64 and arm64 alike a va_list argument arrives as one pointer.
        self._format = ctypes.CDLL(None).vsnprintf
        self._format.restype = c_int
        self._format.argtypes = (c_void_p, c_size_t, c_char_p, c_void_p)
        library.libbpf_set_print.argtypes = (_PrintFunction,)
        library.libbpf_set_print.restype = c_void_p
        library.libbpf_set_print(self._print)

    def _on_print(self, level: int, template: bytes, arguments: int) -> int:
        messages: deque[str] | None = getattr(self._heard, "messages", None)
        if level >= _LEVEL_DEBUG or messages is None:
            return 0
        text = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._format(text, _MESSAGE_BYTES, template, arguments)
        messages.append(text.value.decode(errors="replace").strip().removeprefix("libbpf: "))
        return 0

    @contextmanager
    def listening(self) -> Iterator[deque[str]]:
        """What libbpf says on this thread meanwhile, oldest first, at most 200 messages."""
        heard: deque[str] = deque(maxlen=_MESSAGES_KEPT)
        outer = getattr(self._heard, "messages", None)
        self._heard.messages = heard
        try:
            yield heard
        finally:
            self._heard.messages = outer

    def call(self, name: str, *arguments: Any) -> Any:
        """Call `name`; raise `LibbpfError` for -errno, and for NULL with errno set."""
        with self.listening() as heard:
            ctypes.set_errno(0)
            result = getattr(self._library, name)(*arguments)
            code = ctypes.get_errno()
        returns_pointer = _SIGNATURES[name][0] in (c_void_p, c_char_p)
        if returns_pointer and result is None and code:
            raise LibbpfError(code, name, list(heard))
        if isinstance(result, int) and result < 0:
            raise LibbpfError(-result, name, list(heard))
        return result


@cache
def libbpf() -> Libbpf:
    """The machine's libbpf, or a `MachineError` that says which one is needed."""
    needed = ".".join(map(str, NEEDED))
    advice = f"Install libbpf {needed} or newer (Debian 13, Ubuntu 24.10: apt install libbpf1)."
    try:
        library = ctypes.CDLL(SONAME, use_errno=True)
    except OSError as error:
        raise MachineError(
            "cannot load schedulers here",
            expected=f"{SONAME} {needed} or newer",
            got=str(error),
            advice=advice,
        ) from error
    found: tuple[int, int] = (library.libbpf_major_version(), library.libbpf_minor_version())
    if found < NEEDED:
        raise MachineError(
            "this machine's libbpf is too old to load schedulers",
            expected=f"{needed} or newer",
            got=".".join(map(str, found)),
            advice=advice,
        )
    return Libbpf(library)
