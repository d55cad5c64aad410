"""`cox doctor`: what this machine can do, and what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from rich.text import Text

from cli.findings import Finding, findings_table
from cli.host_doctor import examine_host
from cli.output import print_json, show
from services.executor.gate.sandbox.pool import sandbox_image
from services.executor.gate.toolchain import find_toolchain
from services.executor.gate.workshop import Workshop
from shared.bus.server import find_server
from shared.errors import CoxswainError
from shared.microvm.accel import choose_accel
from shared.microvm.image import cached_image
from shared.microvm.places import cache_dir
from shared.microvm.recipe import Recipe
from shared.settings import Settings, state_home

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAB_DISK_GIB = 6.0
"""A Debian root, its image and two guests' disks, with room to breathe."""
LAB_MEMORY_GIB = 3.0
"""Two guests of 1 GiB, and the rest of us."""


async def examine() -> list[Finding]:
    """Look at everything; nothing is changed. `bad` is what `make demo` needs and is missing."""
    return [
        _python(),
        _attempt("NATS server", find_server, "Run `make setup`."),
        _attempt("BPF compiler", lambda: find_toolchain().version, "Install clang-19."),
        _attempt("compile jail", _jail, "docs/jail.md says what it needs."),
        _program("QEMU", "qemu-system-x86_64", "Install qemu-system-x86."),
        _program("Debian image tool", "mmdebstrap", "Install mmdebstrap."),
        *await _lab(),
        _sandbox(Settings.from_environment()),
        _root(),
        _memory(),
        _disk("disk for the cache", cache_dir()),
        _disk("disk for the state", state_home()),
    ]


async def doctor(*, host: bool, as_json: bool) -> int:
    """Show it; 1 if something that is needed is missing.

    With `host` it is about being a host, and about nothing else.
    """
    machine = [] if host else await examine()
    itself = examine_host(needed=host)
    findings = [*machine, *itself]
    bad = [finding for finding in findings if finding.standing == "bad"]
    if as_json:
        print_json({"type": "doctor", "healthy": not bad, "findings": findings})
        return 1 if bad else 0
    if machine:
        show(findings_table(machine))
        show(Text("\nThis machine as a host of its own (lab hosts need none of it)", "bold"))
    show(findings_table(itself))
    if bad:
        purpose = "to be a host" if host else "for lab hosts and `make demo`"
        show(Text(f"\n{len(bad)} missing {purpose}.", style="red"))
    else:
        ready = "This machine can be a host." if host else "This machine can run everything."
        show(Text(f"\n{ready}", style="green"))
    return 1 if bad else 0


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(what="Python", standing="good", found=version)


def _attempt(what: str, find: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(what=what, standing="good", found=find())
    except CoxswainError as error:
        found = f"{error.what}: {error.got}" if error.got else error.what
        return Finding(what=what, standing="bad", found=found, advice=error.advice or advice)


def _jail() -> str:
    workshop = Workshop()
    workshop.check_jail()
    return f"holds, and {workshop.jail.program.name} works in it"


def _program(what: str, name: str, advice: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(what=what, standing="bad", found=f"{name} is missing", advice=advice)
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return Finding(what=what, standing="good", found=answer.stdout.partition("\n")[0] or path)


async def _lab() -> list[Finding]:
    """The lab's image, and whether guests run on KVM: found out by booting one."""
    image = cached_image(Recipe.load())
    if image is None:
        return [
            Finding(
                what="lab image",
                standing="note",
                found="not built yet",
                advice="The first `cox lab up` builds it in a few minutes.",
            )
        ]
    accel = await choose_accel(image)
    found = (
        "KVM boots a kernel here" if accel == "kvm" else "emulated (TCG): KVM boots nothing here"
    )
    return [
        Finding(what="lab image", standing="good", found=f"{image.root}"),
        Finding(what="lab guests", standing="good", found=found),
    ]


def _sandbox(settings: Settings) -> Finding:
    """Whether a gate that is started here besieges what it builds."""
    what = "gate's sandbox"
    try:
        image = sandbox_image()
    except CoxswainError as error:
        return Finding(
            what=what,
            standing="bad" if settings.sandbox else "note",
            found=f"{'on, but' if settings.sandbox else 'off, and'} {error.what}",
            advice=error.advice,
        )
    if settings.sandbox:
        return Finding(
            what=what, standing="good", found=f"on, with kernel {image.manifest.kernel_release}"
        )
    return Finding(
        what=what,
        standing="note",
        found="off: the canary is the first kernel to load a policy",
        advice="COX_SANDBOX=on has the gate besiege it before.",
    )


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding(what="user", standing="good", found="root")
    return Finding(
        what="user",
        standing="note",
        found="not root",
        advice="Building the lab image and steering this machine need root or sudo.",
    )


def _memory() -> Finding:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 2**30
    return Finding(
        what="free memory",
        standing="good" if gib >= LAB_MEMORY_GIB else "note",
        found=f"{gib:.1f} GiB",
        advice=f"Two lab hosts want {LAB_MEMORY_GIB:.0f} GiB, caches not counted.",
    )


def _disk(what: str, path: Path) -> Finding:
    while not path.exists():
        path = path.parent
    gib = shutil.disk_usage(path).free / 2**30
    return Finding(
        what=what,
        standing="good" if gib >= LAB_DISK_GIB else "bad",
        found=f"{gib:.0f} GiB free at {path}",
        advice=f"The lab wants {LAB_DISK_GIB:.0f} GiB; COX_CACHE and COX_HOME name other places.",
    )
