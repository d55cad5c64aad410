"""Who may say and hear what on the bus.

Each service, each host's observer and executor, and each kind of client has an identity of its own
and is allowed the subjects it needs, no others. NATS enforces it. What is needed beyond Coxswain's
subjects is JetStream's interface (https://docs.nats.io/reference/reference-protocols/nats_api_reference):
taking work from one's own consumer, reading a stream or bucket, writing one's own keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from shared.errors import InputError
from shared.subjects import NO_HOST, host_token

if TYPE_CHECKING:
    from shared.subjects import Service, Subjects

Role = Literal["operator", "client", "planner", "learner", "gate", "relay", "observer", "executor"]
HOST_ROLES: tuple[Role, ...] = ("observer", "executor")
"""Those that stand once for every host."""

INBOX = "_INBOX"
"""Where answers come in, followed by the public key of who asked: nobody hears another's."""

_EXECUTOR_VERBS = ("trial", "stop", "deploy", "confirm", "revert")
_QUESTIONS = ("recall", "calibration", "policies", "policy", "history", "search")
"""To the learner."""
_PROBING = ("prepare", "probe")
_ORDERS = ("cancel", "pause", "resume", "freeze", "drain", "policy")
_MEMBER = re.compile(r"(?P<role>[a-z]+)(@(?P<host>.+))?")


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity on the bus: a role, of one host if it is a host's. Raises InputError."""

    role: Role
    host: str | None = None

    def __post_init__(self) -> None:
        of_host = self.role in HOST_ROLES
        if self.role not in get_args(Role) or of_host != (self.host is not None):
            hosts = ", ".join(f"{role}@HOST" for role in HOST_ROLES)
            others = ", ".join(role for role in get_args(Role) if role not in HOST_ROLES)
            raise InputError(
                "no such member of the bus", expected=f"{others}, {hosts}", got=repr(str(self))
            )
        if self.host is not None:
            host_token(self.host)

    @classmethod
    def parse(cls, text: str) -> Identity:
        """From `planner` or `observer@web-1`. Raises InputError."""
        match = _MEMBER.fullmatch(text)
        if match is None:
            raise InputError("no such member of the bus", expected="ROLE or ROLE@HOST", got=text)
        return cls(match["role"], match["host"])  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.role if self.host is None else f"{self.role}@{self.host}"


@dataclass(frozen=True, slots=True)
class Grant:
    """Subjects (with NATS's wildcards) that may be published and subscribed.

    With `answers`, a question's reply subject may be published on, once.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: bool = False


def grant(member: Identity, public_key: str, subjects: Subjects) -> Grant:
    """What a member is allowed."""
    inbox = f"{INBOX}.{public_key}.>"
    host = member.host or ""
    match member.role:
        case "operator":
            return Grant((">",), (">",))
        case "client":
            return _client(subjects, inbox)
        case "planner":
            return _planner(subjects, inbox)
        case "learner":
            return _learner(subjects, inbox)
        case "gate":
            return _gate(subjects, inbox)
        case "relay":
            return _relay(subjects, inbox)
        case "observer":
            return _observer(subjects, inbox, host)
        case "executor":
            return _executor(subjects, inbox, host)


def _client(s: Subjects, inbox: str) -> Grant:
    """Whoever may ask for optimizations, cancel them, and see what becomes of them."""
    return Grant(
        publish=(s.optimize, s.endpoint("planner", "cancel")),
        subscribe=(inbox, s.events()),
    )


def _planner(s: Subjects, inbox: str) -> Grant:
    return Grant(
        publish=(
            *_life(s, "planner", "*", (s.stream("COMMANDS"), s.stream("EVENTS"))),
            s.roll_call,
            s.events("planner", host=NO_HOST),
            s.command("planner", "plan"),
            *(s.command("learner", verb) for verb in ("remember", "weigh")),
            s.command("executor", "build"),
            s.endpoint("executor", "check"),
            *(s.commands("executor", verb) for verb in _EXECUTOR_VERBS),
            *(s.commands("observer", verb) for verb in ("profile", "probe")),
            *(s.endpoint("learner", question) for question in _QUESTIONS),
            s.endpoints("observer", "deepen"),
            # Whether what was measured is still there; facts come by the consumer alone.
            *_bind(s.stream("EVENTS")),
            # And whether what it has ordered is.
            *_bind(s.stream("COMMANDS")),
            *_work(s.stream("EVENTS"), s.consumer("planner", "events")),
            *_work(s.stream("COMMANDS"), s.consumer("planner", "commands")),
            *_read(_bucket_stream(s, "optimizations")),
            *_read(_bucket_stream(s, "hosts")),
            *_read(_bucket_stream(s, "fleet")),
            _keys(s, "optimizations"),
            _keys(s, "fleet"),
        ),
        subscribe=(
            inbox,
            s.roll_call,
            s.heartbeats(),
            s.optimize,
            *(s.endpoint("planner", order) for order in _ORDERS),
        ),
        answers=True,
    )


def _learner(s: Subjects, inbox: str) -> Grant:
    return Grant(
        publish=(
            *_life(s, "learner", "*", (s.stream("COMMANDS"), s.stream("EVENTS"))),
            s.events("learner", host=NO_HOST),
            # What was promoted by its word; nobody else may say so.
            s.commands("executor", "seal"),
            *_work(s.stream("EVENTS"), s.consumer("learner", "rounds")),
            *_work(s.stream("COMMANDS"), s.consumer("learner", "commands")),
            *_read(s.stream("EVENTS")),
        ),
        subscribe=(
            inbox,
            s.roll_call,
            *(s.endpoint("learner", question) for question in _QUESTIONS),
            s.events("learner", "remembered"),
            s.events("executor", "built"),
            s.events("observer", "probed"),
        ),
        answers=True,
    )


def _gate(s: Subjects, inbox: str) -> Grant:
    store = _store_stream(s)
    return Grant(
        publish=(
            *_life(s, "executor", "*", (s.stream("COMMANDS"),)),
            s.events("executor", "built", host=NO_HOST),
            *_work(s.stream("COMMANDS"), s.consumer("executor", "gate")),
            # What it needs to know before it signs: who asked for it, and what the host is.
            *_read(s.stream("REQUESTS")),
            *_read(_bucket_stream(s, "hosts")),
            *_read_store(s),
            # The only one who may put an artifact there: what is not the gate's is on no host.
            f"$O.{s.bucket('artifacts')}.>",
            f"$JS.API.STREAM.PURGE.{store}",
        ),
        subscribe=(
            inbox,
            s.roll_call,
            s.endpoints("executor", "token"),
            s.endpoint("executor", "check"),
        ),
        answers=True,
    )


def _relay(s: Subjects, inbox: str) -> Grant:
    return Grant(
        publish=(
            *_life(s, "relay", "*", ()),
            *_work(s.stream("SPANS"), s.consumer("relay", "spans")),
        ),
        subscribe=(inbox, s.roll_call),
    )


def _observer(s: Subjects, inbox: str, host: str) -> Grant:
    return Grant(
        publish=(
            *_life(s, "observer", host, (s.stream("COMMANDS", host),)),
            *(s.events("observer", fact, host=host) for fact in ("profiled", "probed")),
            *_work(s.stream("COMMANDS", host), s.consumer("observer", "host", host)),
            *_bind(_bucket_stream(s, "hosts")),
            f"{_keys(s, 'hosts').removesuffix('>')}{host}.inventory",
            *(s.endpoint("executor", step, host) for step in _PROBING),
        ),
        subscribe=(
            inbox,
            s.roll_call,
            s.endpoint("observer", "measure", host),
            s.endpoint("observer", "deepen", host),
        ),
        answers=True,
    )


def _executor(s: Subjects, inbox: str, host: str) -> Grant:
    return Grant(
        publish=(
            *_life(s, "executor", host, (s.stream("COMMANDS", host),)),
            *(
                s.events("executor", fact, host=host)
                for fact in ("round", "trial_ended", "deployed", "confirmed", "reverted")
            ),
            s.endpoint("observer", "measure", host),
            s.endpoint("executor", "token", host),
            *_work(s.stream("COMMANDS", host), s.consumer("executor", "host", host)),
            *_read_store(s),
            *_bind(_bucket_stream(s, "hosts")),
            f"{_keys(s, 'hosts').removesuffix('>')}{host}.scheduler",
        ),
        subscribe=(
            inbox,
            s.roll_call,
            s.endpoint("executor", "state", host),
            s.endpoint("executor", "revert", host),
            s.endpoint("executor", "reset", host),
            *(s.endpoint("executor", step, host) for step in _PROBING),
        ),
        answers=True,
    )


# What JetStream's interface is made of ------------------------------------------------------


def _life(
    s: Subjects, service: Service, instance: str, streams: tuple[str, ...]
) -> tuple[str, ...]:
    """What every service says: that it lives, its spans, and what it could not handle."""
    return (
        f"{s.namespace}.hb.{service}.{instance}",
        f"{s.namespace}.span.{service}.*",
        *(s.dead(stream) for stream in streams),
    )


def _work(stream: str, consumer: str) -> tuple[str, ...]:
    """Take work from a consumer that provisioning has made, and acknowledge it."""
    return (
        f"$JS.API.CONSUMER.INFO.{stream}.{consumer}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
        f"$JS.ACK.{stream}.{consumer}.>",
    )


def _bind(stream: str) -> tuple[str, ...]:
    """Know that a bucket is there."""
    return (f"$JS.API.STREAM.INFO.{stream}",)


def _read(stream: str) -> tuple[str, ...]:
    """Read what a stream, bucket or store keeps, and follow it with consumers of one's own.

    Only unnamed ones: with a name another's could be changed. They go when nobody listens.
    """
    return (
        *_bind(stream),
        f"$JS.API.STREAM.MSG.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}.>",
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.INFO.{stream}.*",
        f"$JS.FC.{stream}.>",
    )


def _read_store(s: Subjects) -> tuple[str, ...]:
    """Read artifacts; nats-py asks for the stream's name, which it was given."""
    return (*_read(_store_stream(s)), "$JS.API.STREAM.NAMES")


def _bucket_stream(s: Subjects, name: Literal["hosts", "optimizations", "fleet"]) -> str:
    return f"KV_{s.bucket(name)}"


def _keys(s: Subjects, name: Literal["hosts", "optimizations", "fleet"]) -> str:
    return f"$KV.{s.bucket(name)}.>"


def _store_stream(s: Subjects) -> str:
    return f"OBJ_{s.bucket('artifacts')}"
