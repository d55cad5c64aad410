"""The guard at work: looks ten times a second, listens to one executor, and acts by itself."""

from __future__ import annotations

import dataclasses
import selectors
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from services.executor.guard.limits import AGAIN_S, ASKED_S, DEADLINE_S, KILL_S, TICK_S, WINDOW_S
from services.executor.guard.peers import Peer
from services.executor.guard.restore import restore
from services.executor.guard.starvation import Starvation
from services.executor.guard.watch import Finding, Watch

if TYPE_CHECKING:
    from pathlib import Path

    from services.executor.guard.interventions import Interventions
    from services.executor.guard.kernel import Kernel
    from services.executor.guard.victim import Victim

TOLD = 20
"""How many interventions fit into one answer."""


class Guard:
    """Watches one host. Single-threaded: nothing it does waits for anything that can starve."""

    def __init__(
        self, kernel: Kernel, socket_path: Path, interventions: Interventions, victim: Victim
    ) -> None:
        self._kernel = kernel
        self._interventions = interventions
        self._victim = victim
        now_s = time.monotonic()
        self._watch = Watch(now_s)
        self._starvation = Starvation()
        self._executor: Peer | None = None
        self._asked: tuple[float, str, Peer] | None = None
        """Until when the executor may let go, why, and which operator waits for it."""
        self._window_s = now_s
        self._window_of: tuple[int, bool] | None = None
        """Which scheduler this window began with."""
        self._again_s = now_s
        """Not before this: one that did not help is not repeated in every tick."""
        self._late_s = 0.0
        """By how much the guard itself was late in this window."""
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(socket_path)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Guard, for ever."""
        due_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            if now_s >= due_s:
                self._late_s = max(self._late_s, now_s - due_s)
                self._tick(now_s)
                due_s = now_s + TICK_S
            for key, _ in self._selector.select(max(0.0, due_s - time.monotonic())):
                if isinstance(key.data, Peer):
                    self._hear(key.data)
                else:
                    self._accept()

    # Looking ------------------------------------------------------------------------------

    def _tick(self, now_s: float) -> None:
        ours = self._kernel.look().ours
        finding = self._watch.look(now_s, ours=ours) or self._probe(now_s)
        if self._asked is not None:
            until_s, reason, operator = self._asked
            if not ours:
                self._answer(operator, ["the executor let go"])
            elif now_s >= until_s:
                finding = Finding("operator", reason)
        if finding is not None and now_s >= self._again_s:
            self._intervene(finding)
            self._again_s = time.monotonic() + AGAIN_S

    def _probe(self, now_s: float) -> Finding | None:
        if now_s - self._window_s < WINDOW_S:
            return None
        look = self._kernel.look()
        of, late_s = (self._kernel.enable_seq(), look.ours), self._late_s
        same = of == self._window_of
        self._window_s, self._window_of, self._late_s = now_s, of, 0.0
        worst_s = self._victim.worst_s(now_s)
        if not same or (look.state == "enabled" and not look.ours):
            self._starvation.switched()
            return None
        # The guard is real-time: what held it up held up the machine.
        return self._starvation.window(max(0.0, worst_s - late_s), ours=look.ours)

    def _intervene(self, finding: Finding) -> None:
        look = self._kernel.look()
        if not look.ours:  # it has let go in this moment
            return
        executor = self._executor
        patience_s = 0.0 if finding.cause == "starvation" else KILL_S
        done = restore(self._kernel, _process(executor), patience_s)
        note = self._interventions.note(
            boot_id=self._kernel.boot_id(),
            unix_ns=time.time_ns(),
            boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            cause=finding.cause,
            reason=finding.reason,
            ops=look.ops,
            running=executor.running if executor is not None else {},
            steps=done.steps,
            back_s=round(done.back_s, 3),
            restored=done.restored,
        )
        self._starvation.switched()
        sys.stderr.write(
            f"guard: {note.cause}: {note.reason}; {', '.join(note.steps)}; "
            f"{self._kernel.look().words} after {note.back_s} s\n"
        )
        if self._asked is not None:
            self._answer(self._asked[2], note.steps)

    # Listening ----------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it gave up, or too many connections are open
            return
        peer = Peer(connection)
        if not peer.trusted:
            peer.close()
            return
        self._selector.register(connection, selectors.EVENT_READ, peer)

    def _hear(self, peer: Peer) -> None:
        if peer.closed:  # by what was heard a moment ago
            return
        try:
            message = peer.read()
        except BlockingIOError:
            return
        if message is None:
            self._drop(peer)
            return
        match message:
            case {"say": "hello", "seen": int(seen), "running": dict(running)}:
                self._welcome(peer, seen, running)
            case {"say": "beat", "running": dict(running)} if peer is self._executor:
                peer.running = running
                self._watch.beat(time.monotonic())
                peer.tell(say="heard")
            case {"ask": "status"}:
                peer.tell(**self._status())
            case {"ask": "revert", "reason": str(reason)}:
                self._revert(peer, reason)
            case _:
                self._drop(peer)

    def _welcome(self, peer: Peer, seen: int, running: dict[str, Any]) -> None:
        """An executor has come, perhaps in place of an earlier one."""
        if self._executor is not None and self._executor is not peer:
            self._drop(self._executor)
        self._executor = peer
        peer.running = running
        self._watch.beat(time.monotonic())
        news = [dataclasses.asdict(each) for each in self._interventions.after(seen)]
        peer.tell(say="welcome", interventions=news[-TOLD:])

    def _revert(self, operator: Peer, reason: str) -> None:
        """An operator's way back: the executor is asked first, for it knows what else to end."""
        if not self._kernel.look().ours:
            self._answer(operator, [])
            return
        now_s = time.monotonic()
        self._asked = now_s + (ASKED_S if self._executor is not None else 0.0), reason, operator
        if self._executor is not None:
            self._executor.tell(say="let-go", reason=reason)

    def _answer(self, operator: Peer, steps: list[str]) -> None:
        self._asked = None
        operator.tell(steps=steps, **self._status())

    def _drop(self, peer: Peer) -> None:
        if peer is self._executor:
            self._executor = None
            self._watch.gone()
        self._selector.unregister(peer.socket)
        peer.close()

    def _status(self) -> dict[str, Any]:
        now_s = time.monotonic()
        look = self._kernel.look()
        executor = self._executor
        return {
            "runs": look.words,
            "ours": look.ours,
            "state": look.state,
            "deadline_s": DEADLINE_S,
            "executor_pid": executor.pid if executor is not None else None,
            "executor_silent_s": self._watch.silent_s(now_s),
            "running": executor.running if executor is not None else {},
            "delays_s": self._starvation.recent_s,
            "limit_s": self._starvation.limit_s,
            "baseline_s": self._starvation.baseline_s,
            "interventions": [dataclasses.asdict(each) for each in self._interventions.all[-5:]],
            "unwritten": self._interventions.unwritten,
        }


def _process(executor: Peer | None) -> tuple[int, int] | None:
    if executor is None:
        return None
    try:
        return executor.process
    except OSError:  # it has ended
        return None


def _listen(path: Path) -> socket.socket:
    """Root alone may connect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen()
    listener.setblocking(False)
    return listener
