"""The repository's answers: pure functions of what is known, each of a bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from services.learner.repository.records import best, records, tally
from services.learner.repository.room import fitting
from shared.errors import InputError
from shared.plain import plain
from shared.repository import (
    BuiltArtifact,
    PolicyEvent,
    PolicyHistory,
    PolicyList,
    PolicyRecord,
    PolicyVersion,
)

if TYPE_CHECKING:
    from typing import Literal

    from services.learner.repository.fold import Repository, Trial, Version
    from shared.messages import Built
    from shared.repository import PolicyHistoryRequest, PolicyRequest

MOST_LISTED, LISTED_BYTES = 200, 256 * 1024
MOST_VERSIONS, VERSIONS_BYTES = 20, 16 * 1024
MOST_ARTIFACTS, ARTIFACTS_BYTES = 8, 64 * 1024
MOST_RECORDS, RECORDS_BYTES = 24, 256 * 1024
EVENTS_BYTES = 384 * 1024
"""A message holds 512 KiB (`shared/messages.py`)."""

SUMMARY_CHARS = 300

REASONS_TOLD = 4
"""Of an event."""


def policies(repository: Repository) -> PolicyList:
    """Every version in a line; what ships is never left out for what does not."""
    found = [about(repository, each) for each in repository.versions()]
    by_use = sorted(found, key=lambda each: (not each.shipped, -each.unix_ns))
    taken, more = fitting(by_use, MOST_LISTED, LISTED_BYTES)
    told = {(each.policy, each.version) for each in taken}
    return PolicyList(
        policies=[each for each in found if (each.policy, each.version) in told], more=more
    )


def policy(repository: Repository, request: PolicyRequest) -> PolicyRecord:
    """One version of a policy. Raises InputError for one that nobody has heard of."""
    known = _known(repository, request.policy)
    version = _chosen(repository, known, request.version)
    builds = repository.builds(version.policy)
    shipped = repository.shipped.get(version)
    versions, versions_more = fitting(
        [each.version for each in known], MOST_VERSIONS, VERSIONS_BYTES
    )
    artifacts, artifacts_more = fitting(
        _artifacts(repository, version, builds), MOST_ARTIFACTS, ARTIFACTS_BYTES
    )
    told, more = fitting(records(repository.trials(version)), MOST_RECORDS, RECORDS_BYTES)
    return PolicyRecord(
        about=about(repository, version),
        manifest=None if shipped is None else msgspec.to_builtins(shipped.manifest),
        versions=versions,
        versions_more=versions_more,
        artifacts=artifacts,
        artifacts_more=artifacts_more,
        records=told,
        records_more=more,
        made=repository.made(version.policy),
        rejected=sum(_kind(each) == "rejected" for each in builds),
    )


def history(repository: Repository, request: PolicyHistoryRequest) -> PolicyHistory:
    """Builds and trials of all versions. Raises InputError for a policy nobody has heard of."""
    known = _known(repository, request.policy)
    trials = [trial for version in known for trial in repository.trials(version)]
    begun: dict[str, int] = {}
    for trial in trials:
        told = trial.outcome
        begun[told.optimization] = min(told.unix_ns, begun.get(told.optimization, told.unix_ns))
    events = [
        (_moment(each, begun), 0, _of_build(each)) for each in repository.builds(request.policy)
    ]
    events += [(trial.outcome.unix_ns, 1, _of_trial(trial)) for trial in trials]
    # What is the same but for its moment stays in one order, whatever came in first.
    events.sort(key=lambda each: (*each[:2], each[2].optimization, msgspec.json.encode(each[2])))
    newest, more = fitting((each for _, _, each in reversed(events)), request.limit, EVENTS_BYTES)
    return PolicyHistory(policy=request.policy, events=newest[::-1], more=more)


def about(repository: Repository, version: Version) -> PolicyVersion:
    """One version in a line."""
    trials = repository.trials(version)
    builds = [
        each
        for each in repository.builds(version.policy)
        if each.artifact is not None and each.artifact.version == version.version
    ]
    shipped = repository.shipped.get(version)
    used = [trial.outcome.unix_ns for trial in trials] + [each.unix_ns for each in builds]
    return PolicyVersion(
        policy=version.policy,
        version=version.version,
        shipped=shipped is not None,
        summary=_summary(repository, version),
        builds=len(builds),
        tally=tally(trial.outcome for trial in trials),
        fingerprints=len({trial.key for trial in trials}),
        best=best(trials),
        unix_ns=max(used, default=0),
    )


def _summary(repository: Repository, version: Version) -> str:
    shipped = repository.shipped.get(version)
    if shipped is not None:
        return shipped.manifest.summary
    made = repository.made(version.policy)
    return "" if made is None else plain(made.summary, SUMMARY_CHARS)


def _known(repository: Repository, name: str) -> list[Version]:
    known = repository.versions(name)
    if not known and not repository.builds(name):
        raise InputError(
            "nobody has heard of that policy",
            expected="one that ships, or that was built or tried",
            got=repr(name),
            advice="`cox policies` lists them.",
        )
    return known


def _chosen(repository: Repository, known: list[Version], wanted: str) -> Version:
    for version in known:
        if version.version == wanted:
            return version
    if wanted or not known:
        raise InputError(
            "nobody has heard of that version",
            expected=", ".join(each.version for each in known[:MOST_VERSIONS])
            or "one that was built",
            got=repr(wanted) if wanted else "none was ever built",
            advice="`cox policies history` tells what was tried to build.",
        )
    shipped = [each for each in known if each in repository.shipped]
    return (shipped or sorted(known, key=lambda each: -about(repository, each).unix_ns))[0]


def _artifacts(
    repository: Repository, version: Version, builds: list[Built]
) -> list[BuiltArtifact]:
    """Of a version, the newest first: the same object of the same source is one."""
    shipped = repository.shipped.get(version)
    found: dict[tuple[str, str], BuiltArtifact] = {}
    for built in builds:
        artifact = built.artifact
        if artifact is None or artifact.version != version.version:
            continue
        before = found.pop((artifact.sha256, artifact.source_sha256), None)
        found[artifact.sha256, artifact.source_sha256] = BuiltArtifact(
            artifact=artifact,
            shipped=shipped is not None and shipped.source_sha256 == artifact.source_sha256,
            builds=1 if before is None else before.builds + 1,
            optimization=built.optimization,
            first_unix_ns=built.unix_ns if before is None else before.first_unix_ns,
            unix_ns=built.unix_ns,
        )
    return list(found.values())[::-1]


def _moment(built: Built, begun: dict[str, int]) -> int:
    """When it was built; before the first trial it was for, if nobody has said when."""
    return built.unix_ns or begun.get(built.optimization, 0)


def _kind(built: Built) -> Literal["built", "rejected", "failed"]:
    if built.artifact is not None:
        return "built"
    return "failed" if built.problem is not None else "rejected"


def _of_build(built: Built) -> PolicyEvent:
    reasons = [f"{each.stage}, {each.rule}: {each.text}" for each in built.reasons]
    if built.problem is not None:
        reasons.append(str(built.problem))
    artifact = built.artifact
    return PolicyEvent(
        kind=_kind(built),
        optimization=built.optimization,
        unix_ns=built.unix_ns,
        version="" if artifact is None else artifact.version,
        artifact="" if artifact is None else artifact.sha256,
        reasons=reasons[:REASONS_TOLD],
    )


def _of_trial(trial: Trial) -> PolicyEvent:
    outcome = trial.outcome
    return PolicyEvent(
        kind="tried",
        optimization=outcome.optimization,
        unix_ns=outcome.unix_ns,
        version=outcome.version,
        reasons=outcome.reasons[:REASONS_TOLD],
        workload=outcome.workload,
        fingerprint=trial.key,
        host=outcome.host,
        kernel=outcome.fingerprint.kernel,
        parameters=outcome.parameters,
        verdict=outcome.verdict,
        ratio=outcome.ratio,
        low=outcome.low,
        high=outcome.high,
        pairs=outcome.pairs,
    )
