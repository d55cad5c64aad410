"""The way back to the kernel's default, step by step, without anybody's help."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from services.executor.guard.limits import KILL_S, PRESS_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.executor.guard.kernel import Kernel

_POLL_S = 0.005


class Restored(NamedTuple):
    """What was done, how long it took, and whether a scheduler of ours is gone."""

    steps: list[str]
    back_s: float
    restored: bool


def restore(
    kernel: Kernel, executor: tuple[int, int] | None, patience_s: float = KILL_S
) -> Restored:
    """End a scheduler of ours: kill who holds it, then press the kernel's key.

    `executor` is its pid and a pidfd; it has `patience_s` to die, which one that starves cannot.
    A scheduler that is not ours is never touched.
    """
    begun_s = time.monotonic()
    steps: list[str] = []
    if executor is not None and kernel.look().ours:
        steps.append(_kill(*executor))
        _wait(lambda: not kernel.look().ours, patience_s)
    if kernel.look().ours:
        steps.append(kernel.press_sysrq())
        _wait(lambda: not kernel.look().ours, PRESS_S)
    return Restored(steps, time.monotonic() - begun_s, not kernel.look().ours)


def _kill(pid: int, pidfd: int) -> str:
    """SIGKILL reaches a stopped process, too. Its link dies with it, for it is not pinned."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return f"executor {pid} had ended"
    except PermissionError as error:
        return f"executor {pid} could not be killed: {error}"
    return f"SIGKILL of executor {pid}"


def _wait(done: Callable[[], bool], limit_s: float) -> None:
    until_s = time.monotonic() + limit_s
    while not done() and time.monotonic() < until_s:
        time.sleep(_POLL_S)
