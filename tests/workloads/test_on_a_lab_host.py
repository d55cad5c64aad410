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
from shared.workloads import Catalogue, neighbours_metric

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
ExecStart=/usr/bin/python3 /opt/coxswain/src/tests/workloads/in_guest.py {names}
StandardOutput=truncate:/run/measured.out
StandardError=inherit
"""


async def as_observer(host: Microvm, *names: str) -> dict[str, Any]:
    """What in_guest.py saw of a workload and its neighbours, in a unit like the observer's."""
    unit = UNIT.format(names=" ".join(names)).encode()
    await host.put("/run/systemd/system/measured.service", unit)
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


async def test_two_are_measured_at_once_each_in_its_control_group(host: Microvm) -> None:
    seen = await as_observer(host, "wakeup", "pulse")
    assert seen["problem"] is None
    neighbours = {neighbours_metric("pulse", metric) for metric in OURS["pulse"].units}
    assert set(seen["metrics"]) == set(OURS["wakeup"].units) | neighbours
    assert all(math.isfinite(value) and value >= 0 for value in seen["metrics"].values())
    assert seen["groups"] == 2
    assert seen["in_cgroup"] > 0
    assert not seen["cgroup_left"]
