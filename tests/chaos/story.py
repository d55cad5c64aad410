"""What happens in one run, from a seed: who asks for what, and what goes wrong. Pure.

A story says when something begins, not what will come of it: processes take as long as they take,
so the same seed gives the same faults at the same moments, and not the same interleaving.
"""

from __future__ import annotations

import random

import msgspec

HOSTS = 4
ASKED = (0, 1, 2)
"""Numbers of the hosts that requests may name: the last one is left alone."""
PARTS = ("planner-0", "planner-1", "learner-0", "gate-0", "hosts-0", "hosts-1")
SHIFTS_S = (3600.0, -3600.0, 40.0, -40.0)
"""The shorter ones are within what a token's time forgives (`services/executor/host/verify.py`)."""
SECONDS = 18.0
"""Faults come within this: one optimization takes some 12 s if nobody disturbs it."""


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A client asks for an optimization, and may think better of it."""

    at_s: float
    hosts: tuple[int, ...]
    seed: int
    cancel_after_s: float | None = None
    """After the answer; a fraction of a second is before its trial has begun."""
    stop_first: bool = False
    """Its first trial is stopped before there is one."""


class Kill(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """SIGKILL, and a new process some time later."""

    at_s: float
    part: str
    for_s: float


class Halt(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """SIGSTOP, and SIGCONT some time later."""

    at_s: float
    part: str
    for_s: float


class Cut(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Its connections to the bus end, and it gets no other for some time."""

    at_s: float
    part: str
    for_s: float


class Starve(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It gets no new file descriptor for some time (EMFILE)."""

    at_s: float
    part: str
    for_s: float


class Shift(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Its wall clock steps, and back some time later: what starts meanwhile starts with it."""

    at_s: float
    part: str
    by_s: float
    for_s: float


class Repeat(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A command or a fact is published once more, with a message id that nobody has seen."""

    at_s: float
    draw: int
    """Which one: of what was published by then."""


class Lose(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Streams are deleted, and made again some time later: see `tests.chaos.losing`."""

    at_s: float
    what: str
    for_s: float


Fault = Kill | Halt | Cut | Starve | Shift | Repeat | Lose
Step = Ask | Fault


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `ack_wait_s`: when the bus gives a command to somebody else."""

    seed: int
    most_canaries: int
    ack_wait_s: float
    steps: list[Step]
    """In the order of their moments."""
    late: list[int]
    """What is published once more when all is over, drawn as `Repeat` does."""

    @property
    def faults(self) -> list[Fault]:
        """What goes wrong."""
        return [step for step in self.steps if not isinstance(step, Ask)]

    @property
    def asks(self) -> list[Ask]:
        """What is asked for."""
        return [step for step in self.steps if isinstance(step, Ask)]


def story(seed: int) -> Story:
    """The story of a seed, the same each time."""
    chance = random.Random(seed)
    asks = [_ask(chance, number) for number in range(chance.choice((1, 2, 2, 3)))]
    faults = [_fault(chance) for _ in range(chance.randint(3, 7))]
    return Story(
        seed=seed,
        most_canaries=chance.choice((1, 2)),
        # The shorter one runs out while handlers work: they say that they go on every 6.7 s.
        ack_wait_s=chance.choice((4.0, 8.0, 8.0)),
        steps=sorted([*asks, *faults], key=lambda step: step.at_s),
        late=[chance.randrange(1 << 30) for _ in range(chance.randint(0, 3))],
    )


def _ask(chance: random.Random, number: int) -> Ask:
    hosts = tuple(sorted(chance.sample(ASKED, chance.randint(1, len(ASKED)))))
    fate = chance.random()
    cancel_after_s = None
    if fate < 0.1:
        cancel_after_s = chance.uniform(0.0, 0.3)
    elif fate < 0.3:
        cancel_after_s = chance.uniform(0.3, SECONDS)
    return Ask(
        at_s=0.0 if number == 0 else round(chance.uniform(0.0, 8.0), 2),
        hosts=hosts,
        seed=chance.randint(1, 1000),
        cancel_after_s=cancel_after_s,
        stop_first=0.3 <= fate < 0.4,
    )


def _fault(chance: random.Random) -> Fault:
    at_s = round(chance.uniform(0.2, SECONDS), 2)
    # Some last longer than the bus waits for an acknowledgement: who comes back is late.
    for_s = round(chance.uniform(*chance.choices(((0.2, 3.5), (6.0, 12.0)), (4, 1))[0]), 2)
    kinds = ("kill", "halt", "cut", "starve", "shift", "repeat")
    kind = chance.choices(kinds, (5, 3, 3, 2, 4, 3))[0]
    part = chance.choice(PARTS)
    match kind:
        case "kill":
            return Kill(at_s=at_s, part=chance.choice(("nats", *PARTS)), for_s=for_s)
        case "halt":
            return Halt(at_s=at_s, part=chance.choice(("nats", *PARTS)), for_s=for_s)
        case "cut":
            return Cut(at_s=at_s, part=part, for_s=for_s)
        case "starve":
            return Starve(at_s=at_s, part=part, for_s=for_s)
        case "shift":
            by_s = chance.choices(SHIFTS_S, (3, 3, 1, 1))[0]
            return Shift(at_s=at_s, part=part, by_s=by_s, for_s=for_s)
        case _:
            return Repeat(at_s=at_s, draw=chance.randrange(1 << 30))


def told(step: Step) -> str:
    """A step as a line for a person."""
    match step:
        case Ask():
            names = ", ".join(str(number) for number in step.hosts)
            more = " stopping its first trial beforehand" if step.stop_first else ""
            if step.cancel_after_s is not None:
                more = f" cancelled {step.cancel_after_s:.2f} s later"
            return f"{step.at_s:6.2f} s  ask for hosts {names}{more}"
        case Repeat():
            return f"{step.at_s:6.2f} s  publish something once more ({step.draw})"
        case Shift():
            return (
                f"{step.at_s:6.2f} s  shift {step.part}'s clock by {step.by_s:+.0f} s"
                f" for {step.for_s:.2f} s"
            )
        case Lose():
            return f"{step.at_s:6.2f} s  delete {step.what}, made again {step.for_s:.2f} s later"
        case _:
            verb = type(step).__name__.lower()
            return f"{step.at_s:6.2f} s  {verb} {step.part} for {step.for_s:.2f} s"
