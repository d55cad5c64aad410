"""What must hold whatever goes wrong, checked on the history of a run. Pure.

Each check says what was found, a line for each thing; nothing found means that it holds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec

from bench.hosts.ledger import Line
from services.executor.host.verify import CLOCK_SLACK_NS
from services.executor.token import Token
from shared.subjects import Told
from tests.chaos.history import Book, Clock, Event, History, Record

TERMINALS = {"promoted", "kept-default", "rejected", "failed", "cancelled"}


class Violation(msgspec.Struct, frozen=True):
    """One thing that must not be."""

    invariant: str
    text: str


def violations(history: History) -> list[Violation]:
    """All that does not hold."""
    return [Violation(name, text) for name, check in INVARIANTS.items() for text in check(history)]


def one_scheduler(history: History) -> Iterator[str]:
    """I1: at most one of our schedulers on a host at any time."""
    for host, lines in history.kernels.items():
        holder = None
        for line in lines:
            match line.what:
                case "refused":
                    yield f"{host}: process {line.pid} loads beside another one's {line.name}"
                case "loaded" if holder == line.pid:
                    yield f"{host}: {line.name} is loaded over one that was not detached"
                case "loaded":
                    holder = line.pid
                case "detached" if holder != line.pid:
                    yield f"{host}: process {line.pid} detaches {line.name}, which is not its own"
                case "detached":
                    holder = None
                case _:
                    pass  # a new process: it finds an empty slot, or is refused


def every_load_has_its_token(history: History) -> Iterator[str]:
    """I2: no load without a token that was asked for, is for this, and was consumed once."""
    for host, lines in history.kernels.items():
        redeemed = Counter(history.books.get(host, Book()).redeemed)
        loads: Counter[str] = Counter()
        holders: defaultdict[str, set[int]] = defaultdict(set)
        for line in lines:
            if line.what != "loaded":
                continue
            if line.token is None:
                yield f"{host}: {line.name} is loaded without a token"
                continue
            nonce = line.token.nonce
            loads[nonce] += 1
            holders[nonce].add(line.pid)
            yield from _why_not_for(line, line.token, host, history)
            if redeemed[nonce] != 1:
                yield f"{host}: token {nonce[:8]} is in the journal {redeemed[nonce]} times"
            if loads[nonce] > line.token.loads:
                yield f"{host}: a token for {line.token.loads} loads serves for one more"
        for nonce, pids in holders.items():
            if len(pids) > 1:
                yield f"{host}: token {nonce[:8]} is used by {len(pids)} processes"


def _why_not_for(line: Line, token: Token, host: str, history: History) -> Iterator[str]:
    if (token.host, token.object_sha256) != (host, line.sha256):
        yield f"{host}: {line.name} is loaded with a token for something else"
    if token.request_sha256 not in history.requests:
        yield f"{host}: {line.name} is loaded for a request that nobody has sent"
    if not _in_its_time(line, token, history.clocks.get(host, [])):
        yield f"{host}: {line.name} is loaded with a token that this host had no time for"


def _in_its_time(line: Line, token: Token, clocks: list[Clock]) -> bool:
    """Whether the host's clock was within a token's time when it may have been redeemed.

    That was before the load, by no more than a token's loads may take. A clock may have stepped
    since, and then each time that it has shown counts.
    """
    earliest_ns = line.at_ns - int(token.max_duration_s * 1e9)
    for clock, after in pairwise([*clocks, Clock(from_ns=line.at_ns + 1, ahead_ns=0)]):
        from_ns, until_ns = max(clock.from_ns, earliest_ns), min(after.from_ns, line.at_ns)
        if (
            from_ns <= until_ns
            and until_ns + clock.ahead_ns >= token.nbf_unix_ns - CLOCK_SLACK_NS
            and from_ns + clock.ahead_ns < token.exp_unix_ns + CLOCK_SLACK_NS
        ):
            return True
    return False


def nothing_happens_twice(history: History) -> Iterator[str]:
    """I4: no command takes effect twice."""
    # What was told once more in the same words is the same effect.
    told_so: defaultdict[str, set[str]] = defaultdict(set)
    for told, event in _facts(history):
        match told.fact:
            case "round":
                effect = f"round {event.said.index} of {event.said.trial} was measured"
            case "trial_ended":
                effect = f"{event.said.trial} ended"
            case "remembered":
                effect = f"{told.optimization} was remembered"
            case _:
                continue
        told_so[effect].add(event.sha256)
    for effect, words in told_so.items():
        if len(words) > 1:
            yield f"{effect} {len(words)} times"
    for host, lines in history.kernels.items():
        # A process that died with it loaded may have to begin anew: its successor is another one.
        placed = Counter(
            (line.token.plan_id, line.pid)
            for line in lines
            if line.what == "loaded" and line.token is not None and line.token.purpose == "deploy"
        )
        for (optimization, _), times in placed.items():
            if times > 1:
                yield f"{host}: {optimization} was deployed {times} times by one process"


def every_request_ends_once(history: History) -> Iterator[str]:
    """I5: every accepted request reaches exactly one terminal state."""
    yield from history.restless
    for identity in history.promised:
        if identity not in history.records:
            yield f"{identity} was accepted, and there is no record of it"
    for identity, record in history.records.items():
        if not record.over or record.terminal not in TERMINALS:
            yield f"{identity} has not ended: {record.terminal or 'no terminal state'}"
        if record.unsent:
            yield f"{identity} has {record.unsent} messages that were never sent"
        facts = [(told.fact, event.said.terminal) for told, event in _facts(history, identity)]
        begun = [fact for fact, _ in facts if fact == "accepted"]
        if len(begun) != 1:
            yield f"{identity} was told to be accepted {len(begun)} times"
        ended = [terminal for fact, terminal in facts if fact == "ended"]
        if ended != [record.terminal]:
            yield f"{identity} is {record.terminal}, and was told to be {ended}"


def nothing_acknowledged_is_lost(history: History) -> Iterator[str]:
    """I6: every acknowledged fact is still in the stream, as it was."""
    kept = {event.sequence: (event.subject, event.sha256) for event in history.events}
    for each in history.acknowledged:
        if kept.get(each.sequence) != (each.subject, each.sha256):
            yield f"fact {each.sequence} ({each.subject}) is not what was acknowledged"


def nothing_is_left_over(history: History) -> Iterator[str]:
    """I7: what hangs on a kernel in the end is what was promoted there last, or nothing does.

    And what was promoted there is there, unless somebody was told that it is not.
    """
    for host in history.kernels:
        runs = _running(history, host)
        kept = history.books.get(host, Book()).kept
        promoted = _promoted_last(history, host)
        if (runs != "") != (host in history.held):
            yield f"{host}: by its history {runs or 'nothing'} runs, and its slot says otherwise"
        if runs not in {"", promoted}:
            yield f"{host}: {runs} runs, and {promoted or 'nothing'} was promoted there last"
        if runs != kept:
            yield f"{host}: {runs or 'nothing'} runs, and {kept or 'nothing'} is kept"
        if promoted and not runs and not _taken_back(history, host, promoted):
            yield f"{host}: {promoted} was promoted there, is gone, and nobody was told"


def no_promotion_without_evidence(history: History) -> Iterator[str]:
    """I8: what was promoted was measured often enough, and judged on all of that."""
    for record in history.records.values():
        if record.terminal != "promoted":
            continue
        measured: set[int] = set()
        judged = False
        deployed: set[str] = set()
        for told, event in _facts(history, record.id):
            said = event.said
            if told.fact == "round" and said.trial == record.winner:
                measured.add(said.index)
            elif told.fact == "judged" and said.trial == record.winner:
                # The word counts for those rounds alone that were in the stream before it.
                judged |= (
                    said.verdict == "promote"
                    and said.pairs >= max(1, record.least_pairs)
                    and measured >= set(range(said.pairs))
                )
            elif told.fact == "deployed" and said.problem is None:
                deployed.add(told.host)
        if not judged:
            yield (
                f"{record.id} was promoted on {len(measured)} rounds of {record.winner}, without "
                f"a clear word on {record.least_pairs} of them"
            )
        for host in sorted({*record.kept_on} - deployed):
            yield f"{record.id} was promoted to {host}, which has not said that it runs there"


def few_canaries(history: History) -> Iterator[str]:
    """I9: no more canaries at a time than the fleet allows."""
    for claims in history.claims:
        if len(set(claims.canaries)) > history.most_canaries:
            yield f"{len(claims.canaries)} canaries at a time: {', '.join(claims.canaries)}"


def others_go_on(history: History) -> Iterator[str]:
    """I10: what nobody has touched goes on."""
    for name in history.fallen:
        yield f"{name} has ended, and nobody killed it"
    for host in history.left_alone:
        for line in history.kernels.get(host, []):
            if line.what != "began":
                yield f"{host}: {line.name} was {line.what}, and no request is about this host"


INVARIANTS: dict[str, Callable[[History], Iterator[str]]] = {
    "I1": one_scheduler,
    "I2": every_load_has_its_token,
    "I4": nothing_happens_twice,
    "I5": every_request_ends_once,
    "I6": nothing_acknowledged_is_lost,
    "I7": nothing_is_left_over,
    "I8": no_promotion_without_evidence,
    "I9": few_canaries,
    "I10": others_go_on,
}


def _facts(history: History, optimization: str = "") -> Iterator[tuple[Told, Event]]:
    for event in history.events:
        told = Told.on(event.subject)
        if optimization in {"", told.optimization}:
            yield told, event


def _running(history: History, host: str) -> str:
    """The optimization whose policy hangs on a kernel at the end of its history."""
    runs = ""
    for line in history.kernels[host]:
        runs = line.token.plan_id if line.what == "loaded" and line.token is not None else ""
    return runs


def _promoted_last(history: History, host: str) -> str:
    def turn(record: Record) -> int:
        return record.fence

    promoted = [
        record
        for record in history.records.values()
        if record.terminal == "promoted" and host in record.kept_on
    ]
    return max(promoted, key=turn).id if promoted else ""


def _taken_back(history: History, host: str, promoted: str) -> bool:
    """Whether the fleet could know: it fell back, or a later optimization has taken its place."""
    turn = history.records[promoted].fence
    for told, _ in _facts(history):
        if told.fact == "reverted" and told.host == host:
            other = history.records.get(told.optimization)
            if told.optimization == promoted or (other and other.fence > turn):
                return True
    return False
