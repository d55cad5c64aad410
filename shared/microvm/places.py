"""Where the lab keeps things: the checkout, the cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CHECKOUT = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """Where built images stay between runs; `COX_CACHE` names another place."""
    named = os.environ.get("COX_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("coxswain"))
