"""What is said where: every subject with the messages on it. `cox schema` and following use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from shared import messages as m
from shared import repository as r
from shared.subjects import NO_HOST, Service

if TYPE_CHECKING:
    from shared.subjects import Subjects

Kind = Literal["request", "question", "command", "event", "heartbeat", "call", "dead"]


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One subject, with a parameter where a host, an id or an instance stands."""

    kind: Kind
    service: Service | Literal[""]
    """Empty for what is not one service's."""
    verb: str
    message: type[m.Message] | type[m.OptimizeRequest]
    reply: type[m.Message] | None = None
    of_host: bool = False

    def address(self, subjects: Subjects) -> str:
        """Its subject, parameters in braces."""
        ns = subjects.namespace
        match self.kind:
            case "request":
                return subjects.optimize
            case "question":
                host = ".{host}" if self.of_host else ""
                return f"{ns}.svc.{self.service}.{self.verb}{host}"
            case "command":
                host = ".{shard}.{host}" if self.of_host else ""
                return f"{ns}.cmd.{self.service}.{self.verb}{host}"
            case "event":
                host = "{host}" if self.of_host else NO_HOST
                return f"{ns}.evt.{self.service}.{self.verb}.{{optimization}}.{host}"
            case "heartbeat":
                return f"{ns}.hb.{{service}}.{{instance}}"
            case "call":
                return subjects.roll_call
            case "dead":
                return f"{ns}.dead.{{stream}}"


def _event(
    service: Service, verb: str, message: type[m.Message], *, of_host: bool = False
) -> Channel:
    return Channel(kind="event", service=service, verb=verb, message=message, of_host=of_host)


def _command(
    service: Service, verb: str, message: type[m.Message], *, of_host: bool = False
) -> Channel:
    return Channel(kind="command", service=service, verb=verb, message=message, of_host=of_host)


def _question(
    service: Service,
    verb: str,
    message: type[m.Message],
    reply: type[m.Message],
    *,
    of_host: bool = False,
) -> Channel:
    return Channel(
        kind="question", service=service, verb=verb, message=message, reply=reply, of_host=of_host
    )


CHANNELS: tuple[Channel, ...] = (
    Channel(
        kind="request",
        service="planner",
        verb="optimize",
        message=m.OptimizeRequest,
        reply=m.OptimizeReply,
    ),
    _question("planner", "cancel", m.CancelRequest, m.Reply),
    _question("planner", "pause", m.PauseRequest, m.Reply),
    _question("planner", "resume", m.ResumeRequest, m.Reply),
    _question("planner", "freeze", m.FreezeRequest, m.Reply),
    _question("planner", "drain", m.DrainRequest, m.Reply),
    _question("planner", "policy", m.PolicyOrder, m.PolicyOrdered),
    _question("learner", "recall", m.RecallRequest, m.Recollection),
    _question("learner", "calibration", r.CalibrationRequest, r.CalibrationTable),
    _question("learner", "policies", r.PoliciesRequest, r.PolicyList),
    _question("learner", "policy", r.PolicyRequest, r.PolicyRecord),
    _question("learner", "history", r.PolicyHistoryRequest, r.PolicyHistory),
    _question("learner", "search", r.PolicySearchRequest, r.PolicyHits),
    _question("observer", "measure", m.MeasureRequest, m.Measurement, of_host=True),
    _question("observer", "deepen", m.DeepenRequest, m.Deepened, of_host=True),
    _question("executor", "prepare", m.PrepareProbe, m.PreparedProbe, of_host=True),
    _question("executor", "probe", m.RunProbe, m.ProbeRun, of_host=True),
    _question("executor", "state", m.StateRequest, m.SchedulerState, of_host=True),
    _question("executor", "revert", m.RevertRequest, m.SchedulerState, of_host=True),
    _question("executor", "reset", m.ResetRequest, m.SchedulerState, of_host=True),
    _question("executor", "check", m.CheckRequest, m.Checked),
    _question("executor", "token", m.TokenRequest, m.TokenReply, of_host=True),
    _command("observer", "profile", m.ProfileCommand, of_host=True),
    _command("observer", "probe", m.ProbeCommand, of_host=True),
    _command("planner", "plan", m.PlanCommand),
    _command("executor", "build", m.BuildCommand),
    _command("executor", "trial", m.TrialCommand, of_host=True),
    _command("executor", "stop", m.StopCommand, of_host=True),
    _command("executor", "deploy", m.DeployCommand, of_host=True),
    _command("executor", "confirm", m.ConfirmCommand, of_host=True),
    _command("executor", "seal", m.SealCommand, of_host=True),
    _command("executor", "revert", m.RevertCommand, of_host=True),
    _command("learner", "remember", m.RememberCommand),
    _command("learner", "weigh", m.WeighCommand),
    _event("planner", "accepted", m.Accepted),
    _event("planner", "progress", m.Progress),
    _event("planner", "planned", m.Plan),
    _event("planner", "ended", m.Ended),
    _event("planner", "ordered", m.PolicyOrdered),
    _event("observer", "profiled", m.Profiled, of_host=True),
    _event("observer", "probed", m.Probed, of_host=True),
    _event("executor", "built", m.Built),
    _event("executor", "round", m.Round, of_host=True),
    _event("executor", "trial_ended", m.TrialEnded, of_host=True),
    _event("executor", "deployed", m.Deployed, of_host=True),
    _event("executor", "confirmed", m.Confirmed, of_host=True),
    _event("executor", "reverted", m.Reverted, of_host=True),
    _event("learner", "judged", m.Judged),
    _event("learner", "remembered", m.Remembered),
    _event("learner", "weighed", m.Weighed),
    _event("learner", "drifted", m.Drifted),
    Channel(kind="heartbeat", service="", verb="heartbeat", message=m.Heartbeat),
    Channel(kind="call", service="", verb="roll", message=m.RollCall),
    Channel(kind="dead", service="", verb="dead", message=m.DeadLetter),
)

EVENTS: dict[tuple[str, str], type[m.Message]] = {
    (channel.service, channel.verb): channel.message  # type: ignore[misc]
    for channel in CHANNELS
    if channel.kind == "event"
}
"""(service, fact) → what it says."""
