"""The gate: from a policy's source to an object that may be loaded, or reasons why not.

`build` runs the stages in order; each says yes or no with reasons and evidence. Nothing here
touches the kernel or the bus.
"""

from services.executor.gate.pipeline import (
    Accepted,
    BuildRequest,
    Rejected,
    build,
    check_object,
)
from services.executor.gate.workshop import Workshop

__all__ = ["Accepted", "BuildRequest", "Rejected", "Workshop", "build", "check_object"]
