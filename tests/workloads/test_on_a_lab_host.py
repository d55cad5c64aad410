"""Every workload of ours on a real host, run as the observer runs it: unprivileged, delegated."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shared.microvm import Microvm, ensure_image
from shared.workloads import Catalogue

HERE = Path(__file__).parent
OURS = Catalogue.load()

pytestmark = [pytest.mark.kernel, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def host() -> AsyncIterator[Microvm]:
    """A lab host without services."""
    image = await ensure_image()
    files = {"tests/workloads/in_guest.py": HERE / "in_guest.py"}
    async with Microvm(image, name="workloads", cpus=2, files=files, network=False) as guest:
        yield guest


UNIT = """
[Service]
Type=oneshot
User=cox-observer
Delegate=yes
NoNewPrivileges=yes
StateDirectory=cox-observer
TimeoutStartSec=600
Environment=PYTHONPATH=/opt/coxswain/src:/opt/coxswain/lib
ExecStart=/usr/bin/python3 /opt/coxswain/src/tests/workloads/in_guest.py {name}
StandardOutput=truncate:/run/measured.out
StandardError=inherit
"""


async def as_observer(host: Microvm, name: str) -> dict[str, Any]:
    """What in_guest.py saw, in a unit like the observer's."""
    await host.put("/run/systemd/system/measured.service", UNIT.format(name=name).encode())
    code, output = await host.run(
        "systemctl daemon-reload; systemctl start measured; code=$?; cat /run/measured.out;"
        " exit $code",
        timeout_s=600,
    )
    assert code == 0, output
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    return seen


@pytest.mark.parametrize("name", list(OURS))
async def test_it_measures(host: Microvm, name: str) -> None:
    seen = await as_observer(host, name)
    assert seen["problem"] is None
    assert set(seen["metrics"]) == set(OURS[name].units)
    assert all(math.isfinite(value) and value >= 0 for value in seen["metrics"].values())
    assert seen["uid"] != 0
    assert "/system.slice/" in seen["cgroup"]
    assert seen["in_cgroup"] > 0
    assert not seen["cgroup_left"]
    assert seen["cpu_s"] > 0
