"""A policy's compiled object, opened by libbpf: what it holds, before and after the load.

The contract with the frame (bpf/frame): one struct_ops map `coxswain_ops` in section
`.struct_ops.link`; parameters in `.rodata`; `cox_exit` in `.data.exit`; `cox_exit_dump` in
`.data.dump`; per-CPU arrays `cox_counters` (named by enum `cox_counter`) and `cox_wait_hist`.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
from typing import TYPE_CHECKING, NamedTuple

from services.executor.loader import failures, rodata, verifier_log
from services.executor.loader.btf import Btf
from services.executor.loader.census import Ids, Kind
from services.executor.loader.libbpf import (
    BPF_F_LINK,
    BPF_LOG_STATS,
    MAP_TYPE_STRUCT_OPS,
    LibbpfError,
    OpenOptions,
    libbpf,
)
from services.executor.loader.verified import Verified, verified
from shared.errors import InputError, MachineError, SchedulerError, VerifierError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from services.executor.loader.btf import Member, Variable
    from services.executor.loader.sealed import Sealed

OPS_MAP = "coxswain_ops"
RODATA = ".rodata"
_LOG_BYTES = 1 << 20
_STATISTICS_BYTES = 4096
_NAME_BYTES = 128
_INFO_BYTES = 256
"""Room for any `struct bpf_*_info` of which the beginning counts."""


class Section(NamedTuple):
    """A map of libbpf's for one data section."""

    pointer: int
    size: int


class PolicyObject:
    """One opened object. `close` frees it; after that nothing else may be called.

    Not safe for use by several threads at once: `LoadedScheduler` takes care of that.
    """

    def __init__(self, sealed: Sealed) -> None:
        self._lib = libbpf()
        self._sealed = sealed  # libbpf reads the ELF from there until the load
        self._log = ctypes.create_string_buffer(_LOG_BYTES)
        self._logs = [self._log]
        """Where the verifier writes: the last that has anything is of what was loaded last."""
        options = OpenOptions(
            sz=ctypes.sizeof(OpenOptions),
            object_name=b"coxswain",
            kernel_log_buf=ctypes.cast(self._log, ctypes.c_void_p),
            kernel_log_size=_LOG_BYTES,
        )
        try:
            self._pointer: int | None = self._lib.call(
                "bpf_object__open_file", sealed.path.encode(), ctypes.byref(options)
            )
        except LibbpfError as error:
            raise failures.of_machine(error, "open") or InputError(
                "this is no BPF object the loader can open",
                expected="an ELF object made by clang -target bpf -g",
                got="; ".join(error.messages[-3:]) or str(error),
            ) from error
        try:
            self._btf = self._read_btf()
            self._maps = {
                self._name(pointer): pointer for pointer in self._iterate("bpf_object__next_map")
            }
            self._check()
        except BaseException:
            self.close()
            raise

    def _read_btf(self) -> Btf:
        pointer = self._lib.call("bpf_object__btf", self._pointer)
        if pointer is None:
            raise InputError(
                "this BPF object has no type information",
                expected="a .BTF section",
                got="none",
                advice="Compile with clang -g.",
            )
        size = ctypes.c_uint32()
        raw = self._lib.call("btf__raw_data", pointer, ctypes.byref(size))
        return Btf(ctypes.string_at(raw, size.value))

    def _iterate(self, following: str) -> Iterator[int]:
        pointer = self._lib.call(following, self._pointer, None)
        while pointer is not None:
            yield pointer
            pointer = self._lib.call(following, self._pointer, pointer)

    def _name(self, pointer: int) -> str:
        """A map's name; libbpf puts the object's before `.rodata`, `.data` and `.bss`."""
        name: str = self._lib.call("bpf_map__name", pointer).decode(errors="replace")
        return name if name.startswith(".") or "." not in name else name[name.index(".") :]

    def _check(self) -> None:
        """One struct_ops map, ours, held by a link; nothing pinned."""
        kinds = {name: self._lib.call("bpf_map__type", p) for name, p in self._maps.items()}
        ops = sorted(name for name, kind in kinds.items() if kind == MAP_TYPE_STRUCT_OPS)
        if ops != [OPS_MAP]:
            raise InputError(
                "this object is no Coxswain policy",
                expected=f"exactly one struct_ops map, named {OPS_MAP}",
                got=", ".join(ops) or "none",
                advice="Build policies on the frame in bpf/frame.",
            )
        flags = self._lib.call("bpf_map__map_flags", self._maps[OPS_MAP])
        if not flags & BPF_F_LINK:
            raise InputError(
                "this policy would outlive the process that loads it",
                expected=f"{OPS_MAP} in section .struct_ops.link",
                got="section .struct_ops",
            )
        pinned = sorted(n for n, p in self._maps.items() if self._lib.call("bpf_map__pin_path", p))
        if pinned:
            raise InputError(
                "this policy pins maps, which would outlive it",
                expected="no map with a pinning attribute",
                got=", ".join(pinned),
            )

    # -- before the load ---------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Variable]:
        """Variables in `.rodata`: parameters and `frame_*` tunables."""
        return self._btf.variables(RODATA)

    def set_parameters(self, values: Mapping[str, int]) -> None:
        """Set variables in `.rodata`; `InputError` for unknown names and values out of range."""
        section = self._initial(RODATA)
        image = b"" if section is None else ctypes.string_at(section.pointer, section.size)
        patched = rodata.patch(image, self.parameters, values)
        if values:
            self._lib.call("bpf_map__set_initial_value", self._maps[RODATA], patched, len(patched))

    def set_ops(self, *, name: str, timeout_ms: int, hotplug_seq: int) -> None:
        """Write the scheduler's name, watchdog timeout and hotplug count into its ops.

        The kernel refuses to attach if CPUs came or went after `hotplug_seq` was read.
        """
        section = self._initial(OPS_MAP)
        if section is None:
            raise InputError(
                "the struct_ops map shows no initial value", expected="one", got="none"
            )
        type_id = self._lib.call("bpf_map__btf_value_type_id", self._maps[OPS_MAP])
        members = self._btf.members(type_id)
        encoded = name.encode().ljust(_NAME_BYTES, b"\0")
        self._write(section, members, "name", encoded)
        self._write(section, members, "timeout_ms", struct.pack("=I", timeout_ms))
        if "hotplug_seq" in members:
            self._write(section, members, "hotplug_seq", struct.pack("=Q", hotplug_seq))

    def _write(
        self, section: Section, members: Mapping[str, Member], name: str, value: bytes
    ) -> None:
        if name not in members or members[name].offset + len(value) > section.size:
            raise InputError(
                f"the policy's struct sched_ext_ops has no usable member {name!r}",
                expected="the frame's declaration of struct sched_ext_ops",
                got=", ".join(members),
            )
        ctypes.memmove(section.pointer + members[name].offset, value, len(value))

    def _initial(self, name: str) -> Section | None:
        if name not in self._maps:
            return None
        size = ctypes.c_size_t()
        pointer = self._lib.call("bpf_map__initial_value", self._maps[name], ctypes.byref(size))
        return None if pointer is None else Section(pointer, size.value)

    # -- the load ----------------------------------------------------------------------------

    def verify(self) -> dict[str, Verified]:
        """Load as `load` does, and have the verifier say of each program what it has cost.

        Of one that it refuses it says why, and not, as for `load`, how it came there.
        """
        logs = {}
        for program in self._iterate("bpf_object__next_program"):
            name = self._lib.call("bpf_program__name", program).decode(errors="replace")
            logs[name] = log = ctypes.create_string_buffer(_STATISTICS_BYTES)
            self._logs.append(log)
            self._lib.call("bpf_program__set_log_level", program, BPF_LOG_STATS)
            self._lib.call("bpf_program__set_log_buf", program, log, _STATISTICS_BYTES)
        self.load()
        return {name: verified(log.value.decode(errors="replace")) for name, log in logs.items()}

    def load(self) -> None:
        """Create the maps and have the kernel verify the programs."""
        try:
            self._lib.call("bpf_object__load", self._pointer)
        except LibbpfError as error:
            raise self._load_failure(error) from error

    def _load_failure(self, error: LibbpfError) -> SchedulerError | MachineError:
        if error.errno in failures.SCARCE and (scarce := failures.of_machine(error, "load")):
            return scarce  # whatever the verifier had to say until then
        said_last = next((log.value for log in reversed(self._logs) if log.value), b"")
        log = said_last.decode(errors="replace")
        said = [m for m in error.messages if "failed" in m or "rror" in m] or error.messages
        if log.strip():
            return VerifierError(
                "the kernel's verifier rejected the policy",
                expected="programs the kernel can prove safe",
                got=said[0] if said else str(error),
                advice="The end of the log names the instruction and the reason.",
                log=verifier_log.trim(log),
            )
        return failures.of_machine(error, "load") or SchedulerError(
            "the policy could not be loaded",
            expected="an object that fits this kernel",
            got="; ".join(said[-4:]) or str(error),
            advice="Kernel functions or types it needs may be missing here; see bpf/include.",
        )

    def attach(self) -> int:
        """Attach the ops; the link's address. Raises `LibbpfError`."""
        link: int = self._lib.call("bpf_map__attach_struct_ops", self._maps[OPS_MAP])
        return link

    def ids(self, link: int | None = None) -> Ids:
        """What the kernel calls everything of this object, once it is loaded; with its link's."""
        return Ids(
            programs=self._ids_of("prog", "program", self._iterate("bpf_object__next_program")),
            maps=self._ids_of("map", "map", self._iterate("bpf_object__next_map")),
            links=self._ids_of("link", "link", [] if link is None else [link]),
        )

    def _ids_of(self, kind: Kind, noun: str, pointers: Iterable[int]) -> frozenset[int]:
        found: set[int] = set()
        for pointer in pointers:
            # What this kernel has no use for is not loaded, and has no descriptor.
            with contextlib.suppress(LibbpfError):
                found.add(self._id(kind, self._lib.call(f"bpf_{noun}__fd", pointer)))
        return frozenset(found)

    def _id(self, kind: Kind, descriptor: int) -> int:
        """In `struct bpf_prog_info`, `bpf_map_info` and `bpf_link_info` alike: type, then id."""
        info = ctypes.create_string_buffer(_INFO_BYTES)
        size = ctypes.c_uint32(_INFO_BYTES)
        self._lib.call(f"bpf_{kind}_get_info_by_fd", descriptor, info, ctypes.byref(size))
        (number,) = struct.unpack_from("=I", info.raw, 4)
        return int(number)

    def detach(self, link: int) -> None:
        """Drop the link and everything it holds in the kernel."""
        # Detached by name first: another process may be holding the link's descriptor for a
        # moment (bpftool does), and then closing ours would change nothing. Whether it worked
        # is for sysfs to say.
        with contextlib.suppress(LibbpfError):
            self._lib.call("bpf_link_detach", self._lib.call("bpf_link__fd", link))
        self._lib.call("bpf_link__destroy", link)

    # -- after the load ----------------------------------------------------------------------

    def read_section(self, name: str) -> bytes:
        """A data section's present content."""
        return self._lookup(name, 0, self._lib.call("bpf_map__value_size", self._map(name)))

    def read_per_cpu(self, name: str) -> list[tuple[int, ...]]:
        """A per-CPU array of u64: for each entry the values of all possible CPUs."""
        entries = self._lib.call("bpf_map__max_entries", self._map(name))
        cpus = self._lib.call("libbpf_num_possible_cpus")
        layout = struct.Struct(f"={cpus}Q")
        return [layout.unpack(self._lookup(name, index, layout.size)) for index in range(entries)]

    def enumerators(self, name: str) -> dict[str, int]:
        """Values of one of the object's enums, by name."""
        return self._btf.enumerators(name)

    def has_map(self, name: str) -> bool:
        """The object has a map (or a data section) of that name."""
        return name in self._maps

    def _map(self, name: str) -> int:
        if name not in self._maps:
            raise InputError(
                f"this policy has no map {name}",
                expected="a policy built on the frame in bpf/frame",
                got=", ".join(sorted(self._maps)),
            )
        return self._maps[name]

    def _lookup(self, name: str, index: int, size: int) -> bytes:
        key = ctypes.c_uint32(index)
        value = ctypes.create_string_buffer(size)
        self._lib.call(
            "bpf_map__lookup_elem", self._map(name), ctypes.byref(key), 4, value, size, 0
        )
        return value.raw

    def close(self) -> None:
        """Free the object and its descriptors; again does nothing."""
        if self._pointer is not None:
            self._lib.call("bpf_object__close", self._pointer)
            self._pointer = None
            self._sealed.close()
