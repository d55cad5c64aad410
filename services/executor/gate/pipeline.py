"""The gate's stages in their order, cheapest first, and what comes out at the end."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

import msgspec

from services.executor.gate.bound import BoundStage
from services.executor.gate.compile import CompileStage
from services.executor.gate.link import LinkStage
from services.executor.gate.proof import ProofStage
from services.executor.gate.source import SourceStage
from services.executor.gate.stage import MAX_REASONS, Stage, Verdict, Work
from shared.messages import Artifact, Reason
from shared.policies import Manifest, Policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.executor.gate.workshop import Workshop

STAGES: Final[tuple[Stage, ...]] = (
    BoundStage(),
    SourceStage(),
    CompileStage(),
    ProofStage(),
    LinkStage(),
)
OBJECT_STAGES: Final = frozenset({"bound", "proof", "link"})
"""Those that look at compiled hooks rather than at their source."""


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A policy to build: the repository's, or new hooks under a manifest."""

    manifest: Manifest
    source: str

    @classmethod
    def of(cls, policy: Policy) -> BuildRequest:
        """As it stands in a catalogue."""
        return cls(manifest=policy.manifest, source=policy.source)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """An object that may be loaded, and what was proven on the way."""

    artifact: Artifact
    object: bytes
    verdicts: list[Verdict]


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """Why not: the reasons of the first stage that said no."""

    policy: str
    stage: str
    reasons: list[Reason]
    verdicts: list[Verdict]


def judge(work: Work, stages: Sequence[Stage] = STAGES) -> list[Verdict]:
    """Take the work through the stages up to the first that says no. Raises MachineError."""
    verdicts: list[Verdict] = []
    for stage in stages:
        started = time.monotonic()
        finding = stage(work)
        verdict = Verdict(
            stage=stage.name,
            passed=not finding.reasons,
            reasons=finding.reasons[:MAX_REASONS],
            evidence=finding.evidence,
            seconds=time.monotonic() - started,
        )
        verdicts.append(verdict)
        if not verdict.passed:
            break
    return verdicts


def check_object(
    hooks: bytes, manifest: Manifest, workshop: Workshop, *, sandbox: Stage | None = None
) -> list[Verdict]:
    """Judge compiled hooks as if the gate had compiled them. Raises MachineError.

    With a `sandbox` (SandboxStage) what has come through all else is besieged. No artifact comes
    of it: the fleet's gate compiles by itself.
    """
    work = Work(manifest=manifest, source="", workshop=workshop, hooks=hooks)
    stages = [stage for stage in STAGES if stage.name in OBJECT_STAGES]
    return judge(work, stages + ([] if sandbox is None else [sandbox]))


def build(
    request: BuildRequest, workshop: Workshop, *, sandbox: Stage | None = None
) -> Accepted | Rejected:
    """Take a policy through all stages, a `sandbox` (SandboxStage) as the last if there is one.

    The artifact's evidence says whether there was: `sandboxed`. Raises MachineError if this
    machine cannot build.
    """
    work = Work(manifest=request.manifest, source=request.source, workshop=workshop)
    verdicts = judge(work, (*STAGES, *(() if sandbox is None else (sandbox,))))
    last = verdicts[-1]
    if not last.passed:
        return Rejected(
            policy=request.manifest.name,
            stage=last.stage,
            reasons=last.reasons,
            verdicts=verdicts,
        )
    evidence = {key: value for verdict in verdicts for key, value in verdict.evidence.items()}
    evidence["sandboxed"] = float(sandbox is not None)
    return Accepted(
        artifact=Artifact(
            sha256=hashlib.sha256(work.object).hexdigest(),
            size_bytes=len(work.object),
            policy=request.manifest.name,
            version=request.manifest.version,
            source_sha256=hashlib.sha256(request.source.encode()).hexdigest(),
            toolchain=workshop.toolchain.version,
            headers_sha256=workshop.headers_sha256,
            evidence=evidence,
        ),
        object=work.object,
        verdicts=verdicts,
    )
