"""An artifact's bytes where nobody can change them any more: what was hashed is what is loaded.

A memfd (memfd_create(2)) that is sealed against writing, growing, shrinking and further seals, and
only then hashed, through its own descriptor. libbpf opens the same file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os

from shared.errors import MachineError

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Sealed:
    """The bytes of one object; `close` gives them back. Raises MachineError."""

    def __init__(self, data: bytes) -> None:
        try:
            self.descriptor = os.memfd_create("artifact", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            raise _unusable(error) from error
        try:
            _write(self.descriptor, data)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, SEALS)
            with open(self.descriptor, "rb", closefd=False) as file:
                file.seek(0)
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            self.close()
            raise _unusable(error) from error

    @property
    def path(self) -> str:
        """Where this process can open them."""
        return f"/proc/self/fd/{self.descriptor}"

    def close(self) -> None:
        """Give the memory back; again does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __del__(self) -> None:
        self.close()


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _unusable(error: OSError) -> MachineError:
    return MachineError(
        "an artifact cannot be sealed in memory",
        expected="memfd_create(2) with seals, and memory for some hundred kilobytes",
        got=str(error),
    )
