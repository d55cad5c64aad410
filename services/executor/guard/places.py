"""Where the guard is found, and where it keeps its notes."""

from __future__ import annotations

import os
from pathlib import Path


def socket_path() -> Path:
    """COX_GUARD_SOCKET, or where its unit has it."""
    return Path(os.environ.get("COX_GUARD_SOCKET", "/run/cox-guard/guard.sock"))


def state_dir() -> Path:
    """COX_GUARD_STATE, or where its unit has it."""
    return Path(os.environ.get("COX_GUARD_STATE", "/var/lib/cox-guard"))
