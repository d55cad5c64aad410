"""What one process has counted so far."""

from __future__ import annotations

import itertools
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

from shared.errors import InputError
from shared.metrics.declared import Histogram, Metric

if TYPE_CHECKING:
    from shared.metrics.declared import Counter, Gauge

Key = tuple[str, ...]
"""A metric's label values, in the order in which it declares its labels."""


class Distribution(msgspec.Struct):
    """How many values fell into each bucket (the last one has no bound), and their sum."""

    counts: list[int]
    total: float = 0.0


class Metrics:
    """Counters, gauges and histograms of a process. Nothing here is global.

    Safe to use from any thread. Every method raises InputError when the labels given are not
    the ones that the metric declares.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: dict[str, Metric] = {}
        # By the metric's name.
        self._numbers: dict[str, dict[Key, float]] = {}
        self._distributions: dict[str, dict[Key, Distribution]] = {}

    def expose(self, *metrics: Metric) -> None:
        """Show these from now on; those whose label values are all known begin with 0."""
        for metric in metrics:
            with self._lock:
                self._show(metric)
                for key in itertools.product(*metric.labels.values()):
                    if isinstance(metric, Histogram):
                        self._distribution(metric, key)
                    else:
                        self._numbers[metric.name].setdefault(key, 0.0)

    def count(self, metric: Counter, amount: float = 1.0, /, **labels: str) -> None:
        """So many more."""
        key = _key(metric, labels)
        if amount < 0:
            raise InputError(
                f"{metric.name} only grows", expected="an amount of 0 or more", got=str(amount)
            )
        with self._lock:
            self._show(metric)
            series = self._numbers[metric.name]
            series[key] = series.get(key, 0.0) + amount

    def set(self, metric: Gauge, value: float, /, **labels: str) -> None:
        """So many now."""
        key = _key(metric, labels)
        with self._lock:
            self._show(metric)
            self._numbers[metric.name][key] = value

    def observe(self, metric: Histogram, seconds: float, /, **labels: str) -> None:
        """One more value of a distribution."""
        key = _key(metric, labels)
        with self._lock:
            self._show(metric)
            distribution = self._distribution(metric, key)
            distribution.counts[bisect_left(metric.buckets, seconds)] += 1
            distribution.total += seconds

    def forget(self, metric: Gauge) -> None:
        """Nothing is known of it now: better no value than an old one."""
        with self._lock:
            self._show(metric)
            self._numbers[metric.name].clear()

    # Reading ------------------------------------------------------------------------------

    def value(self, metric: Counter | Gauge, **labels: str) -> float:
        """A number as it stands; 0 if it was never touched."""
        key = _key(metric, labels)
        with self._lock:
            return self._numbers.get(metric.name, {}).get(key, 0.0)

    def shown(self) -> list[Metric]:
        """All that are exposed or were ever touched, in that order."""
        with self._lock:
            return list(self._shown.values())

    def numbers(self, metric: Metric) -> dict[Key, float]:
        """A counter's or gauge's values by their labels."""
        with self._lock:
            return dict(self._numbers.get(metric.name, {}))

    def distributions(self, metric: Histogram) -> dict[Key, Distribution]:
        """A histogram's distributions by their labels."""
        with self._lock:
            return {
                key: Distribution(list(each.counts), each.total)
                for key, each in self._distributions.get(metric.name, {}).items()
            }

    # With the lock held -------------------------------------------------------------------

    def _show(self, metric: Metric) -> None:
        self._shown.setdefault(metric.name, metric)
        self._numbers.setdefault(metric.name, {})

    def _distribution(self, metric: Histogram, key: Key) -> Distribution:
        known = self._distributions.setdefault(metric.name, {})
        return known.setdefault(key, Distribution([0] * (len(metric.buckets) + 1)))


def _key(metric: Metric, labels: dict[str, str]) -> Key:
    if labels.keys() != metric.labels.keys():
        raise InputError(
            f"metric {metric.name} was given other labels",
            expected=", ".join(metric.labels) or "none",
            got=", ".join(labels) or "none",
        )
    return tuple(labels[name] for name in metric.labels)
