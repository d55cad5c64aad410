from __future__ import annotations

import msgspec
import pytest

from shared.fingerprint import direction, fingerprint, key
from shared.messages import Fingerprint, Objective
from tests.learner.known_outcomes import HERE, INVENTORY, OBJECTIVE, PROFILE, elsewhere


def test_the_same_workload_on_the_same_host_has_the_same_key() -> None:
    again = fingerprint(
        msgspec.structs.replace(
            PROFILE,
            features={"wakeups_per_s": 950.0},
            confidence=0.7,
            summary="Other words.",
            baseline={"p99_ms": 6.1},
            seconds=9.0,
        ),
        msgspec.structs.replace(
            INVENTORY,
            boot_id="b2",
            memory_bytes=1,
            unix_ns=5,
            cpu_model="  QEMU  Virtual CPU ",
            obstacles=["isolcpus"],
        ),
        OBJECTIVE,
    )
    assert again == HERE
    assert key(again) == key(HERE)


def test_equal_hosts_share_a_key() -> None:
    twin = msgspec.structs.replace(INVENTORY, host="lab-2", machine_id="m2")
    assert key(fingerprint(PROFILE, twin, OBJECTIVE)) == key(HERE)


def test_a_key_is_the_same_in_every_process() -> None:
    assert key(HERE) == "85faeb604286f409"


@pytest.mark.parametrize(
    "other",
    [
        elsewhere(kernel="6.12.1"),
        elsewhere(cpus=4),
        elsewhere(arch="aarch64"),
        elsewhere(workload_class="batch"),
        elsewhere(objective="p99_ms:higher"),
        elsewhere(beside=("build",)),
        elsewhere(against="fair 1.0.0"),
    ],
)
def test_what_decides_how_a_policy_does_changes_the_key(other: Fingerprint) -> None:
    assert key(other) != key(HERE)


def test_the_direction_of_the_objective_can_be_read_back() -> None:
    up = Objective(metric="requests_per_s", direction="higher")
    assert direction(HERE) == "lower"
    assert direction(fingerprint(PROFILE, INVENTORY, up)) == "higher"


def test_neighbours_have_no_order() -> None:
    some = fingerprint(PROFILE, INVENTORY, OBJECTIVE, beside=["pulse", "build"], against="fair 1")
    same = fingerprint(PROFILE, INVENTORY, OBJECTIVE, beside=["build", "pulse"], against="fair 1")
    assert some == same
    assert some.beside == ("build", "pulse")


def test_what_was_remembered_before_there_were_neighbours_is_read_as_without() -> None:
    old = msgspec.json.encode(HERE)
    assert b"beside" not in old
    assert msgspec.json.decode(old, type=Fingerprint) == HERE
