"""Scheduling policies: what can be deployed, as their manifests describe it.

A catalogue is a directory. Each directory in it with a `policy.toml` is a policy of that name:
manifest, hooks in C, and a README. Everybody reads manifests (the planner needs classes and
parameters, the command line the list); only the executor's gate compiles the hooks.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, field

from shared.classes import WorkloadClass
from shared.errors import CoxswainError, InputError, ManifestError
from shared.fleet import said_of
from shared.messages import Made, Name, OptimizeRequest
from shared.parameters import Parameter, Text

MANIFEST: Final = "policy.toml"
HOOKS: Final = "hooks.bpf.c"
README: Final = "README.md"
DEFAULT_CATALOGUE: Final = Path(__file__).resolve().parent.parent / "bpf" / "policies"
"""The catalogue that comes with the project."""

MAX_WAIT_BOUND_NS: Final = 8_000_000_000
"""No policy may promise less: hosts load with a watchdog of 10 s, which must never be the one
to end a starving task's wait."""

_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MADE_OF_PARENT: Final = 40
"""Characters of a parent's name in the name of what was made from it."""

Version = Annotated[str, Meta(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")]
KernelVersion = Annotated[str, Meta(pattern=r"^\d+\.\d+$")]


class Tunable(msgspec.Struct, frozen=True):
    """Bounds and default of one of the frame's own settings, in ns."""

    low: int
    high: int
    default: int


FRAME: Final[Mapping[str, Tunable]] = {
    "frame_window_ns": Tunable(0, 2_500_000_000, 50_000_000),
    "frame_group_window_ns": Tunable(10_000_000, 1_000_000_000, 100_000_000),
    "frame_slice_min_ns": Tunable(100_000, 4_000_000, 500_000),
    "frame_slice_max_ns": Tunable(4_000_000, 100_000_000, 20_000_000),
    "frame_cycle_ns": Tunable(100_000_000, 1_000_000_000, 1_000_000_000),
    "frame_preempt_gap_ns": Tunable(50_000, 10_000_000, 100_000),
}
"""The frame's settings (bpf/frame/frame.bpf.c): a manifest may set them once, nobody tunes them."""


def wait_bound_ns(frame: Mapping[str, int], queued: int) -> int:
    """Longest wait of a runnable task under these settings of the frame, whatever hooks answer.

    2 window + group window + slice_max + turn, where turn = cycle (1 + ln(n slice_max / cycle))
    but not below n slice_min; derived in docs/frame.md. `queued` is n, the tasks that wait where
    it does.
    """
    cycle = frame["frame_cycle_ns"]
    crowding = queued * frame["frame_slice_max_ns"] / cycle
    turn = cycle * (1 + math.log(max(1.0, crowding)))
    return int(
        2 * frame["frame_window_ns"]
        + frame["frame_group_window_ns"]
        + frame["frame_slice_max_ns"]
        + max(turn, queued * frame["frame_slice_min_ns"])
    )


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a manifest's parts."""


class Manifest(_Part, frozen=True, kw_only=True):
    """One `policy.toml`."""

    name: Name
    version: Version
    summary: Text
    good_for: list[WorkloadClass]
    """Classes it was made for; none for a reference policy, which is not proposed by itself."""
    kernel_min: KernelVersion = "6.12"
    parameter: list[Parameter] = field(default_factory=list)
    frame: dict[str, int] = field(default_factory=dict)
    """Settings of the frame that differ from its defaults, built into the artifact."""

    @property
    def defaults(self) -> dict[str, int]:
        """Every parameter's default."""
        return {parameter.name: parameter.default for parameter in self.parameter}

    def complete(self, parameters: Mapping[str, int]) -> dict[str, int]:
        """All parameters: the given ones, defaults for the rest. Raises InputError."""
        known = {parameter.name: parameter for parameter in self.parameter}
        for name, value in parameters.items():
            parameter = known.get(name)
            if parameter is None:
                raise InputError(
                    f"policy {self.name} has no parameter {name[:80]!r}",
                    expected=f"one of: {', '.join(known) or 'none at all'}",
                    got=repr(name)[:80],
                )
            if not parameter.low <= value <= parameter.high:
                raise InputError(
                    f"parameter {name} of policy {self.name} is out of bounds",
                    expected=f"{parameter.low} to {parameter.high} {parameter.unit}",
                    got=str(value),
                )
        return self.defaults | dict(parameters)

    def check_whole(self, parameters: Mapping[str, int]) -> None:
        """Raise InputError unless these are all parameters, each within its bounds."""
        if self.complete(parameters) != parameters:
            raise InputError(
                f"policy {self.name}: not all of its parameters are given",
                expected=", ".join(self.defaults),
                got=", ".join(parameters) or "none",
            )

    def is_whole(self, parameters: Mapping[str, int]) -> bool:
        """Whether these are all parameters, each within its bounds."""
        try:
            self.check_whole(parameters)
        except InputError:
            return False
        return True

    @property
    def frame_settings(self) -> dict[str, int]:
        """All of the frame's settings under this policy."""
        return {name: tunable.default for name, tunable in FRAME.items()} | self.frame

    @property
    def wait_bound_ns(self) -> int:
        """Longest wait of a runnable task for 1000 tasks per queue, whatever the hooks answer."""
        return wait_bound_ns(self.frame_settings, queued=1000)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy of a catalogue: its manifest and the source of its hooks."""

    manifest: Manifest
    source: str
    directory: Path
    """Its own, or its parent's if it was made."""
    made: Made | None = None
    """What a mind has written; None for a policy that ships."""

    @property
    def name(self) -> str:
        """Its name: its directory's."""
        return self.manifest.name

    @property
    def source_sha256(self) -> str:
        """Of its hooks, as an artifact names the source it was made of."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def readme(self) -> str:
        """Its README, or nothing where there is none. Raises ManifestError."""
        if self.made is not None:
            return ""
        path = self.directory / README
        try:
            return path.read_text(encoding="utf-8") if path.is_file() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(
                f"{path} cannot be read", expected="UTF-8 text", got=str(error)
            ) from error


class Catalogue(Mapping[str, Policy]):
    """All policies of a directory, by name."""

    def __init__(
        self, policies: Mapping[str, Policy], retired: Mapping[str, str] | None = None
    ) -> None:
        """`retired`: as `shared.fleet.Orders` has it; these are not there, and are not made."""
        self._retired = dict(retired or {})
        self._all = dict(sorted(policies.items()))
        self._policies = {
            name: policy for name, policy in self._all.items() if not self._why_not(policy)
        }

    @classmethod
    def load(cls, path: Path = DEFAULT_CATALOGUE) -> Catalogue:
        """Read every policy below `path`. Raises ManifestError at the first that is wrong."""
        manifests = sorted(path.glob(f"*/{MANIFEST}"))
        if not manifests:
            raise ManifestError(
                "the catalogue holds no policy",
                expected=f"a directory with <name>/{MANIFEST} in it",
                got=str(path),
                advice="Name the directory that holds the policies.",
            )
        loaded = [load_policy(manifest.parent) for manifest in manifests]
        return cls({policy.name: policy for policy in loaded})

    def without(self, retired: Mapping[str, str]) -> Catalogue:
        """What is left when operators have retired these."""
        return Catalogue(self._all, {**self._retired, **retired})

    def holds(self, name: str, made: Made | None) -> bool:
        """Whether `policy` finds it: it ships or may be made, and no operator has retired it."""
        if made is None:
            return name in self._policies
        try:
            return self.make(made).name == name
        except CoxswainError:
            return False

    def _why_not(self, policy: Policy) -> str:
        """The reason with which operators have retired it, or what it was made of; else empty."""
        family = [policy.name] if policy.made is None else [policy.name, policy.made.parent]
        said = (said_of(self._retired, each, policy.manifest.version) for each in family)
        return next(filter(None, said), "")

    def _refusal(self, policy: Policy) -> InputError:
        return InputError(
            "an operator has retired this policy",
            expected=f"one of {', '.join(self._policies)}",
            got=f"{policy.name}: {self._why_not(policy)}",
            advice="`cox policies promote` takes that back.",
        )

    def __getitem__(self, name: str) -> Policy:
        """The policy of that name. Raises InputError, which is no KeyError, for others."""
        try:
            return self._policies[name]
        except KeyError:
            if name in self._all:
                raise self._refusal(self._all[name]) from None
            raise InputError(
                "no such policy",
                expected=f"one of {', '.join(self._policies)}",
                got=repr(name)[:80],
                advice="`cox policies` lists them.",
            ) from None

    def policy(self, name: str, made: Made | None) -> Policy:
        """The one that ships under that name, or the one that was made if one is given.

        Raises InputError for a name that is not that of what was made, and as `make`.
        """
        if made is None:
            return self[name]
        policy = self.make(made)
        if policy.name != name:
            raise InputError(
                "hooks that were made go under another name",
                expected=f"{policy.name}, which their hash is part of",
                got=repr(name)[:80],
            )
        return policy

    def make(self, made: Made) -> Policy:
        """Hooks that a mind has written as a policy in the frame of their parent.

        Raises InputError for a parent that does not ship and for what operators have retired,
        ManifestError for wrong parameters.
        """
        parent = self[made.parent]
        if parent.made is not None:
            raise InputError(
                "the parent was made itself",
                expected="a policy that ships: frame settings are taken from it",
                got=repr(made.parent)[:80],
            )
        name = made_name(made)
        manifest = Manifest(
            name=name,
            version=parent.manifest.version,
            summary=made.summary,
            good_for=[],
            kernel_min=parent.manifest.kernel_min,
            parameter=made.parameter,
            frame=parent.manifest.frame,
        )
        _check(manifest, name)
        policy = Policy(
            manifest=manifest, source=made.source, directory=parent.directory, made=made
        )
        if self._why_not(policy):
            raise self._refusal(policy)
        return policy

    def joined(self, policies: Iterable[Policy]) -> Catalogue:
        """With these beside its own."""
        return Catalogue({**self._all, **{each.name: each for each in policies}}, self._retired)

    def __contains__(self, name: object) -> bool:
        return name in self._policies

    def __iter__(self) -> Iterator[str]:
        return iter(self._policies)

    def __len__(self) -> int:
        return len(self._policies)


def why_not_allowed(policy: Policy, request: OptimizeRequest) -> str:
    """What keeps a request from having this policy tried; empty if nothing does."""
    if policy.made is not None and not request.made:
        return "it was made by a mind, and the request wants none of those"
    family = {policy.name} if policy.made is None else {policy.name, policy.made.parent}
    if request.policies and family.isdisjoint(request.policies):
        return f"the request names {', '.join(request.policies)}"
    return ""


def made_name(made: Made) -> str:
    """What hooks that were made are called: by their parent, and by a hash of all that they are.

    So nobody chooses that name, and two that wrote the same wrote one policy.
    """
    content = msgspec.json.encode((made.parent, made.source, made.parameter), order="deterministic")
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"{made_prefix(made.parent)}{digest}"


def made_prefix(parent: str) -> str:
    """What names of hooks that were made of a policy begin with."""
    return f"{parent[:_MADE_OF_PARENT]}-made-"


def load_policy(directory: Path) -> Policy:
    """Read one policy's directory. Raises ManifestError."""
    path = directory / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
        source = (directory / HOOKS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"policy {directory.name} cannot be read",
            expected=f"{MANIFEST} and {HOOKS} as UTF-8 text",
            got=str(error),
        ) from error
    manifest = parse_manifest(text, where=str(path))
    if manifest.name != directory.name:
        raise ManifestError(
            f"{path} names another policy",
            expected=f"name = {directory.name!r}, like its directory",
            got=repr(manifest.name),
        )
    return Policy(manifest=manifest, source=source, directory=directory)


def parse_manifest(text: str, *, where: str = MANIFEST) -> Manifest:
    """Decode and check a manifest's TOML text. Raises ManifestError naming `where`."""
    try:
        manifest = msgspec.toml.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise ManifestError(
            f"{where} is not a valid policy manifest",
            expected="TOML with the fields that bpf/policies/README.md lists",
            got=str(error),
        ) from error
    _check(manifest, where)
    return manifest


def _check(manifest: Manifest, where: str) -> None:
    def wrong(what: str, expected: str, got: str) -> ManifestError:
        return ManifestError(f"{where}: {what}", expected=expected, got=got)

    names = [parameter.name for parameter in manifest.parameter]
    for parameter in manifest.parameter:
        if names.count(parameter.name) > 1:
            raise wrong("a parameter is declared twice", "each name once", parameter.name)
        _check_parameter(parameter, wrong)
    for name, value in manifest.frame.items():
        tunable = FRAME.get(name)
        if tunable is None:
            raise wrong("the frame has no such setting", f"one of: {', '.join(FRAME)}", name[:80])
        if not tunable.low <= value <= tunable.high:
            raise wrong(f"{name} is out of bounds", f"{tunable.low} to {tunable.high}", str(value))
    if manifest.wait_bound_ns > MAX_WAIT_BOUND_NS:
        raise wrong(
            "a task could wait too long under these settings of the frame",
            f"a bound of at most {MAX_WAIT_BOUND_NS / 1e9:g} s",
            f"{manifest.wait_bound_ns / 1e9:.1f} s",
        )


def _check_parameter(parameter: Parameter, wrong: Callable[[str, str, str], ManifestError]) -> None:
    name = parameter.name
    if not _VARIABLE.fullmatch(name) or name.startswith(("frame_", "cox_")):
        raise wrong(
            "a parameter's name is not valid",
            "lower-case letters, digits and underscores; frame_ and cox_ are the frame's",
            repr(name)[:80],
        )
    if not parameter.low <= parameter.default <= parameter.high:
        raise wrong(
            f"the bounds of {name} do not fit its default",
            "low <= default <= high",
            f"{parameter.low}, {parameter.default}, {parameter.high}",
        )
    if parameter.scale == "log" and parameter.low <= 0:
        raise wrong(
            f"{name} has a logarithmic scale and a low end that has no logarithm",
            "low > 0",
            str(parameter.low),
        )
