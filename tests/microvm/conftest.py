"""One booted guest for all tests of a module that only look at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from shared.microvm import Image, Microvm, ensure_image

SETTINGS = {"COX_TEST": 'a "quoted" $value', "COX_NATS_URL": "nats://10.0.2.2:9"}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def image() -> Image:
    return await ensure_image()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guest(image: Image, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Microvm]:
    folder: Path = tmp_path_factory.mktemp("files")
    (folder / "extra.py").write_text("print('extra', __cached__ is not None)\n")
    async with Microvm(
        image, name="under-test", settings=SETTINGS, files={"tests/extra": folder}
    ) as guest:
        yield guest
