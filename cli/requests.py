"""From options to a request, checked before anything is sent."""

from __future__ import annotations

import msgspec

from shared.errors import RequestError
from shared.messages import OptimizeRequest


def make_request(
    *,
    workload: str,
    beside: list[str],
    alone: bool,
    made: bool,
    drift: str,
    hosts: list[str],
    rounds: int,
    seconds: int,
    policies: list[str],
    least_effect: float | None,
    seed: int,
    priority: int,
    wait: bool,
    labels: list[str],
    kernel: str,
    cpu_model: str,
    fingerprint: str,
    cohorts: str,
    soak_s: float,
    control_percent: int,
    lease_s: float,
) -> OptimizeRequest:
    """The request these options ask for. Raises RequestError."""
    document = {
        "workload": workload,
        "beside": beside,
        "alone": alone,
        "made": made,
        "drift": drift,
        "hosts": hosts,
        "budget": {"rounds": rounds, "seconds": seconds},
        "policies": policies,
        "least_effect": least_effect,
        "seed": seed,
        "priority": priority,
        "wait": wait,
        "select": {
            "labels": dict(_pair(label) for label in labels),
            "kernel": kernel,
            "cpu_model": cpu_model,
            "fingerprint": fingerprint,
        },
        "rollout": {
            "cohorts": [_percent(part) for part in cohorts.split(",")],
            "soak_s": soak_s,
            "control_percent": control_percent,
            "lease_s": lease_s,
        },
    }
    try:
        return msgspec.convert(document, OptimizeRequest)
    except msgspec.ValidationError as error:
        raise RequestError(
            "the request is not valid",
            expected="names of letters, digits, '-' and '_'; at most 3 neighbours; "
            "8 to 1000 rounds; "
            "60 to 86400 seconds; a least effect from 0 to 1; "
            "cohorts from 1 to 100, a control from 0 to 50 percent; "
            "a priority from 0 to 9; a lease of 10 s or more; "
            "drift off, tell or optimize; "
            "a fingerprint of 16 hexadecimal digits",
            got=str(error),
            advice="See `cox optimize --help`.",
        ) from None


def _pair(label: str) -> tuple[str, str]:
    name, equals, pattern = label.partition("=")
    if not equals or not name or not pattern:
        raise RequestError(
            "--label is not valid",
            expected="NAME=PATTERN, such as role=web",
            got=repr(label),
            advice="See `cox optimize --help`.",
        )
    return name, pattern


def _percent(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestError(
            "--cohorts is not valid",
            expected="whole percentages that rise to 100, such as 10,50,100",
            got=repr(text),
            advice="See `cox optimize --help`.",
        ) from None
