"""What was hashed is what is loaded: nobody can change it in between."""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path

import pytest

from services.executor.loader import Sealed

DATA = bytes(range(256)) * 4096


@pytest.fixture
def sealed() -> Sealed:
    return Sealed(DATA)


def test_it_is_called_by_the_hash_of_what_can_be_read_from_it(sealed: Sealed) -> None:
    assert sealed.sha256 == hashlib.sha256(DATA).hexdigest()
    assert Path(sealed.path).read_bytes() == DATA


def test_nobody_writes_grows_or_shrinks_it(sealed: Sealed) -> None:
    again = os.open(sealed.path, os.O_RDWR)
    try:
        for descriptor in (sealed.descriptor, again):
            with pytest.raises(PermissionError):
                os.pwrite(descriptor, b"x", 0)
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, 1)
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, len(DATA) + 1)
            with pytest.raises(PermissionError):
                mmap.mmap(descriptor, len(DATA), mmap.MAP_SHARED, mmap.PROT_WRITE)
    finally:
        os.close(again)
    assert Path(sealed.path).read_bytes() == DATA


def test_once_closed_its_place_is_nobodys(sealed: Sealed) -> None:
    sealed.close()
    sealed.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pread(sealed.descriptor, 1, 0)
