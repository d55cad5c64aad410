"""A workload run once more with a probe in the kernel, and what that has seen in words.

The observer has no right to load anything: it asks its host's executor, which compiles the probe
first, and attaches it to the workload's control group once that runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.probes import MOST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.observer.runner import WorkloadRunner
    from shared.probes import ProbeReading, Spread
    from shared.workloads import Workload

Watch = Callable[[str, float], Awaitable["ProbeReading"]]
"""Attaches a probe to a control group for so many seconds. Raises BusError."""

PREPARE_S: Final = 170.0
"""For the executor to compile a probe; it gives up itself before that."""
READ_S: Final = 60.0
"""For it to attach, detach, read, and see that nothing is left."""
HOST_GROUP: Final = "/"
_MOUNT: Final = Path("/sys/fs/cgroup")
_SHOWN: Final = 5

_WORDS: Final[Mapping[str, str]] = {
    "wait_after_wakeup": "After a wake-up its tasks waited for a CPU",
    "wait_after_preemption": "After losing a CPU they waited for one",
    "wait_of_others": "Everybody else on the host waited for a CPU",
    "on_cpu": "Its tasks ran",
    "off_cpu_asleep": "They slept",
    "off_cpu_storage": "They waited for storage or a lock of the kernel",
    "off_cpu_preempted": "They were off the CPU for others",
    "futex_wait": "Its threads waited for each other",
    "storage_wait": "Its tasks waited for storage or a lock of the kernel",
    "device_request": "The host's block devices took for a request",
}


async def deepened_by(
    watch: Watch,
    runner: WorkloadRunner,
    workload: Workload,
    seed: int,
    beside: Sequence[Workload] = (),
) -> tuple[ProbeReading, dict[str, float]]:
    """Run it once and have it watched for a round; it may run for longer.

    Without a control group of its own all of the host is watched. Raises what the runner raises,
    and what `watch` does.
    """
    seconds = min(MOST_SECONDS, max(1.0, workload.manifest.round_s))
    async with runner.started(workload, seed, beside=beside) as running:
        reading = await watch(group_path(running.cgroup), seconds)
        measurement = await running.wait()
    return reading, measurement.metrics


def group_path(folder: Path | None, mount: Path = _MOUNT) -> str:
    """A control group's path below the hierarchy's root; that of the whole host for none."""
    if folder is None or not folder.is_relative_to(mount):
        return HOST_GROUP
    return f"/{folder.relative_to(mount)}"


def reading_in_words(reading: ProbeReading) -> str:
    """One paragraph. Names of tasks are anybody's, and stand in quotation marks."""
    sentences = [
        f"{_WORDS.get(name, name)} {_spread(spread)}." for name, spread in reading.spreads.items()
    ]
    if not sentences:
        sentences.append("The probe saw nothing happen.")
    if reading.names:
        sentences.append(
            "By name, most time: "
            + ", ".join(
                f"'{each.name}' {_time(each.total_us)} in {each.count}"
                for each in reading.names[:_SHOWN]
            )
            + "."
        )
    if reading.wakes:
        sentences.append(
            "Most wake-ups: "
            + ", ".join(
                f"'{each.waker}' wakes '{each.woken}' {each.count} times, "
                f"which waits {_time(each.wait_us)}"
                for each in reading.wakes[:_SHOWN]
            )
            + "."
        )
    if reading.lost:
        sentences.append(f"{reading.lost} events found no room and were not counted.")
    cost = reading.cost
    kernel = f", {100 * cost.kernel_share:.1f} % of the host while attached" if cost.runs else ""
    sentences.append(
        f"The probe {reading.probe} was attached for {reading.seconds:.1f} s; it took "
        f"{cost.compile_s:.1f} s to compile{kernel}."
    )
    return " ".join(sentences)


def _spread(spread: Spread) -> str:
    return (
        f"{_time(spread.mean_us)} in the mean, {_time(spread.p50_us)} in the median, "
        f"{_time(spread.p99_us)} at p99 and {_time(spread.most_us)} at most ({spread.count} times)"
    )


def _time(us: float) -> str:
    if us >= 1e6:
        return f"{us / 1e6:.3g} s"
    if us >= 1e3:
        return f"{us / 1e3:.3g} ms"
    return f"{us:.3g} µs"
