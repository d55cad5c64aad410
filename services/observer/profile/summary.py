"""Says a profile in one paragraph, for a person and for a model.

Only numbers, and words of our own: what the host's users named their processes is hostile
text and does not appear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.observer.profile.classifier import Classification
    from shared.messages import Inventory, Phase


def summarize(
    features: Mapping[str, float],
    classification: Classification,
    inventory: Inventory,
    subject: str,
    phases: Sequence[Phase] = (),
) -> str:
    """One paragraph about what `subject`, a workload by its name, did on this host."""
    sentences = [
        _watched(features, inventory, subject),
        _load(features),
        _hogs(features),
        _sleepers(features),
        _jobs(features),
        _churn(features),
        _storage(features),
        _phases(features, phases),
        _verdict(classification),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _watched(f: Mapping[str, float], inventory: Inventory, subject: str) -> str:
    return (
        f"On {_machine(inventory)}, {subject} was watched for {_number(f['seconds'])} s "
        f"in {f['samples_count']:.0f} looks."
    )


def _machine(inventory: Inventory) -> str:
    where = "" if inventory.virtualization in {"", "none"} else f", {inventory.virtualization}"
    return f"{inventory.host} ({_count(inventory.cpus, 'CPU')}{where}, kernel {inventory.kernel})"


def _load(f: Mapping[str, float]) -> str:
    pressure = (
        f", and in {_percent(f['psi_cpu_share'])} of the time somebody waited for a CPU"
        if "psi_cpu_share" in f
        else ""
    )
    user = (
        f", {_percent(f['cpu_user_share'])} of that in user space" if "cpu_user_share" in f else ""
    )
    return (
        f"The CPUs were {_percent(f['host_busy_share'])} busy; it used "
        f"{_percent(f['cpu_used_share'])} of them{user}, "
        f"with {_number(f['runnable_count'])} tasks running or waiting to run at a "
        f"time{pressure}. A wait for a CPU took {_number(f['wait_mean_ms'])} ms "
        f"(p99 {_number(f['wait_p99_ms'])} ms), a run {_number(f['run_mean_ms'])} ms; there were "
        f"{_number(f['preemptions_per_s'])} preemptions/s and "
        f"{_number(f['migrations_per_s'])} migrations/s."
    )


def _hogs(f: Mapping[str, float]) -> str:
    if f["hog_cpu_share"] < 0.01:
        return "No task computed for long."
    return (
        f"{_tasks(f['hog_count'], 'hog')} (tasks that compute and seldom sleep) took "
        f"{_percent(f['hog_cpu_share'])} of its CPU time in runs of "
        f"{_number(f['hog_run_mean_ms'])} ms."
    )


def _sleepers(f: Mapping[str, float]) -> str:
    if f["sleeper_wakeups_per_s"] < 1:
        return ""
    return (
        f"{_tasks(f['sleeper_count'], 'sleeper')} (tasks that sleep and wake often) took "
        f"{_percent(f['sleeper_cpu_share'])}, woke {_number(f['sleeper_wakeups_per_s'])} times/s, "
        f"ran {_number(f['sleeper_run_mean_ms'])} ms at a time and waited "
        f"{_number(f['sleeper_wait_mean_ms'])} ms for it (p99 "
        f"{_number(f['sleeper_wait_p99_ms'])} ms)."
    )


def _jobs(f: Mapping[str, float]) -> str:
    if f["job_count"] < 2:
        return ""
    return (
        f"{f['job_count']:.0f} jobs computed {_number(f['job_cpu_median_s'])} s each in the "
        f"median and {_number(f['job_cpu_max_s'])} s at most "
        f"({_number(f['job_cpu_max_to_median'])} times the median); "
        f"{_percent(f['job_together_share'])} of them began together."
    )


def _churn(f: Mapping[str, float]) -> str:
    if f["host_forks_per_s"] < 0.5:
        return ""
    return (
        f"The host started {_number(f['host_forks_per_s'])} tasks/s, "
        f"most of them within {_percent(f['forks_spread_share'])} of the time; half of "
        f"those that ended lived less than {_number(f['lifetime_median_s'])} s, and short-lived "
        f"ones took {_percent(f['short_cpu_share'])} of the CPU time."
    )


def _storage(f: Mapping[str, float]) -> str:
    stalled = max(f["host_iowait_share"], f.get("psi_io_share", 0.0))
    if stalled < 0.05:
        return ""
    return f"Storage kept tasks waiting in {_percent(stalled)} of the time."


def _phases(f: Mapping[str, float], phases: Sequence[Phase]) -> str:
    if not phases:
        return ""
    returns = f.get("phase_returns_count", 0.0)
    how = (
        f"It alternated between {len(phases)} phases, and came back to one "
        f"{_count(round(returns), 'time')}"
        if returns
        else f"It went through {len(phases)} phases, one after the other"
    )
    return f"{how}: {'; '.join(_phase(each) for each in phases)}. All else here is their average."


def _phase(phase: Phase) -> str:
    f = phase.features
    what = f" ({phase.workload_class})" if phase.workload_class is not None else ""
    storage = f["storage_wait_share"]
    waits = f", storage keeping tasks waiting in {_percent(storage)}" if storage >= 0.05 else ""
    return (
        f"{_percent(phase.share)} of the time, {_number(phase.mean_s)} s at a time, it used "
        f"{_number(f['cpu_used_cpus'])} CPUs at {_number(f['host_switches_per_s'])} switches/s of "
        f"the host{waits}{what}"
    )


def _verdict(classification: Classification) -> str:
    others = {**classification.scores}
    del others[classification.workload_class]
    second = max(others, key=others.__getitem__)
    rival = f"; next is {second} with {others[second]:.2f}" if others[second] else ""
    return (
        f"This is {classification.workload_class} (confidence "
        f"{classification.confidence:.2f}{rival})."
    )


def _tasks(count: float, noun: str) -> str:
    """`3.8 hogs`: a mean over the time watched; near whole numbers are said whole."""
    whole = round(count)
    if whole and abs(count - whole) < 0.1 * whole:
        return _count(whole, noun)
    return f"{_number(count)} {noun}s at a time"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _number(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 1:
        return f"{value:.3g}"
    return f"{value:.2g}" if value >= 0.001 else f"{value:.4f}".rstrip("0").rstrip(".")
