"""A small search: a policy's defaults, and neighbours of its most telling parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.parameters import Parameter
    from shared.policies import Manifest

STEP = 4
"""How far a neighbour is: a factor for what is scaled by logarithm."""


def neighbours(policy: Manifest) -> list[tuple[dict[str, int], str]]:
    """Parameter sets one step away, the manifest's first parameter first, each with a reason."""
    found = []
    for parameter in policy.parameter:
        for value in _steps(parameter):
            values = {**policy.defaults, parameter.name: value}
            found.append(
                (
                    values,
                    f"{parameter.name} {value} {parameter.unit} in place of {parameter.default}",
                )
            )
    return found


def _steps(parameter: Parameter) -> list[int]:
    """One step down and one up, inside the bounds."""
    if parameter.scale == "log":
        wanted = (parameter.default // STEP, parameter.default * STEP)
    else:
        stride = max(1, (parameter.high - parameter.low) // STEP)
        wanted = (parameter.default - stride, parameter.default + stride)
    inside = [min(max(value, parameter.low), parameter.high) for value in wanted]
    return [value for value in dict.fromkeys(inside) if value != parameter.default]
