"""Questions to the policy repository, and its answers.

The learner answers them (`services/learner/repository`). Each answer fits into one message: what
does not is left out, and the answer says how much that is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from shared.messages import Artifact, Calibrated, Fingerprint, Made, Message, Name, Part

Verdict = Literal["promote", "revert", "inconclusive"]
Words = Annotated[str, Meta(max_length=500)]
Key = Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?$")]


class Combined(Part, frozen=True, kw_only=True):
    """What several trials of one candidate say together: candidate / baseline, 95 % interval."""

    ratio: float
    low: float
    high: float
    trials: int
    """Those that it rests on: an optimization counts once, a host with its latest few."""
    spread: float = 0.0
    """Standard deviation of the trials' own log ratios, beyond what their noise explains."""


class Tally(Part, frozen=True, kw_only=True):
    """Trials by verdict."""

    promoted: int = 0
    reverted: int = 0
    inconclusive: int = 0

    @property
    def trials(self) -> int:
        """All of them."""
        return self.promoted + self.reverted + self.inconclusive


class Newest(Part, frozen=True, kw_only=True):
    """The latest trial's own word. Ratios are candidate / baseline of the objective."""

    verdict: Verdict
    ratio: float
    low: float
    high: float
    pairs: int
    optimization: str
    host: str
    unix_ns: int


class Tried(Part, frozen=True, kw_only=True):
    """One candidate's record under one fingerprint: these parameters, and no others."""

    parameters: dict[str, int]
    tally: Tally
    pairs: int
    newest: Newest
    combined: Combined | None = None
    """None if no trial has an interval."""
    conflicting: bool = False
    """Promoted and reverted, or proven on both sides of no change: no one figure tells that."""
    hosts: list[str] = field(default_factory=list)
    """Where it was tried; some of them, if many."""
    hosts_more: int = 0
    first_unix_ns: int = 0


class FingerprintRecord(Part, frozen=True, kw_only=True):
    """What came of one policy's version under one fingerprint, whatever its parameters."""

    fingerprint: Fingerprint
    key: Key
    workloads: list[str]
    """Some of them, if many."""
    tally: Tally
    tried: list[Tried]
    """Most pairs first."""
    tried_more: int = 0


class Best(Part, frozen=True, kw_only=True):
    """Of the promoted candidates whose latest word is no revert, the one with the best bound.

    The best of many is partly luck: its interval is the one of its trials, not of the choice.
    """

    combined: Combined
    objective: str
    fingerprint: Key
    parameters: dict[str, int]
    conflicting: bool = False


class PolicyVersion(Part, frozen=True, kw_only=True):
    """One version of a policy in a line."""

    policy: Name
    version: str
    shipped: bool
    """It is in the learner's own catalogue."""
    summary: str = ""
    """The manifest's, for one that ships; its writer's, for one that was made."""
    builds: int = 0
    tally: Tally = Tally()
    fingerprints: int = 0
    best: Best | None = None
    unix_ns: int = 0
    """When it was last built or tried; 0 if never."""


class BuiltArtifact(Part, frozen=True, kw_only=True):
    """An object that the gate has made, and what it has proven on the way."""

    artifact: Artifact
    shipped: bool
    """Made of the source that ships with this version."""
    builds: int
    optimization: str
    """The one it was last built for."""
    first_unix_ns: int = 0
    unix_ns: int = 0


class PoliciesRequest(Message, tag="policies_request", frozen=True, kw_only=True):
    """Ask for every policy and version, with what came of them."""


class PolicyList(Message, tag="policy_list", frozen=True, kw_only=True):
    """By name, the newest version first."""

    policies: list[PolicyVersion] = field(default_factory=list)
    more: int = 0
    """Versions that are left out: those that were used the longest ago."""


class CalibrationRequest(Message, tag="calibration_request", frozen=True, kw_only=True):
    """Ask how predictions have turned out."""


class CalibrationTable(Message, tag="calibration_table", frozen=True, kw_only=True):
    """By mind, class of workload and origin, those with most outcomes first."""

    rows: list[Calibrated] = field(default_factory=list)


class PolicyRequest(Message, tag="policy_request", frozen=True, kw_only=True):
    """Ask for all that is known of one policy."""

    policy: Name
    version: Annotated[str, Meta(max_length=200)] = ""
    """Empty for the one that ships, or else the one that was used last."""


class PolicyRecord(Message, tag="policy_record", frozen=True, kw_only=True):
    """One version of a policy: what it is, where it is from, what came of it where."""

    about: PolicyVersion
    manifest: dict[str, Any] | None = None
    """For one that ships."""
    made: Made | None = None
    """For one that a mind has made: its hooks, and where they are from."""
    versions: list[str] = field(default_factory=list)
    """All that are known, the newest first; some of them, if many."""
    versions_more: int = 0
    artifacts: list[BuiltArtifact] = field(default_factory=list)
    """The newest first."""
    artifacts_more: int = 0
    records: list[FingerprintRecord] = field(default_factory=list)
    """The newest first."""
    records_more: int = 0
    rejected: int = 0
    """Builds of any version of this policy that the gate has turned down."""


class PolicyHistoryRequest(Message, tag="policy_history_request", frozen=True, kw_only=True):
    """Ask what happened to a policy, all its versions."""

    policy: Name
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class PolicyEvent(Part, frozen=True, kw_only=True):
    """A build or a trial of a policy."""

    kind: Literal["built", "rejected", "failed", "tried"]
    optimization: str
    unix_ns: int
    """0 where nobody has said when."""
    version: str = ""
    """Empty where nothing was built."""
    artifact: str = ""
    """Its sha256."""
    reasons: list[str] = field(default_factory=list)
    """The gate's, or the judge's."""
    workload: str = ""
    fingerprint: Key = ""
    host: str = ""
    kernel: str = ""
    parameters: dict[str, int] = field(default_factory=dict)
    verdict: Verdict | Literal[""] = ""
    ratio: float = 1.0
    low: float = 1.0
    high: float = 1.0
    pairs: int = 0


class PolicyHistory(Message, tag="policy_history", frozen=True, kw_only=True):
    """The newest of what happened, oldest first."""

    policy: Name
    events: list[PolicyEvent] = field(default_factory=list)
    more: int = 0
    """Older ones that are known and left out."""


class PolicySearchRequest(Message, tag="policy_search_request", frozen=True, kw_only=True):
    """Look for policies by words, by what they were tried on, or by both."""

    words: Words = ""
    fingerprint: Fingerprint | None = None
    """What was tried under something like this, as recalling has it."""
    features: dict[str, float] = field(default_factory=dict)
    limit: Annotated[int, Meta(ge=1, le=50)] = 10


class PolicyHit(Part, frozen=True, kw_only=True):
    """A version of a policy that was found."""

    about: PolicyVersion
    score: float
    """Of its words, as BM25 has it, times its likeness: only its order means something."""
    words: list[str] = field(default_factory=list)
    """Those that were found."""
    excerpt: str = ""
    """The passage that fits the words best."""
    likeness: float = 0.0
    """0 to 1, of `fingerprint` to what was asked for; 0 if nothing was."""
    fingerprint: Key = ""


class PolicyHits(Message, tag="policy_hits", frozen=True, kw_only=True):
    """What was found, the best first."""

    hits: list[PolicyHit] = field(default_factory=list)
    more: int = 0
