"""`cox policies list`: every policy and version in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from cli.output import plain_table, print_json, show
from cli.policies import wording
from cli.policies.known import ask, standing_orders
from services.learner.repository import policies
from shared.policies import Catalogue
from shared.repository import PoliciesRequest, PolicyList

if TYPE_CHECKING:
    from shared.repository import PolicyVersion


async def list_policies(*, as_json: bool) -> None:
    """All policies of the repository, and what came of them where a learner answers."""
    catalogue = Catalogue.load()
    known, without = await ask("policies", PoliciesRequest(), PolicyList, policies)
    orders = await standing_orders()
    if as_json:
        print_json(
            {
                "type": "policies",
                "policies": [policy.manifest for policy in catalogue.values()],
                "versions": known.policies,
                "more": known.more,
                "retired": orders.retired,
                "preferred": orders.preferred,
                "without": without,
            }
        )
        return
    told = {(each.policy, each.version): each for each in known.policies}
    table = plain_table()
    for column in ("policy", "version", "good for", "tunables", "what it does"):
        table.add_column(column, overflow="fold")
    for policy in catalogue.values():
        manifest = policy.manifest
        line = told.pop((manifest.name, manifest.version), None)
        table.add_row(
            Text(manifest.name, style="bold"),
            manifest.version,
            ", ".join(manifest.good_for) or Text("reference", style="dim"),
            str(len(manifest.parameter)),
            Text(manifest.summary)
            .append_text(wording.ordered(orders, manifest.name, manifest.version, before="\n"))
            .append_text(Text() if without else _came(line)),
        )
    for line in told.values():
        table.add_row(
            Text(line.policy, style="bold"),
            Text(line.version),
            Text("not shipped here", style="dim"),
            "",
            Text(line.summary)
            .append_text(wording.ordered(orders, line.policy, line.version, before="\n"))
            .append_text(_came(line)),
        )
    show(table)
    if known.more:
        show(wording.left_out(known.more, "versions that were used longer ago"))
    if without:
        show(wording.without(without))


def _came(line: PolicyVersion | None) -> Text:
    if line is None:
        return Text("\nunknown to the learner", "dim")
    said = Text(f"\n{wording.tally(line.tally)}", "dim")
    return said if line.best is None else said.append("\n").append_text(wording.best(line.best))
