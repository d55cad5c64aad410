"""Our loader over libbpf's C API: a policy's way into the kernel and out of it.

Nothing else is needed on a host than Python and libbpf ≥ 1.4; what it loads was compiled
elsewhere (CO-RE).
"""

from services.executor.loader.failures import (
    AttachRefusedError,
    EnableFailedError,
    StillAttachedError,
)
from services.executor.loader.loaded_scheduler import AttachFacts, LoadedScheduler
from services.executor.loader.sealed import Sealed

__all__ = [
    "AttachFacts",
    "AttachRefusedError",
    "EnableFailedError",
    "LoadedScheduler",
    "Sealed",
    "StillAttachedError",
]
