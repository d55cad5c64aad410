"""The paragraph: numbers in words, and nothing hostile in it."""

from __future__ import annotations

from services.observer.profile.classifier import classify
from services.observer.profile.features import features
from services.observer.profile.summary import summarize
from shared.messages import Inventory
from tests.observer.synthetic import NOTHING, host, reading, sample

LAB = Inventory(
    host="lab-1",
    machine_id="",
    boot_id="",
    kernel="7.3.4+deb13-cloud-amd64",
    arch="x86_64",
    cpus=2,
    cpu_model="QEMU TCG CPU version 2.5+",
    virtualization="qemu-tcg",
)


def hogs_and_a_sleeper() -> dict[str, float]:
    quiet = {pid: reading(100.0, switches=(0, 0, 0)) for pid in range(5)}
    worked = {
        pid: reading(110.0, run_ms=3900, wait_ms=6000, slices=1950, switches=(5, 1945, 9))
        for pid in range(4)
    }
    worked[4] = reading(110.0, run_ms=3900, wait_ms=16000, slices=9000, switches=(9000, 0, 5))
    pressure = {"cpu": 0}, {"cpu": 9_900_000}
    found = features(
        [
            sample(100.0, quiet, pressure_us=pressure[0]),
            sample(110.0, worked, pressure_us=pressure[1], stat=host(user_ticks=2000, running=6)),
        ],
        NOTHING,
        NOTHING,
    )
    return found | {"blind_share": 0.05}  # as if looked at all the time


def test_a_profile_is_said_in_one_paragraph() -> None:
    found = hogs_and_a_sleeper()
    said = summarize(found, classify(found), LAB, "wakeup")
    assert "\n" not in said
    assert said.startswith(
        "On lab-1 (2 CPUs, qemu-tcg, kernel 7.3.4+deb13-cloud-amd64), wakeup was watched for 10 s"
    )
    assert "The CPUs were 100 % busy" in said
    assert "in 99 % of the time somebody waited for a CPU" in said
    assert "4 hogs (tasks that compute and seldom sleep) took 80 % of its CPU time" in said
    assert "1 sleeper (tasks that sleep and wake often) took 20 %, woke 900 times/s" in said
    assert "waited 1.78 ms" in said
    assert "This is latency-under-load (confidence 1.00)." in said
    assert "forks" not in said
    assert "Storage" not in said


def test_what_the_kernel_does_not_tell_is_not_said() -> None:
    found = features([sample(0.0), sample(1.0)], NOTHING, NOTHING)
    said = summarize(found, classify(found), LAB, "host")
    assert "somebody waited" not in said
    assert "user space" not in said
    assert "This is idle" in said


def test_every_number_is_short_and_plain() -> None:
    found = hogs_and_a_sleeper() | {"wait_mean_ms": 1e-9, "wait_p99_ms": 123456.789}
    said = summarize(found, classify(found), LAB, "wakeup")
    assert "took 0 ms (p99 123457 ms)" in said
    assert "e-" not in said
