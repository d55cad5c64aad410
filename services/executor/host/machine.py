"""What machine this is, as a token must say it: read once, for it holds for a boot."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """A host in one boot. `btf_sha256` is empty where the kernel has no BTF."""

    host: str
    machine_id: str
    boot_id: str
    kernel: str
    btf_sha256: str


def this_machine(host: str, root: Path = Path("/")) -> Here:
    """This very machine. Its BTF is some megabytes: this takes a moment."""
    return Here(
        host=host,
        machine_id=_text(root / "etc/machine-id"),
        boot_id=_text(root / "proc/sys/kernel/random/boot_id"),
        kernel=_text(root / "proc/sys/kernel/osrelease"),
        btf_sha256=_sha256(root / "sys/kernel/btf/vmlinux"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
