"""A small search: a policy's defaults, and neighbours of its most telling parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.parameters import Parameter
    from shared.policies import Manifest

STEP = 4
"""How far a neighbour is: a factor for what is scaled by logarithm."""


def neighbours(policy: Manifest) -> list[tuple[dict[str, int], str]]:
    """Parameter sets one step from the defaults, the manifest's first parameter first."""
    return around(policy, policy.defaults)


def around(policy: Manifest, middle: dict[str, int]) -> list[tuple[dict[str, int], str]]:
    """Parameter sets one step away, the manifest's first parameter first, each with a reason."""
    found = []
    for parameter in policy.parameter:
        old = middle[parameter.name]
        for value in _steps(parameter, old):
            values = {**middle, parameter.name: value}
            found.append((values, f"{parameter.name} {value} {parameter.unit} in place of {old}"))
    return found


def _steps(parameter: Parameter, old: int) -> list[int]:
    """One step down and one up, inside the bounds."""
    if parameter.scale == "log":
        wanted = (old // STEP, old * STEP)
    else:
        stride = max(1, (parameter.high - parameter.low) // STEP)
        wanted = (old - stride, old + stride)
    inside = [min(max(value, parameter.low), parameter.high) for value in wanted]
    return [value for value in dict.fromkeys(inside) if value != old]
