"""Setting a policy's parameters: integers in `.rodata`, frozen by the kernel at load.

After the load they are constants to the verifier, so a parameter costs nothing at run time.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from shared.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.executor.loader.btf import Variable


def patch(image: bytes, variables: Mapping[str, Variable], values: Mapping[str, int]) -> bytes:
    """The section's image with `values` set; `InputError` names the first that does not fit."""
    patched = bytearray(image)
    for name, value in values.items():
        variable = variables.get(name)
        if variable is None:
            known = ", ".join(sorted(n for n, v in variables.items() if v.scalar)) or "none at all"
            raise InputError(
                f"this policy has no parameter {name!r}",
                expected=f"one of: {known}",
                got=name,
                advice="Compare the policy's manifest with its source.",
            )
        if variable.scalar is None:
            raise InputError(
                f"parameter {name!r} is no number in the policy's object",
                expected="an integer, a bool or an enum",
                got=f"something of {variable.size} bytes",
            )
        size, low, high = variable.scalar
        if not isinstance(value, int) or not low <= value <= high:
            raise InputError(
                f"parameter {name!r} does not fit its variable",
                expected=f"an integer from {low} to {high} ({8 * size} bits)",
                got=repr(value),
            )
        stored = int(value).to_bytes(size, sys.byteorder, signed=low < 0)
        patched[variable.offset : variable.offset + size] = stored
    return bytes(patched)
