"""Workloads: what can be run and measured, as their manifests describe it.

A catalogue is a directory. Each directory in it with a `workload.toml` is a workload of that
name; `common/` holds sources that several of them share. Everybody reads manifests (the planner
needs objective and guardrails, the command line the list); only the observer runs them.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, field
from msgspec.structs import replace

from shared.classes import WorkloadClass
from shared.errors import InputError, ManifestError
from shared.messages import Guardrail, Name, Objective

MANIFEST: Final = "workload.toml"
COMMON: Final = "common"
DEFAULT_CATALOGUE: Final = Path(__file__).resolve().parent.parent / "workloads"
"""The catalogue that comes with the project."""

SETUP_PLACEHOLDERS: Final = frozenset({"work", "source", "common", "cpus"})
COMMAND_PLACEHOLDERS: Final = SETUP_PLACEHOLDERS | {"seed"}
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")

_Wrong = Callable[[str, str, str], ManifestError]

Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Argv = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1)]
Seconds = Annotated[float, Meta(gt=0.0, le=3600.0)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a manifest's parts."""


class Metric(_Part, frozen=True, kw_only=True):
    """Another number the workload prints, besides objective and guardrails."""

    metric: str
    unit: str
    summary: str = ""


class Victim(_Part, frozen=True, kw_only=True):
    """Whom a bad policy would hurt: the tasks' name in the kernel, and what they do."""

    comm: Annotated[str, Meta(min_length=1, max_length=15)]
    what: Text


class Requires(_Part, frozen=True, kw_only=True):
    """What must be on the host, each with what to install or do when it is missing."""

    programs: dict[str, Text] = field(default_factory=dict)
    paths: dict[str, Text] = field(default_factory=dict)


class Manifest(_Part, frozen=True, kw_only=True, rename={"workload_class": "class"}):
    """One `workload.toml`. Commands may hold {work}, {source}, {common}, {cpus}, {seed}."""

    name: Name
    summary: Text
    workload_class: WorkloadClass
    """What a profile of it is expected to be classified as."""
    command: Argv
    objective: Objective
    round_s: Seconds
    """About how long one round takes on a lab host."""
    timeout_s: Seconds
    """When a round is given up."""
    neighbour_margin: Annotated[float, Meta(ge=0.0)] = 0.05
    """How much worse the objective may get while another workload is optimized beside it."""
    setup: list[Argv] = field(default_factory=list)
    """Run once per host, one after the other, in the workload's private work directory."""
    setup_timeout_s: Seconds = 300.0
    metric: list[Metric] = field(default_factory=list)
    guardrail: list[Guardrail] = field(default_factory=list)
    victim: list[Victim] = field(default_factory=list)
    requires: Requires = Requires()

    @property
    def measured(self) -> list[Objective | Guardrail | Metric]:
        """Everything with a metric: the objective first."""
        return [self.objective, *self.guardrail, *self.metric]


class Workload(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A workload of a catalogue: its manifest and where its files are."""

    manifest: Manifest
    source: Path
    common: Path

    @property
    def name(self) -> str:
        """Its name: its directory's."""
        return self.manifest.name

    @property
    def objective(self) -> Objective:
        """The one metric to improve."""
        return self.manifest.objective

    @property
    def guardrails(self) -> list[Guardrail]:
        """What must not get worse."""
        return self.manifest.guardrail

    @property
    def as_neighbour(self) -> list[Guardrail]:
        """What another workload, optimized beside this one, must not make worse."""
        objective = Guardrail(
            metric=self.objective.metric,
            direction=self.objective.direction,
            margin=self.manifest.neighbour_margin,
            unit=self.objective.unit,
        )
        return [
            replace(each, metric=neighbours_metric(self.name, each.metric))
            for each in (objective, *self.guardrails)
        ]

    @cached_property
    def units(self) -> dict[str, str]:
        """Every metric's name, with its unit: exactly what a run must print."""
        return {part.metric: part.unit for part in self.manifest.measured}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every file (path, mode's x bit, content) the workload is made of."""
        total = hashlib.sha256()
        for root in (self.source, self.common):
            for path in sorted(root.rglob("*")) if root.is_dir() else ():
                if not path.is_file():
                    continue
                content = path.read_bytes()
                runnable = path.stat().st_mode & 0o100
                head = f"{root.name}/{path.relative_to(root)} {runnable} {len(content)}\n"
                total.update(head.encode())
                total.update(content)
        return total.hexdigest()


class Catalogue(Mapping[str, Workload]):
    """All workloads of a directory, by name."""

    def __init__(self, workloads: Mapping[str, Workload]) -> None:
        self._workloads = dict(sorted(workloads.items()))

    @classmethod
    def load(cls, path: Path = DEFAULT_CATALOGUE) -> Catalogue:
        """Read every manifest below `path`. Raises ManifestError at the first that is wrong."""
        if not path.is_dir():
            raise ManifestError(
                "there is no catalogue of workloads",
                expected=f"a directory with <name>/{MANIFEST} in it",
                got=str(path),
                advice="Name the directory that holds the workloads.",
            )
        manifests = sorted(path.glob(f"*/{MANIFEST}"))
        if not manifests:
            raise ManifestError(
                "the catalogue holds no workload",
                expected=f"at least one <name>/{MANIFEST}",
                got=f"none in {path}",
                advice="Name the directory that holds the workloads.",
            )
        loaded = [load_workload(manifest) for manifest in manifests]
        return cls({workload.name: workload for workload in loaded})

    def __getitem__(self, name: str) -> Workload:
        """The workload of that name. Raises InputError, which is no KeyError, for others."""
        try:
            return self._workloads[name]
        except KeyError:
            raise InputError(
                "no such workload",
                expected=f"one of {', '.join(self._workloads)}",
                got=repr(name)[:80],
                advice="Ask for one of these, or add its directory to the catalogue.",
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._workloads

    def __iter__(self) -> Iterator[str]:
        return iter(self._workloads)

    def __len__(self) -> int:
        return len(self._workloads)


def load_workload(path: Path) -> Workload:
    """Read and check one manifest. Raises ManifestError that names file and field."""
    try:
        manifest = msgspec.toml.decode(path.read_bytes(), type=Manifest)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ManifestError(
            "a workload's manifest is not valid",
            expected="the fields that docs/workloads.md lists",
            got=f"{path}: {error}",
            advice="Correct the file.",
        ) from error
    _check(manifest, path)
    return Workload(
        manifest=manifest,
        source=path.parent,
        common=path.parent.parent / COMMON,
    )


def neighbours_metric(workload: str, metric: str) -> str:
    """What a neighbour's metric is called: no workload and no metric has a dot in its own name."""
    return f"{workload}.{metric}"


def expand(argv: list[str], values: Mapping[str, str]) -> list[str]:
    """The argument list with its placeholders filled in; literal braces are written {{ }}."""
    return [argument.format_map(values) for argument in argv]


def _check(manifest: Manifest, path: Path) -> None:
    """What the types cannot say."""

    def wrong(what: str, expected: str, got: str) -> ManifestError:
        return ManifestError(
            f"a workload's manifest is not valid: {what}",
            expected=expected,
            got=got,
            advice=f"Correct {path}.",
        )

    if manifest.name != path.parent.name:
        raise wrong("name", f"its directory's name, {path.parent.name!r}", repr(manifest.name))
    if manifest.timeout_s < 2 * manifest.round_s:
        raise wrong(
            "timeout_s",
            f"at least twice round_s, {2 * manifest.round_s:g}",
            f"{manifest.timeout_s:g}",
        )
    names = [part.metric for part in manifest.measured]
    for name in names:
        if not _METRIC.fullmatch(name):
            raise wrong("metric", "lower-case letters, digits and '_'", repr(name))
        if names.count(name) > 1:
            raise wrong("metric", "each metric described once", f"{name!r} twice")
    for argv, allowed in (
        *((argv, SETUP_PLACEHOLDERS) for argv in manifest.setup),
        (manifest.command, COMMAND_PLACEHOLDERS),
    ):
        for argument in argv:
            _check_placeholders(argument, allowed, wrong)


def _check_placeholders(argument: str, allowed: frozenset[str], wrong: _Wrong) -> None:
    expected = "only the placeholders " + ", ".join(f"{{{name}}}" for name in sorted(allowed))
    try:
        fields = list(string.Formatter().parse(argument))
    except ValueError as error:
        raise wrong("command", expected, f"{argument!r}: {error}") from error
    for _, name, specification, conversion in fields:
        if name is None:
            continue
        if name not in allowed or specification or conversion:
            raise wrong("command", expected, repr(argument))
