"""What the tests of probes share."""

from __future__ import annotations

import pytest

from shared.telemetry import Telemetry, start_telemetry


@pytest.fixture
def telemetry() -> Telemetry:
    return start_telemetry("executor", publish=None)
