"""The classes of workload behaviour, as the observer names them and policies declare them.

A profile carries one of these names, and a policy's manifest lists under `good_for` those
it was made for. How a class is recognised stands in docs/profiling.md.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

WorkloadClass = Literal[
    "latency-under-load",
    "long-tail-batch",
    "short-process-churn",
    "messaging",
    "cpu-bound",
    "io-bound",
    "idle",
    "mixed",
]
"""latency-under-load   tasks that sleep and wake often, beside hogs that saturate the CPUs
long-tail-batch      many CPU-bound jobs started together, few of them far longer than the rest
short-process-churn  processes come and go all the time, each short: builds, shell scripts
messaging            very many wake-ups and short runs, nobody computes for long
cpu-bound            hogs that compute, and little else
io-bound             tasks that wait for storage more than for the CPU
idle                 next to nothing runs
mixed                none of the above is clear
"""

WORKLOAD_CLASSES: Final[tuple[WorkloadClass, ...]] = get_args(WorkloadClass)
