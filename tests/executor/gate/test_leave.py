"""What the gate signs for: what was asked for, built here, on the machine that asks."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from services.executor.gate.leave import (
    DAY_S,
    SECOND_NS,
    Asked,
    fingerprints,
    why_not_asked,
    why_not_built,
    why_not_there,
)
from services.executor.token import Provenance
from shared.classes import WORKLOAD_CLASSES
from shared.fingerprint import fingerprint, key
from shared.messages import (
    Budget,
    Made,
    Objective,
    OptimizeRequest,
    Profile,
    Selector,
    TokenRequest,
)
from shared.policies import Catalogue, Policy
from tests.executor.tokens import artifact_of
from tests.planner.world import inventory

HERE = replace(inventory("h1"), labels={"role": "web"})
NOW = 100 * int(DAY_S) * SECOND_NS
POLICY = Catalogue.load()["latency"]
OBJECT = b"object"
WANTED = TokenRequest(
    host="h1",
    nonce="0" * 64,
    machine_id=HERE.machine_id,
    boot_id=HERE.boot_id,
    kernel=HERE.kernel,
    btf_sha256="",
    optimization="o1",
    request_sha256="c" * 64,
    purpose="trial",
    policy="latency",
    parameters=POLICY.manifest.defaults,
    artifact=artifact_of(OBJECT, "latency"),
    loads=8,
    max_duration_s=60.0,
)
OBJECTIVES = ["p99_us:lower", "seconds:lower"]


def asked(age_s: float = 1.0, **request: Any) -> Asked:
    return Asked(
        request=OptimizeRequest(workload="pulse", **request),
        unix_ns=NOW - int(age_s * SECOND_NS),
    )


def why(heard: Asked | None, wanted: TokenRequest = WANTED, policy: Policy = POLICY) -> str:
    known = fingerprints(HERE, WORKLOAD_CLASSES, OBJECTIVES)
    return why_not_asked(wanted, policy, heard, HERE, known, NOW)


def of_fingerprint(kernel: str) -> str:
    profile = Profile(
        host="h1", workload="wakeup", features={}, workload_class="messaging", confidence=1.0,
        summary="",
    )  # fmt: skip
    objective = Objective(metric="p99_us", direction="lower")
    return key(fingerprint(profile, replace(HERE, kernel=kernel), objective))


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"hosts": ["h2", "h1"]},
        {"select": Selector(labels={"role": "w*"}, kernel="7.3*")},
        {"select": Selector(fingerprint=of_fingerprint(HERE.kernel))},
        {"policies": ["fair", "latency"]},
    ],
)
def test_what_a_request_says_is_allowed(request_: dict[str, Any]) -> None:
    assert why(asked(**request_)) == ""


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"hosts": ["h2"]}, "does not name h1"),
        ({"select": Selector(labels={"role": "db"})}, "does not select"),
        ({"select": Selector(kernel="6.12*")}, "does not select"),
        ({"select": Selector(fingerprint="0" * 16)}, "another fingerprint"),
        ({"select": Selector(fingerprint=of_fingerprint("6.12"))}, "another fingerprint"),
        ({"policies": ["fair"]}, "does not allow policy latency"),
    ],
)
def test_what_it_does_not_say_is_not(request_: dict[str, Any], said: str) -> None:
    assert said in why(asked(**request_))


def test_without_a_request_there_is_no_leave() -> None:
    assert "nobody has asked" in why(None)


def test_a_request_ends_with_its_budget_and_a_restoration_after_a_month() -> None:
    budget = Budget(seconds=600)
    assert why(asked(2 * DAY_S + 599, budget=budget)) == ""
    assert "hours old" in why(asked(2 * DAY_S + 601, budget=budget))
    # Leave in advance, by the client's own bytes: a drift may renew it.
    assert not why(asked(30 * DAY_S - 1, budget=budget, drift="optimize"))
    assert "hours old" in why(asked(30 * DAY_S + 1, budget=budget, drift="optimize"))
    assert "hours old" in why(asked(2 * DAY_S + 601, budget=budget, drift="tell"))
    restore = replace(WANTED, purpose="restore")
    assert why(asked(30 * DAY_S - 1, budget=budget), restore) == ""
    assert "hours old" in why(asked(30 * DAY_S + 1, budget=budget), restore)


def test_nobody_gets_more_than_the_budget() -> None:
    budget = Budget(rounds=8, seconds=600)
    assert "rounds" in why(asked(budget=budget), replace(WANTED, loads=9))
    assert "budget is 600 s" in why(asked(budget=budget), replace(WANTED, max_duration_s=1201.0))


@pytest.mark.parametrize("field", ["host", "machine_id", "boot_id", "kernel"])
def test_a_host_is_what_its_inventory_says(field: str) -> None:
    assert why_not_there(WANTED, HERE) == ""
    assert "another" in why_not_there(replace(WANTED, **{field: "other"}), HERE)


ARTIFACT = WANTED.artifact
PROVENANCE = Provenance(
    object_sha256=ARTIFACT.sha256,
    source_sha256=ARTIFACT.source_sha256,
    policy="latency",
    version="1.0.0",
    toolchain=ARTIFACT.toolchain,
    headers_sha256=ARTIFACT.headers_sha256,
)
TOOLS = (ARTIFACT.toolchain, ARTIFACT.headers_sha256)


@pytest.mark.parametrize(
    "field", ["object_sha256", "source_sha256", "policy", "toolchain", "headers_sha256"]
)
def test_an_object_of_anything_else_is_not_signed(field: str) -> None:
    assert why_not_built(WANTED, PROVENANCE, POLICY, TOOLS) == ""
    other = replace(PROVENANCE, **{field: "0" * 64})
    assert "another" in why_not_built(WANTED, other, POLICY, TOOLS)


def test_an_object_of_older_tools_is_not_signed_any_more() -> None:
    assert "compiler" in why_not_built(WANTED, PROVENANCE, POLICY, ("clang 99", TOOLS[1]))
    assert "headers" in why_not_built(WANTED, PROVENANCE, POLICY, (TOOLS[0], "0" * 64))


def test_parameters_are_within_the_manifests_bounds_and_whole() -> None:
    name = next(iter(WANTED.parameters))
    beyond = {**WANTED.parameters, name: POLICY.manifest.parameter[0].high + 1}
    assert "out of bounds" in why_not_built(
        replace(WANTED, parameters=beyond), PROVENANCE, POLICY, TOOLS
    )
    assert "not all" in why_not_built(replace(WANTED, parameters={}), PROVENANCE, POLICY, TOOLS)
    unknown = {**WANTED.parameters, "no_such": 1}
    assert "no parameter" in why_not_built(
        replace(WANTED, parameters=unknown), PROVENANCE, POLICY, TOOLS
    )


def test_hooks_that_a_mind_has_made_are_signed_for_like_their_parent() -> None:
    made = Made(parent="latency", source=POLICY.source, summary="the same again")
    policy = Catalogue.load().make(made)
    wanted = replace(WANTED, policy=policy.name)
    assert why(asked(), wanted, policy) == ""
    assert why(asked(policies=["latency"]), wanted, policy) == ""
    assert "the request names fair" in why(asked(policies=["fair"]), wanted, policy)
    assert "made by a mind" in why(asked(made=False), wanted, policy)
    assert why(asked(made=False)) == ""
