"""What this host is, and whether its CPU scheduler can be changed.

Read from /proc, /sys and /etc without any privilege. What cannot be steered is said in
words, in `Inventory.obstacles`, and never raised: a host that cannot be steered can still
be observed.
"""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from shared.messages import Inventory

if TYPE_CHECKING:
    from collections.abc import Mapping

_OURS: Final = "coxswain"
"""Every scheduler of ours has a name that begins with this (bpf/frame)."""

_TEXT_LIMIT: Final = 120
"""Names from firmware and kernel are cut here: the longest honest CPU model has 48 letters."""


def inventory(
    host: str, root: Path = Path("/"), labels: Mapping[str, str] | None = None
) -> Inventory:
    """Look at this machine once; `root` is where its /proc, /sys and /etc stand.

    `labels` are its owner's, told to the service.
    """
    machine = _Machine(root)
    obstacles = [f"{check.found}: {check.advice}" for check in machine.checks() if not check.good]
    return Inventory(
        host=host,
        machine_id=machine.machine_id(),
        boot_id=machine.text("proc/sys/kernel/random/boot_id"),
        kernel=machine.kernel(),
        arch=platform.machine(),
        cpus=len(machine.cpus()),
        cpu_model=machine.cpu_model(),
        threads_per_core=machine.threads_per_core(),
        llcs=machine.llcs(),
        numa_nodes=machine.numa_nodes(),
        memory_bytes=machine.memory_bytes(),
        virtualization=machine.virtualization(),
        sched_ext=not obstacles,
        obstacles=obstacles,
        labels=dict(labels or {}),
        unix_ns=time.time_ns(),
    )


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that sched_ext or we need of a host."""

    what: str
    found: str
    good: bool = True
    advice: str = ""
    """What to do where it is not good."""


def checks(root: Path = Path("/")) -> list[Check]:
    """Everything that decides whether this machine's scheduler can be changed."""
    return _Machine(root).checks()


def cpu_list(text: str) -> list[int]:
    """CPU numbers of the kernel's list format: `0-2,8` is 0, 1, 2, 8 (cpumask_pr_args)."""
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if found:
            first = int(found[1])
            numbers.extend(range(first, int(found[2] or first) + 1))
    return numbers


class _Machine:
    """Reads the files under one root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cpu_folder = root / "sys/devices/system/cpu"

    def text(self, path: str) -> str:
        """A file's printable ASCII, stripped and cut; empty where it cannot be read."""
        return _printable(self._raw(path))

    # Identity --------------------------------------------------------------------------------

    def machine_id(self) -> str:
        """The 32 hex digits of machine-id(5), or empty where the host has none yet."""
        text = self.text("etc/machine-id")
        return text if re.fullmatch(r"[0-9a-f]{32}", text) else ""

    def kernel(self) -> str:
        return self.text("proc/sys/kernel/osrelease")

    # Topology --------------------------------------------------------------------------------

    def cpus(self) -> list[int]:
        """Online CPUs."""
        return cpu_list(self._raw("sys/devices/system/cpu/online")) or sorted(
            int(entry.name[3:]) for entry in self._cpu_folder.glob("cpu[0-9]*")
        )

    def threads_per_core(self) -> int:
        siblings = (
            cpu_list(self._raw(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
            for cpu in self.cpus()
        )
        return max((len(threads) for threads in siblings), default=1) or 1

    def llcs(self) -> int:
        """Last-level caches; where no cache is described, one for each package."""
        groups = {self._last_level_cache(cpu) or self._package(cpu) for cpu in self.cpus()}
        return max(1, len(groups))

    def _last_level_cache(self, cpu: int) -> str:
        """Which CPUs share this one's highest cache, as the kernel lists them."""
        levels: list[tuple[int, str]] = []
        for folder in (self._cpu_folder / f"cpu{cpu}/cache").glob("index[0-9]*"):
            level = _read(folder / "level").strip()
            if level.isdigit():
                levels.append((int(level), _read(folder / "shared_cpu_list").strip()))
        return max(levels)[1] if levels else ""

    def _package(self, cpu: int) -> str:
        return self._raw(f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id").strip()

    def numa_nodes(self) -> int:
        """Nodes that have CPUs; a kernel without NUMA has one."""
        return max(1, len(cpu_list(self._raw("sys/devices/system/node/has_cpu"))))

    def memory_bytes(self) -> int:
        found = re.search(r"^MemTotal:\s+(\d+) kB$", self._raw("proc/meminfo"), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def cpu_model(self) -> str:
        """As /proc/cpuinfo names it (x86 and others; many ARM kernels give no name)."""
        found = re.search(r"^model name\s*:\s*(.+)$", self._raw("proc/cpuinfo"), re.MULTILINE)
        return _printable(found[1]) if found else ""

    # Virtualization --------------------------------------------------------------------------

    def virtualization(self) -> str:
        """none, kvm, qemu-tcg, hyperv, xen, vmware, or vm for another; with `+container`."""
        kind = self._hypervisor()
        return f"{kind}+container" if self._in_container() else kind

    def _hypervisor(self) -> str:
        clocks = self._raw(
            "sys/devices/system/clocksource/clocksource0/available_clocksource"
        ).split()
        if "kvm-clock" in clocks:
            return "kvm"
        if any(clock.startswith("hyperv") for clock in clocks):
            return "hyperv"
        if self._raw("sys/hypervisor/type").strip() == "xen":
            return "xen"
        vendor = self.text("sys/class/dmi/id/sys_vendor")
        if "QEMU" in vendor:
            return "qemu-tcg"  # under KVM a kernel has its clock
        if vendor.startswith("VMware"):
            return "vmware"
        flags = re.search(r"^flags\s*:(.*)$", self._raw("proc/cpuinfo"), re.MULTILINE)
        virtual = flags is not None and "hypervisor" in flags[1].split()
        return "vm" if virtual else "none"

    def _in_container(self) -> bool:
        marks = ("run/systemd/container", "run/.containerenv", ".dockerenv")
        return any((self._root / mark).exists() for mark in marks)

    # sched_ext -------------------------------------------------------------------------------

    def checks(self) -> list[Check]:
        """What keeps us from changing the scheduler, and what does not."""
        return [
            self._sched_ext(),
            self._types(),
            self._compiler(),
            self._preemption(),
            self._isolation(),
            self._attached(),
            self._identity(),
        ]

    def _sched_ext(self) -> Check:
        kernel = self.kernel() or "this kernel"
        if (self._root / "sys/kernel/sched_ext").is_dir():
            return Check(what="kernel", found=f"{kernel} has sched_ext")
        return Check(
            what="kernel",
            good=False,
            found=f"{kernel} has no sched_ext (/sys/kernel/sched_ext is missing)",
            advice="boot a kernel with CONFIG_SCHED_CLASS_EXT, 6.12 or later",
        )

    def _types(self) -> Check:
        if (self._root / "sys/kernel/btf/vmlinux").exists():
            return Check(what="kernel's types (BTF)", found="/sys/kernel/btf/vmlinux")
        kernel = self.kernel() or "this kernel"
        return Check(
            what="kernel's types (BTF)",
            good=False,
            found=f"{kernel} describes no types (/sys/kernel/btf/vmlinux is missing)",
            advice="boot a kernel with CONFIG_DEBUG_INFO_BTF",
        )

    def _compiler(self) -> Check:
        setting = self._raw("proc/sys/net/core/bpf_jit_enable").strip()
        if setting != "0":
            return Check(
                what="kernel's BPF compiler (JIT)",
                found="on" if setting else "the kernel does not say; taken to be on",
            )
        return Check(
            what="kernel's BPF compiler (JIT)",
            good=False,
            found="the BPF compiler is off",
            advice="set sysctl net.core.bpf_jit_enable=1",
        )

    def _preemption(self) -> Check:
        realtime = self._raw("sys/kernel/realtime").strip() == "1" or (
            "PREEMPT_RT" in self._raw("proc/version")
        )
        if not realtime:
            return Check(what="PREEMPT_RT", found="not built in")
        kernel = self.kernel() or "this kernel"
        return Check(
            what="PREEMPT_RT",
            good=False,
            found=f"{kernel} is built with PREEMPT_RT, which sched_ext refuses to run on",
            advice="boot a kernel without it",
        )

    def _isolation(self) -> Check:
        isolated = self._isolated()
        if not isolated:
            return Check(what="isolated CPUs", found="none")
        return Check(
            what="isolated CPUs",
            good=False,
            found=f"CPUs {isolated} are isolated from the scheduler",
            advice="boot without isolcpus=",
        )

    def _attached(self) -> Check:
        attached = self.text("sys/kernel/sched_ext/root/ops")
        if not attached:
            return Check(what="scheduler", found="the kernel's default")
        if attached.startswith(_OURS):
            return Check(what="scheduler", found=f"{attached}, which is ours")
        return Check(
            what="scheduler",
            good=False,
            found=f"another scheduler is attached ({attached!r}) and is left alone",
            advice="stop the program that holds it",
        )

    def _identity(self) -> Check:
        identity = self.machine_id()
        if identity:
            return Check(what="identity", found=identity)
        return Check(
            what="identity",
            good=False,
            found="the host has no identity (/etc/machine-id is missing or empty)",
            advice="run systemd-machine-id-setup",
        )

    def _isolated(self) -> str:
        """CPUs outside the scheduling domains; `isolcpus=nohz,…` alone takes none out of them.

        Kernels that do not list them (no `isolated` file) are judged by their command line.
        """
        if (self._cpu_folder / "isolated").exists():
            return self.text("sys/devices/system/cpu/isolated")
        asked = re.search(r"\bisolcpus=(\S+)", self._raw("proc/cmdline"))
        return _printable(asked[1]) if asked else ""

    def _raw(self, path: str) -> str:
        return _read(self._root / path)


def _read(path: Path) -> str:
    """A small kernel file's text; empty where it is missing, forbidden or gone (ENODEV)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return b"".join(iter(lambda: os.read(descriptor, 65_536), b"")).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _printable(text: str) -> str:
    """Printable ASCII only, on one line, cut: what firmware calls itself ends up in prompts."""
    return "".join(c if " " <= c <= "~" else "?" for c in text.strip())[:_TEXT_LIMIT]
