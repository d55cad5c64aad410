"""Whether the gate gives leave to load: pure, reasons in words.

A token is signed for what an operator or a client has asked for, built here, on the machine that
asks. The planner's word counts for nothing: it names a request, which must be among those that
were heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from shared.errors import CoxswainError
from shared.fingerprint import hardware, key, objective_of
from shared.messages import Fingerprint, Inventory, OptimizeRequest
from shared.policies import why_not_allowed
from shared.selection import why_not_selected

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from services.executor.token import Provenance
    from shared.messages import TokenRequest
    from shared.policies import Policy
    from shared.workloads import Workload

SECOND_NS: Final = 1_000_000_000
DAY_S: Final = 86_400.0
TURN_S: Final = 2 * DAY_S
"""How long a request may wait for its turn (a day) and stand still while the fleet is frozen."""
RESTORE_S: Final = 30 * DAY_S
"""For so long after its request what was promoted is restored; then it takes a new request."""
RENEW_S: Final = RESTORE_S
"""And for so long it is renewed by a drift, if it says itself that it may be."""
OVERTIME_S: Final = 600.0
"""What loads may take beyond the budget of their request."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the bus has kept it: what was asked for, and when that was heard."""

    request: OptimizeRequest
    unix_ns: int


def why_not_asked(
    wanted: TokenRequest,
    policy: Policy,
    asked: Asked | None,
    inventory: Inventory,
    fingerprints: Collection[str],
    now_unix_ns: int,
) -> str:
    """What keeps the request from allowing this; empty if it does.

    `fingerprints`: all that outcomes on this host may have, by their keys.
    """
    if asked is None:
        return "nobody has asked for it: no request with these bytes is known"
    request = asked.request
    age_s = (now_unix_ns - asked.unix_ns) / SECOND_NS
    longest_s = RESTORE_S if wanted.purpose == "restore" else TURN_S + request.budget.seconds
    if request.drift == "optimize":
        longest_s = max(longest_s, RENEW_S)
    if age_s > longest_s:
        return f"its request is {age_s / 3600:.0f} hours old, more than {longest_s / 3600:.0f}"
    if request.hosts and wanted.host not in request.hosts:
        return f"its request does not name {wanted.host}"
    if mismatch := why_not_selected(request.select, inventory):
        return f"its request does not select {wanted.host}: {mismatch}"
    if request.select.fingerprint and request.select.fingerprint not in fingerprints:
        return f"its request does not select {wanted.host}: it is of another fingerprint"
    if why := why_not_allowed(policy, request):
        return f"its request does not allow policy {policy.name}: {why}"
    if wanted.max_duration_s > request.budget.seconds + OVERTIME_S:
        return (
            f"its request's budget is {request.budget.seconds} s, not {wanted.max_duration_s:.0f}: "
            f"if that is no lie, a clock of {wanted.host} or of a planner is wrong"
        )
    if wanted.purpose == "trial" and wanted.loads > request.budget.rounds:
        return f"its request's budget is {request.budget.rounds} rounds, not {wanted.loads}"
    return ""


def why_not_there(wanted: TokenRequest, inventory: Inventory) -> str:
    """What the host says of itself otherwise than its inventory; empty if nothing."""
    for what, known, said in (
        ("host", inventory.host, wanted.host),
        ("machine-id", inventory.machine_id, wanted.machine_id),
        ("boot-id", inventory.boot_id, wanted.boot_id),
        ("kernel", inventory.kernel, wanted.kernel),
    ):
        if known != said:
            return f"its inventory has another {what}"
    return ""


def why_not_built(
    wanted: TokenRequest,
    provenance: Provenance,
    policy: Policy,
    tools: tuple[str, str],
    *,
    sandbox: bool = False,
) -> str:
    """What is wrong with the object; empty if this gate would build the same today.

    `tools`: this gate's compiler, and the hash of its frame and headers. An object of older ones is
    not signed any more: what was mended since would come back with it. `sandbox`: this gate
    besieges what it builds, so one that was not besieged is not signed either.
    """
    artifact = wanted.artifact
    for what, known, said in (
        ("object", provenance.object_sha256, artifact.sha256),
        ("source", provenance.source_sha256, artifact.source_sha256),
        ("policy", provenance.policy, wanted.policy),
        ("compiler", provenance.toolchain, artifact.toolchain),
        ("compiler", provenance.toolchain, tools[0]),
        ("frame and headers", provenance.headers_sha256, artifact.headers_sha256),
        ("frame and headers", provenance.headers_sha256, tools[1]),
    ):
        if known != said:
            return f"it was built of another {what}"
    if sandbox and not provenance.sandboxed:
        return "it was built by a gate without a sandbox"
    try:
        policy.manifest.check_whole(wanted.parameters)
    except CoxswainError as error:
        return str(error)
    return ""


def objectives(workloads: Mapping[str, Workload]) -> frozenset[str]:
    """What outcomes may be about, as fingerprints write it."""
    return frozenset(objective_of(each.objective) for each in workloads.values())


def fingerprints(
    inventory: Inventory, classes: Collection[str], objectives: Collection[str]
) -> frozenset[str]:
    """The keys of every fingerprint that an outcome on this host may have."""
    return frozenset(
        key(
            Fingerprint(
                workload_class=name,
                objective=objective,
                hardware=hardware(inventory),
                kernel=inventory.kernel,
            )
        )
        for name in classes
        for objective in objectives
    )
