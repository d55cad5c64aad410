"""`cox gate check`: a policy through the gate on this machine; nothing is loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import field
from rich.table import Table
from rich.text import Text

from cli import figures
from cli.output import print_json, show
from services.executor.gate import Accepted, BuildRequest, Rejected, Workshop, build
from shared.errors import InputError
from shared.messages import Artifact, Message, Reason
from shared.policies import MANIFEST, Manifest, parse_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from services.executor.gate.stage import Verdict

REJECTED = 3


class GateCheck(Message, tag="gate_check", frozen=True, kw_only=True):
    """The gate's answer for `--json`."""

    policy: str
    accepted: bool
    stages: list[str]
    """Those that said yes, in order."""
    rejected_by: str = ""
    reasons: list[Reason] = field(default_factory=list)
    artifact: Artifact | None = None


def check(source: Path, manifest: Path | None, *, as_json: bool) -> int:
    """Build and prove hooks; 0 if they may be loaded, 3 with reasons if not."""
    request = BuildRequest(manifest=_manifest(source, manifest), source=_text(source))
    answer = build(request, Workshop())
    if as_json:
        print_json(_document(answer, request.manifest.name))
    else:
        _show(answer, source)
    return 0 if isinstance(answer, Accepted) else REJECTED


def _manifest(source: Path, manifest: Path | None) -> Manifest:
    """The named manifest, else the one beside the file, else one without tunables."""
    beside = source.parent / MANIFEST
    path = manifest or (beside if beside.is_file() else None)
    if path is not None:
        return parse_manifest(_text(path), where=str(path))
    name = re.sub(r"[^A-Za-z0-9_-]", "-", source.name.partition(".")[0])[:64] or "policy"
    return Manifest(name=name, version="0.0.0", summary="Not in the repository.", good_for=[])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read",
            expected="a file of UTF-8 text",
            got=str(error),
            advice="Give the C source of a policy's hooks: see bpf/policies/fifo/hooks.bpf.c.",
        ) from None


def _document(answer: Accepted | Rejected, policy: str) -> GateCheck:
    passed = [verdict.stage for verdict in answer.verdicts if verdict.passed]
    if isinstance(answer, Accepted):
        return GateCheck(policy=policy, accepted=True, stages=passed, artifact=answer.artifact)
    return GateCheck(
        policy=policy,
        accepted=False,
        stages=passed,
        rejected_by=answer.stage,
        reasons=answer.reasons,
    )


def _show(answer: Accepted | Rejected, source: Path) -> None:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for verdict in answer.verdicts:
        grid.add_row(*_row(verdict))
    show(grid)
    if isinstance(answer, Accepted):
        artifact = answer.artifact
        text = f"{artifact.size_bytes / 1024:.0f} KiB, sha256 {artifact.sha256}"
        show(Text.assemble(("accepted", "bold green"), f"  {artifact.policy}: {text}"))
        return
    show(Text.assemble(("rejected", "bold yellow"), f"  by {answer.stage}"))
    for reason in answer.reasons:
        where = f"{source}:{reason.line}: " if reason.line else f"{source}: "
        show(Text.assemble(("  " + where, "dim"), (reason.rule, "bold"), f": {reason.text}"))


def _row(verdict: Verdict) -> tuple[Text, Text, Text]:
    mark = Text("✓", style="green") if verdict.passed else Text("✗", style="yellow")
    mark.append(f" {verdict.stage}", style="default")
    found = ", ".join(f"{name} {figures.number(value)}" for name, value in verdict.evidence.items())
    return mark, Text(figures.seconds(verdict.seconds), style="dim"), Text(found, style="dim")
