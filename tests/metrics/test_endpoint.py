from __future__ import annotations

import subprocess
import sys

import pytest

from shared.bus.server import free_port
from shared.errors import InputError, MachineError
from shared.metrics import Metrics, declared, serving
from shared.metrics.endpoint import parse_address
from tests.metrics.conftest import scrape


def test_a_scrape_shows_what_was_counted() -> None:
    metrics = Metrics()
    metrics.expose(*declared.GATE)
    metrics.count(declared.BUILDS, outcome="accepted")
    metrics.count(declared.BUILDS, 2, outcome="rejected")
    metrics.set(declared.PENDING, 3, consumer="executor-gate")
    with serving("127.0.0.1:0", metrics) as url:
        seen = scrape(url)
        assert seen.value("coxswain_builds_total", outcome="accepted") == 1
        assert seen.value("coxswain_builds_total", outcome="rejected") == 2
        assert seen.value("coxswain_builds_total", outcome="failed") == 0
        assert seen.value("coxswain_consumer_pending_messages", consumer="executor-gate") == 3
        assert seen.value("process_open_fds")
        metrics.count(declared.BUILDS, outcome="accepted")
        assert scrape(url).value("coxswain_builds_total", outcome="accepted") == 2


def test_a_histogram_counts_every_bucket_above_a_value() -> None:
    metrics = Metrics()
    for seconds in (0.005, 0.006, 3.0, 9_999.0):
        metrics.observe(declared.BUILDING, seconds)
    with serving("127.0.0.1:0", metrics) as url:
        seen = scrape(url)
    buckets = {
        sample.labels["le"]: sample.value
        for sample in seen.families["coxswain_build_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert buckets["0.005"] == 1  # a bound belongs to its bucket
    assert buckets["0.025"] == buckets["2.5"] == 2
    assert buckets["10.0"] == buckets["1800.0"] == 3
    assert buckets["+Inf"] == 4
    assert seen.value("coxswain_build_seconds_count") == 4
    assert seen.value("coxswain_build_seconds_sum") == pytest.approx(10_002.011)


def test_a_label_value_may_hold_anything() -> None:
    metrics = Metrics()
    nasty = 'a"b\\c\nd ü'
    metrics.count(declared.REJECTIONS, stage=nasty)
    with serving("127.0.0.1:0", metrics) as url:
        assert scrape(url).value("coxswain_gate_rejections_total", stage=nasty) == 1


def test_nothing_listens_without_an_address() -> None:
    with serving("", Metrics()) as url:
        assert url == ""


def test_the_port_is_free_again_afterwards() -> None:
    address = f"127.0.0.1:{free_port()}"
    for _ in range(2):
        with serving(address, Metrics()) as url:
            scrape(url)


def test_a_taken_port_is_a_clear_error() -> None:
    with serving("127.0.0.1:0", Metrics()) as url:
        address = url.removeprefix("http://").removesuffix("/metrics")
        with pytest.raises(MachineError) as caught, serving(address, Metrics()):
            pass
    assert address in caught.value.what
    assert "COX_METRICS" in caught.value.advice


@pytest.mark.parametrize(
    "address", ["9464", ":9464", "host", "host:", "host:x", "host:65536", "::1:9464", "host:-1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="COX_METRICS"):
        parse_address(address)


def test_addresses_may_be_of_both_families() -> None:
    assert parse_address("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert parse_address("[::1]:80") == ("::1", 80)


def test_without_the_package_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["prometheus_client"] = None  # what an import finds where it is not installed
from shared.errors import MachineError
from shared.metrics import Metrics, serving
try:
    with serving("127.0.0.1:0", Metrics()):
        pass
except MachineError as error:
    print(error.advice)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "coxswain[metrics]" in done.stdout


def test_wrong_labels_and_shrinking_counters_are_errors() -> None:
    metrics = Metrics()
    with pytest.raises(InputError, match="other labels"):
        metrics.count(declared.BUILDS)
    with pytest.raises(InputError, match="other labels"):
        metrics.count(declared.BUILDS, outcome="accepted", policy="fair")
    with pytest.raises(InputError, match="only grows"):
        metrics.count(declared.BUILDS, -1, outcome="accepted")
    assert metrics.shown() == []


def test_a_forgotten_gauge_shows_no_old_value() -> None:
    metrics = Metrics()
    metrics.set(declared.PENDING, 3, consumer="c")
    metrics.forget(declared.PENDING)
    with serving("127.0.0.1:0", metrics) as url:
        assert scrape(url).value("coxswain_consumer_pending_messages", consumer="c") is None
