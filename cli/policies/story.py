"""`cox policies history`: when a policy was built, where it was tried, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from cli.follow.narrate import parameters
from cli.output import plain_table, print_json, show
from cli.policies import wording
from cli.policies.known import ask
from services.learner.repository import history
from shared.repository import PolicyHistory, PolicyHistoryRequest

if TYPE_CHECKING:
    from rich.table import Table

    from shared.repository import PolicyEvent

KINDS = {"built": "green", "rejected": "red", "failed": "red"}


async def show_history(name: str, *, limit: int, as_json: bool) -> None:
    """Builds and trials of all versions, oldest first. Raises InputError for an unknown policy."""
    request = PolicyHistoryRequest(policy=name, limit=limit)
    known, without = await ask(
        "history", request, PolicyHistory, lambda repository: history(repository, request)
    )
    if as_json:
        print_json({"type": "policy_history", "history": known, "without": without})
        return
    if known.more:
        show(wording.left_out(known.more, "older ones; see more of them with --limit"))
    if known.events:
        show(_table(known.events))
    elif not without:
        show(Text(f"{name} was never built or tried."))
    if without:
        show(wording.without(without))


def _table(events: list[PolicyEvent]) -> Table:
    table = plain_table()
    table.add_column("when\nfor", no_wrap=True)
    table.add_column("what\nversion", no_wrap=True)
    table.add_column("where\nfingerprint", overflow="fold")
    table.add_column("ratio\nparameters, or why not", overflow="fold")
    for event in events:
        table.add_row(
            Text(wording.moment(event.unix_ns)).append(f"\n{event.optimization}", "dim"),
            _what(event).append(f"\n{event.version}", "dim"),
            _where(event),
            _came(event),
        )
    return table


def _what(event: PolicyEvent) -> Text:
    if event.kind == "tried":
        return wording.verdict(event.verdict)
    return Text(event.kind, KINDS[event.kind])


def _where(event: PolicyEvent) -> Text:
    if event.kind != "tried":
        return Text(event.artifact[:16], "dim")
    return Text(f"{event.workload} on {event.host}").append(f"\n{event.fingerprint}", "dim")


def _came(event: PolicyEvent) -> Text:
    if event.kind != "tried":
        return Text(event.reasons[0] if event.reasons else "", "dim")
    pairs = f"  {event.pairs} pair{'' if event.pairs == 1 else 's'}"
    return Text(f"{wording.ratio(event)}{pairs}").append(f"\n{parameters(event.parameters)}", "dim")
