"""What the jail's tests and the compiler's share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gate.jailed import needs_root


@pytest.fixture(scope="session")
def open_place() -> Iterator[Path]:
    """A directory that every user of this machine may read and write."""
    with tempfile.TemporaryDirectory(prefix="cox-test-gate-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture(params=["root", "user"])
def who(request: pytest.FixtureRequest) -> str:
    if request.param == "root":
        needs_root("the jail that root builds")
    return request.param
