"""What a service's image has of the tree is enough for it to start. No container is needed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from nats.aio.msg import Msg

from shared.bus import Bus
from shared.messages import Heartbeat, decode
from shared.microvm.places import CHECKOUT
from tests.executor.tokens import Signing

IMAGES = CHECKOUT / "deploy/images"
COMMANDS = {
    "planner": ["services.planner"],
    "learner": ["services.learner"],
    "gate": ["services.executor", "--role", "gate"],
}
HEARD_AS = {"planner": "planner", "learner": "learner", "gate": "executor"}


def tree_of(image: str, target: Path) -> None:
    """Copy what `make images` copies into it."""
    spec = importlib.util.spec_from_file_location("images_build", IMAGES / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = build
    spec.loader.exec_module(build)
    recipes = tomllib.loads((IMAGES / "images.toml").read_text())
    build._sources(msgspec.convert(recipes, build.Recipes).images[image], target)


@pytest.mark.parametrize("image", COMMANDS)
async def test_its_part_of_the_tree_is_enough_to_start(
    bus: Bus, nats_url: str, tmp_path: Path, image: str
) -> None:
    tree_of(image, tmp_path / "src")
    signing = Signing(tmp_path)
    alive: asyncio.Future[Heartbeat] = asyncio.get_running_loop().create_future()

    async def hear(message: Msg) -> None:
        beat = decode(message.data, Heartbeat)
        if beat.service == HEARD_AS[image] and not alive.done():
            alive.set_result(beat)

    await bus.nc.subscribe(bus.subjects.heartbeats(), cb=hear)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COX_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *COMMANDS[image]),
        cwd=tmp_path / "src",
        env={
            **clean,
            "PYTHONPATH": str(tmp_path / "src"),
            "COX_NATS_URL": nats_url,
            "COX_NAMESPACE": bus.subjects.namespace,
            "COX_HOME": str(tmp_path / "home"),
            "COX_STATE_DIR": str(tmp_path / "state"),
            "COX_CACHE": str(tmp_path / "cache"),
            "COX_SIGNING_SEEDS": str(signing.keys.seeds),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    ended = asyncio.create_task(process.communicate())
    try:
        async with asyncio.timeout(120):
            await asyncio.wait({alive, ended}, return_when=asyncio.FIRST_COMPLETED)
        assert alive.done(), (await ended)[0].decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await ended
