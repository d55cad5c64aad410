"""What nats-py raises when the server is away, in one place."""

from __future__ import annotations

from typing import Final

from nats.errors import Error

AWAY: Final = (Error, OSError)
"""OSError is also what a timeout and a broken connection are."""
