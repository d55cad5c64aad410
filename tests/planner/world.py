"""A world for the state machine: answers what the outbox asks, without a bus or a kernel."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from services.planner.machine import Begin, News, Tick, accept, advance, sent
from shared.messages import (
    Artifact,
    Budget,
    BuildCommand,
    Built,
    Candidate,
    ConfirmCommand,
    Confirmed,
    DeployCommand,
    Deployed,
    Guardrail,
    GuardrailFinding,
    Inventory,
    Judged,
    Objective,
    OptimizeRequest,
    Plan,
    ProbeCommand,
    Probed,
    Problem,
    Profile,
    Profiled,
    Reason,
    RememberCommand,
    Remembered,
    RevertCommand,
    Reverted,
    Rollout,
    Round,
    TrialCommand,
    TrialEnd,
    TrialEnded,
    Vitals,
    WeighCommand,
    Weighed,
)
from shared.optimization import Optimization, Outgoing

SECOND = 1_000_000_000
START = 1_000 * SECOND


def inventory(host: str) -> Inventory:
    return Inventory(
        host=host,
        machine_id="m" + host,
        boot_id="b" + host,
        kernel="7.3.4",
        arch="x86_64",
        cpus=2,
        cpu_model="model",
        sched_ext=True,
    )


def opened(
    rounds: int = 24, hosts: tuple[str, ...] = ("h1", "h2"), rollout: Rollout | None = None
) -> Optimization:
    state = Optimization(
        id="o1",
        request=OptimizeRequest(
            workload="wakeup",
            budget=Budget(rounds=rounds, seconds=600),
            rollout=rollout or Rollout(),
        ),
        traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        created_unix_ns=START,
        at_unix_ns=START,
        expires_unix_ns=START + 600 * SECOND,
        phase="queued",
        deadline_unix_ns=0,
        hosts=list(hosts),
        canary=hosts[0],
        inventories={host: inventory(host) for host in hosts},
        objective=Objective(metric="p99", direction="lower"),
        guardrails=[Guardrail(metric="rps", direction="higher")],
        round_s=4.0,
        timeout_s=60.0,
    )
    return advance(accept(state, START), Begin(fence=7), START)


def candidate(policy: str, predicted: float = 0.5) -> Candidate:
    return Candidate(
        policy=policy,
        version="1.0.0",
        parameters={"x": 1},
        why="fits",
        predicted_ratio=predicted,
        predicted_low=0.3,
        predicted_high=0.9,
    )


def plan(*policies: str, screen: int = 2) -> Plan:
    return Plan(
        optimization="o1",
        mind="embedded",
        kind="reconfigure",
        considered=[],
        candidates=[candidate(policy) for policy in policies],
        why="because",
        screen_pairs=screen,
        confirm_pairs=10,
    )


def artifact(policy: str) -> Artifact:
    return Artifact(
        sha256="a" * 64,
        size_bytes=1,
        policy=policy,
        version="1.0.0",
        source_sha256="b" * 64,
        toolchain="clang",
    )


def profiled(host: str = "h1") -> Profiled:
    return Profiled(
        optimization="o1",
        host=host,
        inventory=inventory(host),
        profile=Profile(
            host=host,
            workload="wakeup",
            features={"hogs": 4.0},
            workload_class="latency-under-load",
            confidence=0.9,
            summary="busy",
        ),
    )


class World:
    """Drives one optimization; `ratios` says how each policy does, `ends` how its trial ends.

    `runs` is what each host's kernel has been told to run: checked against what is promised.
    """

    def __init__(
        self,
        state: Optimization,
        the_plan: Plan | list[Plan],
        ratios: dict[str, float],
        *,
        ends: dict[str, TrialEnd] | None = None,
        rejected: tuple[str, ...] = (),
        undeployable: tuple[str, ...] = (),
        lost: tuple[str, ...] = (),
        falling: tuple[str, ...] = (),
        silent: tuple[str, ...] = (),
        worse: tuple[int, ...] = (),
    ) -> None:
        """`lost` hosts do not run it any more when their cohort has soaked, `falling` ones say so
        themselves, `silent` ones answer no command; cohorts in `worse` are judged to be so."""
        self.state = state
        self.now = START
        self._plans = the_plan if isinstance(the_plan, list) else [the_plan]
        self._ratios = ratios
        self._ends = ends or {}
        self._rejected = rejected
        self._undeployable = undeployable
        self._lost = lost
        self._falling = falling
        self._silent = silent
        self._worse = worse
        self.commands: list[tuple[str, str | None]] = []
        self.events: list[str] = []
        self.runs: set[str] = set()
        self.weighed: list[WeighCommand] = []
        self.seen: list[Optimization] = []
        """Every state that it was in."""

    def run(self) -> Optimization:
        """Until it is over; time goes by when nobody has anything to say."""
        while self.state.outbox or not self.state.over:
            if self.state.outbox:
                self.step()
            else:
                self.wait()
        return self.state

    def step(self) -> None:
        """Send the first message of the outbox, and hear what comes back."""
        item = self.state.outbox[0]
        self.state = sent(self.state, [item.id])
        if item.kind == "evt":
            self.events.append(item.verb)
            return
        self.commands.append((item.verb, item.host))
        for news in self.answer(item):
            self.now += SECOND // 100
            self.hear(news)

    def wait(self) -> None:
        """Until the next deadline."""
        self.now = max(self.now, self.state.deadline_unix_ns)
        self.hear(Tick())

    def hear(self, news: News) -> None:
        """One piece of news."""
        self.state = advance(self.state, news, self.now)
        self.seen.append(self.state)

    def answer(  # noqa: C901 - one case for each kind of command
        self, item: Outgoing
    ) -> list[News]:
        """What the rest of the fleet says to a command."""
        if item.host in self._silent and item.verb != "trial":
            return []
        match item.verb:
            case "profile":
                return [profiled()]
            case "plan":
                now = self.state.generation
                return [replace(each, generation=now) for each in self._plans[now : now + 1]]
            case "build":
                return [self._built(msgspec.json.decode(item.body, type=BuildCommand))]
            case "trial":
                return self._trial(msgspec.json.decode(item.body, type=TrialCommand))
            case "deploy":
                return self._deployed(str(item.host), item.body)
            case "confirm":
                msgspec.json.decode(item.body, type=ConfirmCommand)
                return [self._confirmed(str(item.host))]
            case "revert":
                return self._reverted(str(item.host), item.body)
            case "probe":
                command = msgspec.json.decode(item.body, type=ProbeCommand)
                return [self._probed(str(item.host), command.mark)]
            case "weigh":
                return [self._weighed(msgspec.json.decode(item.body, type=WeighCommand))]
            case "remember":
                remember = msgspec.json.decode(item.body, type=RememberCommand)
                return [Remembered(optimization="o1", outcomes=remember.outcomes)]
            case _:
                return []

    def _built(self, command: BuildCommand) -> Built:
        if command.policy in self._rejected:
            reason = Reason(stage="prove", rule="no-calls", text="hooks call nothing", line=3)
            return Built(optimization="o1", policy=command.policy, reasons=[reason])
        return Built(optimization="o1", policy=command.policy, artifact=artifact(command.policy))

    def _trial(self, command: TrialCommand) -> list[News]:
        end = self._ends.get(command.policy)
        ratio = self._ratios[command.policy]
        news: list[News] = []
        pairs = 0 if end not in {None, "fault"} else command.spec.max_pairs
        for index in range(pairs):
            news.append(
                Round(
                    optimization="o1",
                    trial=command.trial,
                    host="h1",
                    index=index,
                    order="AB",
                    seed=1,
                    baseline={"p99": 1.0},
                    candidate={"p99": ratio},
                    spec=command.spec,
                )
            )
            news.append(judged(command, index + 1, ratio))
            if news[-1].verdict != "continue":  # type: ignore[union-attr]
                pairs = index + 1
                break
        stopped = pairs < command.spec.max_pairs
        news.append(
            TrialEnded(
                optimization="o1",
                trial=command.trial,
                host="h1",
                end=end or ("stopped" if stopped else "completed"),
                pairs=pairs,
                problem=Problem(kind="X", what="broke") if end else None,
            )
        )
        return news

    def _deployed(self, host: str, body: msgspec.Raw) -> list[News]:
        msgspec.json.decode(body, type=DeployCommand)
        if host in self._undeployable:
            problem = Problem(kind="X", what="no")
            return [Deployed(optimization="o1", host=host, problem=problem)]
        self.runs.add(host)
        news: list[News] = [Deployed(optimization="o1", host=host)]
        if host in self._falling:
            self.runs.discard(host)
            news.append(Reverted(optimization="o1", host=host, reason="stall"))
        return news

    def _confirmed(self, host: str) -> Confirmed:
        if host in self._lost:
            self.runs.discard(host)
        problem = None if host in self.runs else Problem(kind="X", what="it is gone")
        return Confirmed(optimization="o1", host=host, problem=problem)

    def _reverted(self, host: str, body: msgspec.Raw) -> list[News]:
        command = msgspec.json.decode(body, type=RevertCommand)
        self.runs.discard(host)
        return [Reverted(optimization="o1", host=host, reason=command.reason)]

    def _probed(self, host: str, mark: str) -> Probed:
        at_ns = self.now - START
        vitals = Vitals(boot_id="b" + host, at_ns=at_ns, run_ns=at_ns, wait_ns=at_ns // 4)
        return Probed(optimization="o1", host=host, mark=mark, vitals=vitals)

    def _weighed(self, command: WeighCommand) -> Weighed:
        self.weighed.append(command)
        worse = command.cohort in self._worse
        return Weighed(
            optimization="o1",
            cohort=command.cohort,
            verdict="worse" if worse else "not-worse",
            reasons=["tasks wait twice as long"] if worse else [],
        )


def judged(command: TrialCommand, pairs: int, ratio: float) -> Judged:
    verdict = "continue"
    if command.spec.stage == "confirm":
        if pairs >= command.spec.min_pairs and ratio < 0.98:
            verdict = "promote"
        elif pairs >= command.spec.min_pairs and ratio > 1.02:
            verdict = "revert"
        elif pairs >= command.spec.max_pairs:
            verdict = "inconclusive"
    return Judged(
        optimization="o1",
        trial=command.trial,
        measured_on="h1",
        spec=command.spec,
        guardrails=[
            GuardrailFinding(
                metric=each.metric, state="clear", ratio=1.0, low=1.0, high=1.0, margin=each.margin
            )
            for each in command.spec.guardrails
        ],
        pairs=pairs,
        verdict=verdict,  # type: ignore[arg-type]
        ratio=ratio,
        low=ratio * 0.9,
        high=ratio * 1.1,
        sequence_low=ratio * 0.9,
        sequence_high=ratio * 1.1,
        autocorrelation=0.0,
        reasons=[f"ratio {ratio}"],
    )
