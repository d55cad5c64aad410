"""`cox gate check`: a policy through the gate on this machine; nothing is loaded on it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from msgspec import field
from rich.table import Table
from rich.text import Text

from cli import figures
from cli.output import print_json, show
from services.executor.gate import Accepted, BuildRequest, Workshop, build, check_object
from services.executor.gate.elf import MAGIC
from services.executor.gate.sandbox import Sandbox, SandboxStage
from services.executor.gate.sandbox.pool import CPUS, sandbox_image
from shared.errors import InputError
from shared.messages import Artifact, Message, Reason
from shared.policies import MANIFEST, Manifest, parse_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from services.executor.gate.stage import Stage, Verdict

REJECTED = 3
MOST_CPUS = 16
"""Of a guest: more are slower, not better, where they are emulated."""


class GateCheck(Message, tag="gate_check", frozen=True, kw_only=True):
    """The gate's answer for `--json`."""

    policy: str
    accepted: bool
    stages: list[str]
    """Those that said yes, in order."""
    rejected_by: str = ""
    reasons: list[Reason] = field(default_factory=list)
    artifact: Artifact | None = None
    """None for an accepted object, too: the fleet's gate compiles by itself."""


def check(
    file: Path,
    manifest: Path | None,
    *,
    as_json: bool,
    sandbox: bool = False,
    cpus: str = "",
) -> int:
    """Judge hooks, as source or compiled; 0 if they may be loaded, 3 with reasons if not.

    With `sandbox` what passes is besieged in microVMs of so many `cpus`. Raises MachineError where
    there can be none.
    """
    data, declared = _bytes(file), _manifest(file, manifest)
    if sandbox or cpus:
        verdicts, artifact = asyncio.run(_besieged(data, declared, file, _counts(cpus)))
    else:
        verdicts, artifact = _judged(data, declared, file)
    if as_json:
        print_json(_document(declared.name, verdicts, artifact))
    else:
        _show(file, declared.name, verdicts, artifact)
    return 0 if verdicts[-1].passed else REJECTED


async def _besieged(
    data: bytes, declared: Manifest, file: Path, cpus: tuple[int, ...]
) -> tuple[list[Verdict], Artifact | None]:
    async with Sandbox(sandbox_image(), cpus=cpus) as sandbox:
        return await asyncio.to_thread(_judged, data, declared, file, SandboxStage(sandbox))


def _judged(
    data: bytes, declared: Manifest, file: Path, sandbox: Stage | None = None
) -> tuple[list[Verdict], Artifact | None]:
    if data.startswith(MAGIC):
        return check_object(data, declared, Workshop(), sandbox=sandbox), None
    request = BuildRequest(manifest=declared, source=_decoded(data, file))
    answer = build(request, Workshop(), sandbox=sandbox)
    return answer.verdicts, answer.artifact if isinstance(answer, Accepted) else None


def _counts(text: str) -> tuple[int, ...]:
    """`1,2,4`; the sandbox's own choice for nothing. Raises InputError."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if any(not part.isdecimal() or not 1 <= int(part) <= MOST_CPUS for part in parts):
        raise InputError(
            "these are no numbers of CPUs",
            expected=f"numbers from 1 to {MOST_CPUS} with commas between: 1,2,4",
            got=repr(text)[:80],
        )
    return tuple(dict.fromkeys(int(part) for part in parts)) or CPUS


def _manifest(file: Path, manifest: Path | None) -> Manifest:
    """The named manifest, else the one beside the file, else one without tunables."""
    beside = file.parent / MANIFEST
    path = manifest or (beside if beside.is_file() else None)
    if path is not None:
        return parse_manifest(_decoded(_bytes(path), path), where=str(path))
    name = re.sub(r"[^A-Za-z0-9_-]", "-", file.name.partition(".")[0])[:64] or "policy"
    return Manifest(name=name, version="0.0.0", summary="Not in the repository.", good_for=[])


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, str(error)) from None


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, str(error)) from None


def _unreadable(path: Path, got: str) -> InputError:
    return InputError(
        f"{path} cannot be read",
        expected="a file of UTF-8 text, or an object of clang -target bpf",
        got=got,
        advice="Give the C source of a policy's hooks: see bpf/policies/fifo/hooks.bpf.c.",
    )


def _document(policy: str, verdicts: list[Verdict], artifact: Artifact | None) -> GateCheck:
    last = verdicts[-1]
    return GateCheck(
        policy=policy,
        accepted=last.passed,
        stages=[verdict.stage for verdict in verdicts if verdict.passed],
        rejected_by="" if last.passed else last.stage,
        reasons=last.reasons,
        artifact=artifact,
    )


def _show(file: Path, policy: str, verdicts: list[Verdict], artifact: Artifact | None) -> None:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for verdict in verdicts:
        grid.add_row(*_row(verdict))
    show(grid)
    last = verdicts[-1]
    if last.passed:
        text = "no artifact comes of an object; the fleet's gate compiles from source"
        if artifact is not None:
            text = f"{artifact.size_bytes / 1024:.0f} KiB, sha256 {artifact.sha256}"
        show(Text.assemble(("accepted", "bold green"), f"  {policy}: {text}"))
        return
    show(Text.assemble(("rejected", "bold yellow"), f"  by {last.stage}"))
    for reason in last.reasons:
        where = f"{file}:{reason.line}: " if reason.line else f"{file}: "
        show(Text.assemble(("  " + where, "dim"), (reason.rule, "bold"), f": {reason.text}"))


def _row(verdict: Verdict) -> tuple[Text, Text, Text]:
    mark = Text("✓", style="green") if verdict.passed else Text("✗", style="yellow")
    mark.append(f" {verdict.stage}", style="default")
    found = ", ".join(f"{name} {figures.number(value)}" for name, value in verdict.evidence.items())
    return mark, Text(figures.seconds(verdict.seconds), style="dim"), Text(found, style="dim")
