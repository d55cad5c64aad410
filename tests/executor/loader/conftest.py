"""A lab guest with the loader's test objects in it, booted once for the tests on a kernel."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shared.microvm import Microvm, ensure_image

HERE = Path(__file__).parent
IN_GUEST = "tests/loader"
VARIANTS = {"probe": [], "rejected": ["REJECTED"], "no_link": ["NO_LINK"], "two_ops": ["TWO_OPS"]}

Scenario = Callable[[str], Awaitable[dict[str, Any]]]


def compile_object(source: Path, target: Path, defines: list[str]) -> None:
    subprocess.run(
        [
            *("clang-19", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror"),
            *("-nostdinc", *(f"-D{name}" for name in defines)),
            *("-c", str(source), "-o", str(target)),
        ],
        check=True,
    )


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe scheduler's object and its variants."""
    folder = tmp_path_factory.mktemp("objects")
    for variant, defines in VARIANTS.items():
        compile_object(HERE / "fixtures/probe.bpf.c", folder / f"{variant}.bpf.o", defines)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scenario(objects: Path) -> AsyncIterator[Scenario]:
    """Runs one of in_guest.py's scenarios on a real kernel and returns what it saw."""
    image = await ensure_image()
    names = [f"{variant}.bpf.o" for variant in VARIANTS]
    files = {f"{IN_GUEST}/{name}": objects / name for name in names}
    files[f"{IN_GUEST}/in_guest.py"] = HERE / "in_guest.py"
    async with Microvm(image, name="loader", cpus=2, files=files, network=False) as guest:

        async def run(name: str) -> dict[str, Any]:
            folder = f"/opt/coxswain/src/{IN_GUEST}"
            code, output = await guest.run(
                ["python3", f"{folder}/in_guest.py", name, folder], timeout_s=180
            )
            assert code == 0, output
            facts: dict[str, Any] = json.loads(output.splitlines()[-1])
            facts["output"] = output
            return facts

        yield run
