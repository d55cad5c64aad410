"""`cox up --detach` and `cox down`: the same supervisor without a terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from cli.fleet.child import CHECKOUT
from cli.fleet.state import FleetState, logs_dir, read_state, remove_state
from shared.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READY_S = 60.0
READY_WITH_HOSTS_S = 1200.0
"""A first start builds the lab's image."""
STOP_S = 60.0
POLL_S = 0.1


def running() -> FleetState | None:
    """The `cox up` that runs now. What a crashed one has left is cleared away."""
    state = read_state()
    if state is None:
        return None
    if not state.supervisor.alive:
        remove_state()
        return None
    return state


def already(state: FleetState) -> MachineError:
    """The error of a second `cox up`."""
    return MachineError(
        "`cox up` runs already",
        expected="one for a state home",
        got=f"process {state.supervisor.pid}, bus {state.url}",
        advice="Use it, stop it with `cox down`, or set COX_HOME to another directory.",
    )


def start(
    *, port: int | None, hosts: int, watch: Callable[[FleetState], None] = lambda _: None
) -> FleetState:
    """Start a supervisor that outlives this command; returns when all its members are ready.

    Raises MachineError with the end of its log if it does not come that far; it is then gone.
    """
    found = running()
    if found is not None:
        raise already(found)
    log = logs_dir() / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", "cli", "up", "--hosts", str(hosts)]
    if port is not None:
        arguments += ["--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    return _wait_ready(process, log, READY_WITH_HOSTS_S if hosts else READY_S, watch)


def _wait_ready(
    process: subprocess.Popen[bytes],
    log: Path,
    deadline_s: float,
    watch: Callable[[FleetState], None],
) -> FleetState:
    give_up_s = time.monotonic() + deadline_s
    state: FleetState | None = None
    while time.monotonic() < give_up_s:
        if process.poll() is not None:
            raise MachineError(
                "`cox up` ended before it was ready",
                expected="NATS and all services alive",
                got=_tail(log),
                advice=f"See {log}.",
            )
        now = read_state()
        if now is not None and now.supervisor.pid == process.pid:
            if now != state:
                state = now
                watch(now)
            if now.ready:
                return now
        time.sleep(POLL_S)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    waiting = state.waiting if state else []
    raise MachineError(
        "`cox up` did not become ready",
        expected=f"everything alive within {deadline_s:.0f} s",
        got="; ".join(f"{m.name} is {m.state}: {m.note or 'no reason known'}" for m in waiting)
        or _tail(log),
        advice="See " + (", ".join(m.log for m in waiting if m.log) or str(log)) + ".",
    )


def stop() -> FleetState | None:
    """Stop what `cox up` started; None if nothing ran."""
    state = running()
    if state is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(state.supervisor.pid, signal.SIGTERM)
    give_up_s = time.monotonic() + STOP_S
    while state.supervisor.alive and time.monotonic() < give_up_s:
        time.sleep(POLL_S)
    if state.supervisor.alive:
        # Its children are tied to it by the kernel, and go with it.
        state.supervisor.kill()
    remove_state()
    return state


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return " ".join(line.strip() for line in lines[-6:])[-600:] or "nothing"
    return "nothing"
