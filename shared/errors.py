"""Every error Coxswain raises on purpose, in one tree.

CoxswainError
├── InputError              somebody asked for something that cannot be: exit code 2
│   ├── ManifestError       a policy's or workload's manifest
│   ├── RequestError        an optimization request
│   └── MessageError        bytes on the bus that are no message of ours
├── MachineError            this machine lacks something: a tool, a right, space, a kernel feature
├── BusError                the bus did not carry what it should
│   ├── BusUnavailableError no server, or the connection is down
│   │   └── GoneError       a stream, a consumer or a bucket is not there any more
│   ├── NoResponderError    nobody serves that question
│   ├── DeadlineError       an answer did not come in time
│   ├── ConflictError       somebody else changed that record first
│   └── RemoteError         the other side answered with a problem
├── SchedulerError          the kernel's scheduler did not do what was asked
│   ├── UnsupportedKernelError   no sched_ext here
│   ├── ForeignSchedulerError    somebody else's scheduler is attached; it is never unloaded
│   ├── VerifierError            the kernel's verifier said no
│   └── AttachError              set-up began and failed
├── TokenError              no right to load: there is no valid deployment token
│   └── TokenPendingError   there may be one later: ask again
├── PlanError               a mind gave no plan, or none that may be carried out
├── RejectedError           the gate said no: exit code 3
└── WorkloadError           a workload crashed, hung or printed no number

An error says what was expected, what came, and what to do about it. The parts are fields,
so that a terminal, a log line and a reply on the bus can each show them in their own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shared.plain import plain

if TYPE_CHECKING:
    from shared.messages import Cost

MOST_CHARS = 4000
"""Of each part of an error that crosses a wall or is shown."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it crosses a wall: in a reply, an event, a span or `--json`."""

    kind: str
    what: str
    expected: str = ""
    got: str = ""
    advice: str = ""

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.got:
            parts.append(f"got {self.got}")
        line = "; ".join(parts)
        return f"{line}. {self.advice}" if self.advice else line


class CoxswainError(Exception):
    """Base of all our errors: `what` went wrong, `expected`, `got`, and `advice` (what to do)."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, expected: str = "", got: str = "", advice: str = "") -> None:
        self.what = what
        self.expected = expected
        self.got = got
        self.advice = advice
        super().__init__(str(self.problem))

    @property
    def problem(self) -> Problem:
        """The error's fields, ready to be sent: plain text, and a list of ten thousand is cut."""
        return Problem(
            kind=type(self).__name__,
            what=_plain(self.what),
            expected=_plain(self.expected),
            got=_plain(self.got),
            advice=_plain(self.advice),
        )


def _plain(text: str) -> str:
    return plain(text, MOST_CHARS, keep="\n\t")


class InputError(CoxswainError):
    """Somebody asked for something that cannot be."""

    exit_code = 2


class ManifestError(InputError):
    """A policy's or workload's manifest is not valid."""


class RequestError(InputError):
    """An optimization request is not valid."""


class MessageError(InputError):
    """Bytes on the bus that are no message of ours."""


class MachineError(CoxswainError):
    """This machine lacks something: a tool, a right, space, a kernel feature."""


class BusError(CoxswainError):
    """The bus did not carry what it should."""


class BusUnavailableError(BusError):
    """No server answers, or the connection is down."""


class GoneError(BusUnavailableError):
    """A stream, a consumer or a bucket that somebody depends on is not there any more."""


class NoResponderError(BusError):
    """Nobody serves that question."""


class DeadlineError(BusError):
    """An answer did not come in time."""


class ConflictError(BusError):
    """Somebody else changed that record first: read it again."""


class RemoteError(BusError):
    """The other side answered with a problem; its fields are this error's fields."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(
            problem.what, expected=problem.expected, got=problem.got, advice=problem.advice
        )
        self.kind = problem.kind


class SchedulerError(CoxswainError):
    """The kernel's scheduler did not do what was asked."""


class UnsupportedKernelError(SchedulerError):
    """This kernel has no usable sched_ext."""


class ForeignSchedulerError(SchedulerError):
    """Somebody else's scheduler is attached; it is never unloaded."""


class VerifierError(SchedulerError):
    """The kernel's verifier rejected a program; `log` is its trimmed log."""

    def __init__(
        self, what: str, *, log: str, expected: str = "", got: str = "", advice: str = ""
    ) -> None:
        super().__init__(what, expected=expected, got=got, advice=advice)
        self.log = log


class AttachError(SchedulerError):
    """Attaching a scheduler began and failed."""


class TokenError(CoxswainError):
    """Nothing may be loaded: the deployment token is missing, not valid or used up."""


class TokenPendingError(TokenError):
    """There is no token now, but there may be one later."""


class PlanError(CoxswainError):
    """A mind gave no plan, or none that may be carried out."""

    spent: Cost | None = None
    """What it had cost by then, where that is known."""


class RejectedError(CoxswainError):
    """The gate said no."""

    exit_code = 3


class WorkloadError(CoxswainError):
    """A workload crashed, hung or printed no number."""
