"""`cox policies`: what can be deployed."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cli.output import print_json, show
from shared.policies import Catalogue, Parameter, Policy


def list_policies(*, as_json: bool) -> None:
    """All policies of the repository."""
    policies = Catalogue.load()
    if as_json:
        print_json({"type": "policies", "policies": [p.manifest for p in policies.values()]})
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("policy", "version", "good for", "tunables", "what it does"):
        table.add_column(column, overflow="fold")
    for policy in policies.values():
        manifest = policy.manifest
        table.add_row(
            Text(manifest.name, style="bold"),
            manifest.version,
            ", ".join(manifest.good_for) or Text("reference", style="dim"),
            str(len(manifest.parameter)),
            manifest.summary,
        )
    show(table)


def show_policy(name: str, *, as_json: bool) -> None:
    """One policy's manifest, and its hooks."""
    policy = Catalogue.load()[name]
    if as_json:
        print_json({"type": "policy", "manifest": policy.manifest, "source": policy.source})
    else:
        show(_details(policy))


def _details(policy: Policy) -> Group:
    manifest = policy.manifest
    head = Text.assemble((manifest.name, "bold"), f" {manifest.version}\n{manifest.summary}\n")
    facts = Table.grid(padding=(0, 2, 0, 0))
    good_for = ", ".join(manifest.good_for) or "nothing by itself: a reference"
    for label, text in (
        ("good for", good_for),
        ("kernel", f"{manifest.kernel_min} or later"),
        ("longest wait", f"{manifest.wait_bound_ns / 1e9:.1f} s with 1000 tasks in a queue"),
        ("hooks", str(policy.directory / "hooks.bpf.c")),
    ):
        facts.add_row(Text(label, style="dim"), text)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("tunable", "default", "from", "to", "unit", "what it does"):
        table.add_column(column, overflow="fold")
    for parameter in manifest.parameter:
        table.add_row(*_cells(parameter))
    return Group(head, facts, Text(), table) if manifest.parameter else Group(head, facts)


def _cells(parameter: Parameter) -> tuple[str, ...]:
    return (
        parameter.name,
        f"{parameter.default:_}",
        f"{parameter.low:_}",
        f"{parameter.high:_}",
        parameter.unit,
        parameter.summary,
    )
