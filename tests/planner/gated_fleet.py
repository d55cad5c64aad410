"""A fleet on paper behind the real gate, and a model's session played from a request to its end."""

from __future__ import annotations

import asyncio
import time
import uuid

import msgspec

from services.executor.gate import Workshop
from services.executor.gate.service import Gate
from services.planner.minds.embedded import EmbeddedMind
from services.planner.minds.llm.meter import Price
from services.planner.minds.llm.mind import LlmMind
from services.planner.minds.llm.model import Model
from shared.bus import Bus, connect
from shared.bus.provision import provision
from shared.messages import (
    Artifact,
    Checked,
    CheckRequest,
    DeployCommand,
    Made,
    OptimizeRequest,
    Rollout,
    Terminal,
)
from shared.optimization import Optimization
from shared.policies import Catalogue
from shared.subjects import Subjects
from shared.telemetry import Telemetry, start_telemetry
from tests.planner.messages_api import KEY, messages_api
from tests.planner.paper_fleet import PaperFleet, working
from tests.planner.sessions import Kind, Session

TOKENS, DOLLARS = 200_000, 0.50
PRICE = Price(3.0, 15.0)
PATIENCE_S = 240.0


class Vouching:
    """The gate's desk, as far as it is asked to vouch for what was built."""

    def __init__(self) -> None:
        self.vouched: dict[str, Made | None] = {}

    async def start(self) -> None:
        pass

    async def vouch(self, artifact: Artifact, made: Made | None = None) -> None:
        self.vouched[artifact.sha256] = made


class GatedFleet(PaperFleet):
    """Hosts above no kernel that load what the real gate has built, if they are told to."""

    def __init__(self, bus: Bus, telemetry: Telemetry) -> None:
        super().__init__(bus)
        self.desk = Vouching()
        self.loaded: set[str] = set()
        """Artifacts that were tried or deployed."""
        self._telemetry = telemetry

    async def _open_gate(self) -> None:
        gate = Gate(self.bus, self._telemetry, Workshop(), Catalogue.load(), self.desk)  # type: ignore[arg-type]
        await gate.start()

    async def _deploy(self, host: str, command: DeployCommand) -> None:
        self.loaded.add(command.artifact.sha256)
        await super()._deploy(host, command)

    @property
    def unverified(self) -> set[str]:
        """What was loaded though this gate never passed it."""
        return (self.loaded | {each.artifact.sha256 for each in self.trials}) - set(
            self.desk.vouched
        )


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a session."""

    number: int
    kind: Kind
    name: str
    terminal: Terminal
    mind: str
    """Whose plan it was in the end."""
    declined: str
    """Why it was not the model's."""
    made: int
    """Policies among those tried that the model wrote."""
    tried: int
    unverified: int
    tokens: int
    dollars: float
    seconds: float
    requests: int

    @property
    def honest(self) -> bool:
        """A policy that passed the gate was tried, or nothing was; and it says whose plan it is."""
        fell_back = self.mind == "embedded" and bool(self.declined)
        own = self.mind == "llm" and not self.declined
        return (own or fell_back) and self.terminal in {"promoted", "kept-default"}

    @property
    def within_budget(self) -> bool:
        return self.tokens <= TOKENS and self.dollars <= DOLLARS


async def play(session: Session, nats_url: str) -> Played:
    """One request in a namespace of its own, with this model in the planner."""
    subjects = Subjects(f"s-{uuid.uuid4().hex[:12]}")
    bus = await connect(nats_url, subjects, "test", patience_s=10)
    telemetry = start_telemetry("gate", publish=None)
    began = time.monotonic()
    try:
        await provision(bus.js, subjects)
        fleet = GatedFleet(bus, telemetry)
        await fleet.join("h1")
        with messages_api(*session.turns) as api:
            model = Model("claude-of-paper", KEY, api.url)
            try:
                state = await _optimized(bus, nats_url, subjects, model)
            finally:
                await model.close()
                await fleet.stop()
            requests = len(api.requests)
    finally:
        await bus.close()
        await telemetry.shutdown()
    assert state.plan is not None, state.reasons
    assert state.terminal, state.reasons
    candidates = {trial.candidate.policy: trial.candidate.made for trial in state.trials}
    return Played(
        number=session.number,
        kind=session.kind,
        name=session.name,
        terminal=state.terminal,
        mind=state.plan.mind,
        declined="; ".join(str(each.problem) for each in state.plan.declined),
        made=sum(each is not None and each.mind == "llm" for each in candidates.values()),
        tried=len(candidates),
        unverified=len(fleet.unverified),
        tokens=state.costs["plan"].tokens,
        dollars=state.costs["plan"].dollars,
        seconds=time.monotonic() - began,
        requests=requests,
    )


async def _optimized(bus: Bus, nats_url: str, subjects: Subjects, model: Model) -> Optimization:
    async def check(request: CheckRequest) -> Checked:
        return await bus.ask(subjects.endpoint("executor", "check"), request, Checked, timeout_s=60)

    def first(telemetry: Telemetry) -> LlmMind:
        return LlmMind(model, telemetry, PRICE, TOKENS, DOLLARS, check)

    request = OptimizeRequest(workload="wakeup", rollout=Rollout(soak_s=0.1, control_percent=0))
    async with asyncio.timeout(PATIENCE_S):
        async with working(nats_url, subjects, mind=EmbeddedMind(), first=first) as minds:
            return await minds.end((await minds.ask(request)).optimization)
