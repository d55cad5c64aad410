from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.fleet import Fleet


# Idle guests still take time from those that are tested: they go with their folder's last test.
@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two lab hosts and all services; every test of this folder uses the same."""
    with Fleet(tmp_path_factory.mktemp("fleet")).up(2) as fleet:
        yield fleet
