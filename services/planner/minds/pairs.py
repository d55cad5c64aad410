"""How a budget of paired rounds is shared: a few to screen each candidate, the rest to confirm."""

from __future__ import annotations

CONFIRM_PAIRS = 16
"""More pairs than this rarely change a verdict; what is left of the budget is not spent."""

MIN_CONFIRM = 8
SCREEN_PAIRS = 3
"""Where candidates are screened once."""
LOOK_PAIRS = 2
"""Where they are screened in generations: the better ones are looked at again."""
MAX_CANDIDATES = 3


def room_for(rounds: int) -> int:
    """How many candidates a budget can tell apart: at least one."""
    return max(1, min((rounds - MIN_CONFIRM) // SCREEN_PAIRS, MAX_CANDIDATES))


def shared(rounds: int, candidates: int) -> tuple[int, int]:
    """Pairs to screen each of them, none for one alone, and pairs to confirm the best."""
    screen = SCREEN_PAIRS if candidates > 1 else 0
    return screen, min(rounds - screen * candidates, CONFIRM_PAIRS)


def looks(rounds: int, used: int) -> int:
    """How many candidates may have a look yet: half of a budget is kept to confirm the best."""
    kept = max(MIN_CONFIRM, min(CONFIRM_PAIRS, rounds // 2))
    return max(0, (rounds - used - kept) // LOOK_PAIRS)
