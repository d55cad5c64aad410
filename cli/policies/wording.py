"""How records, ratios and moments of policies are said."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.syntax import Syntax
from rich.text import Text

from cli import figures
from cli.follow.narrate import VERDICT_STYLES
from shared.fleet import said_of

if TYPE_CHECKING:
    from shared.fleet import Orders
    from shared.messages import Made
    from shared.repository import Best, Combined, Newest, PolicyEvent, Tally

CONFLICT = "yellow"


def origin(made: Made) -> str:
    """Where hooks are from that do not ship: `written by llm, in the frame of latency`."""
    by = f"written by {made.mind or 'an unknown mind'}, in the frame of {made.parent}"
    by += f", a change of {made.revises}" if made.revises else ""
    return f"{by}; prompt {made.prompt_sha256[:12]}" if made.prompt_sha256 else by


def hooks(made: Made) -> Syntax:
    """Their source."""
    return Syntax(made.source.strip(), "c", theme="ansi_dark")


def without(reason: str) -> Text:
    """Why there are no outcomes."""
    return Text(f"\nWithout outcomes, which the learner keeps: {reason}.", "dim")


def left_out(count: int, what: str) -> Text:
    """What did not fit."""
    return Text(f"… and {count} {what}", "dim")


def ordered(orders: Orders, policy: str, version: str, *, before: str = "") -> Text:
    """What operators have said of it, after `before`; nothing where they have not."""
    if why := said_of(orders.retired, policy, version):
        return Text(f"{before}an operator has retired it: {why}", "yellow")
    if why := said_of(orders.preferred, policy, version):
        return Text(f"{before}an operator prefers it: {why}", "green")
    return Text()


def moment(unix_ns: int) -> str:
    """When, in local time."""
    if not unix_ns:
        return "?"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_ns / 1e9))


def tally(of: Tally) -> str:
    """Trials by verdict: `5 trials: 3 promoted, 2 reverted`."""
    parts = [
        f"{count} {verdict}"
        for count, verdict in (
            (of.promoted, "promoted"),
            (of.reverted, "reverted"),
            (of.inconclusive, "inconclusive"),
        )
        if count
    ]
    trials = f"{of.trials} trial{'' if of.trials == 1 else 's'}"
    return f"{trials}: {', '.join(parts)}" if parts else "never tried"


def ratio(of: Combined | Newest | PolicyEvent) -> str:
    """A ratio and its interval."""
    return f"{figures.ratio(of.ratio)} {figures.interval(of.low, of.high)}"


def best(of: Best) -> Text:
    """A version's best ratio."""
    said = Text(f"best {ratio(of.combined)} {objective(of.objective)}")
    return said.append("  conflicting", CONFLICT) if of.conflicting else said


def objective(of: str) -> str:
    """`wakeup_p99_us:lower` in words."""
    metric, _, direction = of.rpartition(":")
    return f"{metric}, {direction} is better" if metric else of


def verdict(of: str) -> Text:
    """A verdict in its colour."""
    return Text(of, VERDICT_STYLES.get(of, ""))
