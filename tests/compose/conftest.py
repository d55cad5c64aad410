from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.compose.engine import Fleet, obstacle
from tests.compose.receiver import Receiver


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Fleet]:
    """The whole of compose.yaml; every test of this folder uses the same."""
    reason = obstacle()
    if reason:
        pytest.skip(f"NO FLEET OF CONTAINERS WAS TESTED: {reason}")
    project = f"coxtest{uuid.uuid4().hex[:8]}"
    fleet = Fleet(project, tmp_path_factory.mktemp("secrets"), receiver.port)
    try:
        fleet.up()
        yield fleet
    finally:
        fleet.down()
