"""A siege: a scheduler is loaded, beset with tasks that want all CPUs, and watched.

Runs as root in a guest made for it, where no gate is; `python -m services.executor.siege` prints
what it has measured. Judging that is the gate's (services/executor/gate/sandbox).
"""

from services.executor.siege.measured import Measured, Orders, Phase, siege_version

__all__ = ["Measured", "Orders", "Phase", "siege_version"]
