"""The Prometheus endpoint: `GET /metrics`, over HTTP, where COX_METRICS says.

prometheus_client writes the format and serves it from a thread of its own. It is imported only
when an address is set: a guest that is being measured has no time for it.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import structlog

from shared.errors import InputError, MachineError
from shared.metrics.declared import Counter, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric as Family

    from shared.metrics.tally import Metrics

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def serving(address: str, metrics: Metrics) -> Iterator[str]:
    """Serve `metrics` at `host:port` while the context is open; nothing for an empty address.

    Gives the URL (with port 0, that of the port which was free), or nothing. Raises InputError
    for what is no address, MachineError for one that is taken or without prometheus_client.
    """
    if not address:
        yield ""
        return
    host, port = parse_address(address)
    try:
        from prometheus_client import (  # noqa: PLC0415 - see above
            CollectorRegistry,
            ProcessCollector,
            start_http_server,
        )
    except ImportError as error:
        raise MachineError(
            "the metrics endpoint lacks a package",
            expected="prometheus_client, as in the extra `metrics`",
            got=str(error),
            advice="pip install 'coxswain[metrics]', or unset COX_METRICS.",
        ) from error
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Collector(metrics))
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise MachineError(
            f"the metrics endpoint cannot listen at {address}",
            expected="an address of this machine that nobody else listens at",
            got=str(error),
            advice="Set COX_METRICS to another one, or unset it.",
        ) from error
    try:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{server.server_port}/metrics"
        log.info("metrics.serving", url=url)
        yield url
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5.0)


def parse_address(address: str) -> tuple[str, int]:
    """`127.0.0.1:9464` or `[::1]:9464` in its parts. Raises InputError."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    valid = colon and host and (bracketed or ":" not in host)
    if not valid or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise InputError(
            "COX_METRICS is not an address",
            expected="host:port, as in 127.0.0.1:9464",
            got=repr(address),
            advice="Correct it, or unset it for no endpoint.",
        )
    return host, int(port)


class _Collector:
    """Turns what was counted into the library's families, at every scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """Everything that is shown, one family a metric."""
        from prometheus_client.metrics_core import (  # noqa: PLC0415 - see above
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        for metric in self._metrics.shown():
            labels = list(metric.labels)
            if isinstance(metric, Histogram):
                histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
                bounds = [*(f"{bound}" for bound in metric.buckets), "+Inf"]
                for key, found in self._metrics.distributions(metric).items():
                    below = itertools.accumulate(found.counts)
                    histogram.add_metric(
                        key, list(zip(bounds, below, strict=True)), sum_value=found.total
                    )
                yield histogram
                continue
            kind = CounterMetricFamily if isinstance(metric, Counter) else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=labels)
            for key, value in self._metrics.numbers(metric).items():
                family.add_metric(key, value)
            yield family
