"""Metrics: what a process counts, and the Prometheus endpoint that shows it.

    metrics = Metrics()
    with serving("127.0.0.1:9464", metrics):
        metrics.count(declared.LOADS)
        metrics.set(declared.PENDING, 3, consumer="executor-gate")

Every metric is declared once, in `shared.metrics.declared`. Services find the object where they
make spans: `telemetry.metrics`. Counting is a few additions and is always done; an HTTP server,
and the package that speaks Prometheus's format, are there only when COX_METRICS names an address.
"""

from shared.metrics import declared
from shared.metrics.endpoint import serving
from shared.metrics.tally import Metrics

__all__ = ["Metrics", "declared", "serving"]
