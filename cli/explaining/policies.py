"""What a policy does, in the words of its own manifest and README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.explaining.decision import values
from cli.explaining.model import PolicyWords

if TYPE_CHECKING:
    from cli.explaining.known import Known
    from shared.messages import Candidate


def policies(known: Known) -> list[PolicyWords]:
    """Every policy that was planned or tried, once, the one that decided first."""
    trial = known.decisive
    deciding = [trial.candidate] if trial is not None else []
    tried = [each.candidate for each in known.record.trials]
    first: dict[tuple[str, str], Candidate] = {}
    for candidate in (*deciding, *tried, *known.candidates):
        first.setdefault((candidate.policy, candidate.version), candidate)
    return [_words(known, candidate) for candidate in first.values()]


def _words(known: Known, candidate: Candidate) -> PolicyWords:
    written = known.written(candidate)
    if written is None:
        return PolicyWords(
            name=candidate.policy,
            version=candidate.version,
            known=False,
            parameters=values(known, candidate),
        )
    manifest = written.manifest
    return PolicyWords(
        name=manifest.name,
        version=manifest.version,
        known=True,
        summary=manifest.summary,
        overview=section(written.readme, "Overview"),
        when_not=section(written.readme, "When not"),
        good_for=list(manifest.good_for),
        longest_wait_s=manifest.wait_bound_ns / 1e9,
        parameters=values(known, candidate),
        made=written.made,
    )


def section(readme: str, title: str) -> str:
    """What stands below a `## ` heading, as one paragraph; empty if there is none."""
    _, found, rest = f"\n{readme}".partition(f"\n## {title}\n")
    text, _, _ = rest.partition("\n## ")
    return " ".join(text.split()) if found else ""
