"""What an image is made of, and the names its content gives it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import msgspec

from shared.errors import MachineError
from shared.microvm.places import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Raise it when the builder makes something else of the same recipe.
BUILDER_VERSION = 2

HOST_TREE = CHECKOUT / "deploy" / "host"
WHEEL_LOCK = CHECKOUT / "requirements" / "host.txt"


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`deploy/host/image.toml`, and the files beside it."""

    suite: str
    kernel: str
    kernel_suite: str
    initrd_modules: tuple[str, ...]
    packages: tuple[str, ...]
    sources: tuple[str, ...]
    exclude: tuple[str, ...]
    size_mb: int

    @classmethod
    def load(cls, path: Path = HOST_TREE / "image.toml") -> Recipe:
        """Read the recipe. Raises MachineError if the checkout has none."""
        try:
            return msgspec.toml.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise MachineError(
                "The lab's image recipe cannot be read",
                expected=f"{path}, as the project ships it",
                got=str(error),
                advice="Restore the file from git.",
            ) from error

    @property
    def root_key(self) -> str:
        """Name of the bare Debian root: what is downloaded from the mirror."""
        fields = msgspec.structs.asdict(self)
        del fields["size_mb"]
        return _digest([json.dumps(fields, sort_keys=True).encode()])

    @property
    def wheels_key(self) -> str:
        """Name of the installed wheels; they are compiled by the root's own Python."""
        return _digest([self.suite.encode(), _lock()])

    @property
    def image_key(self) -> str:
        """Name of the finished image."""
        parts = [self.root_key.encode(), self.wheels_key.encode(), str(self.size_mb).encode()]
        for path in host_files():
            mode = path.stat().st_mode & 0o111
            parts += [f"{path.relative_to(HOST_TREE)} {mode}".encode(), path.read_bytes()]
        return _digest(parts)


def host_files() -> Iterator[Path]:
    """Every file that goes into the image from the checkout."""
    yield HOST_TREE / "guest.masked"
    for folder in ("units", "bin", "guest"):
        yield from sorted(path for path in (HOST_TREE / folder).rglob("*") if path.is_file())


def _lock() -> bytes:
    try:
        return WHEEL_LOCK.read_bytes()
    except OSError as error:
        raise MachineError(
            "The guest's locked Python packages cannot be read",
            expected=f"{WHEEL_LOCK}, as the project ships it",
            got=str(error),
            advice="Restore the file from git.",
        ) from error


def _digest(parts: list[bytes]) -> str:
    whole = hashlib.sha256(str(BUILDER_VERSION).encode())
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:16]
