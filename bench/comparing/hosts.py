"""Whom a life asks: hosts that observe, build and try; and such that are made up, for tests."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from shared.errors import Problem
from shared.messages import (
    Artifact,
    BuildCommand,
    Built,
    Checked,
    CheckRequest,
    Inventory,
    Profile,
    Profiled,
    Reason,
    Round,
    TrialCommand,
    TrialEnd,
)
from shared.policies import Catalogue


class BrokenTrialError(Exception):
    """A trial that ended before its time, as the host says."""

    def __init__(self, end: TrialEnd, problem: Problem | None) -> None:
        super().__init__(f"{end}: {problem or ''}")
        self.end = end
        self.problem = problem


class Hosts(Protocol):
    """A host with its gate."""

    async def profile(self, workload: str) -> Profiled:
        """How it behaves here, or why that cannot be said."""
        ...

    async def build(self, command: BuildCommand) -> Built:
        """What the gate says."""
        ...

    def rounds(self, command: TrialCommand, seen: int) -> AsyncGenerator[Round, None]:
        """Pairs of a trial, up to its `max_pairs`; whoever has enough stops asking.

        `seen` of this candidate were told in this stage before, and none of them is told again.
        Raises BrokenTrialError.
        """
        ...


class Bed(Hosts, Protocol):
    """A host that minds are compared on."""

    inventory: Inventory
    measured: int
    """Pairs that were run, beside those that were known."""

    async def check(self, request: CheckRequest) -> Checked:
        """What the gate would say to hooks."""
        ...


class PaperHosts:
    """A host above no kernel: each policy has a ratio, and pairs scatter around it."""

    def __init__(
        self,
        inventory: Inventory,
        profile: Profile,
        ratios: Mapping[str, float],
        *,
        spread: float = 0.02,
        rejected: frozenset[str] = frozenset(),
        broken: Mapping[str, TrialEnd] | None = None,
    ) -> None:
        self.inventory = inventory
        self._profile = profile
        self._ratios = ratios
        self._spread = spread
        self._rejected = rejected
        self._broken = broken or {}
        self._policies = Catalogue.load()
        self.measured = 0
        """Pairs that were run."""

    async def profile(self, workload: str) -> Profiled:
        """What it was made with."""
        return Profiled(
            optimization=workload,
            host=self.inventory.host,
            inventory=self.inventory,
            profile=self._profile,
        )

    async def build(self, command: BuildCommand) -> Built:
        """An artifact, but for those that are rejected."""
        policy = self._policies.policy(command.policy, command.made)
        if command.policy in self._rejected:
            reason = Reason(stage="prove", rule="no-calls", text="hooks call nothing")
            return Built(optimization="", policy=command.policy, reasons=[reason])
        artifact = Artifact(
            sha256=hashlib.sha256(policy.source.encode()).hexdigest(),
            size_bytes=1,
            policy=policy.name,
            version=policy.manifest.version,
            source_sha256=policy.source_sha256,
            toolchain="paper",
        )
        return Built(optimization="", policy=command.policy, artifact=artifact)

    async def check(self, request: CheckRequest) -> Checked:
        """Nothing against any hooks."""
        self._policies.policy(request.policy, request.made)
        return Checked()

    async def rounds(self, command: TrialCommand, seen: int) -> AsyncGenerator[Round, None]:
        """Pairs around the policy's ratio; the same for whoever asks."""
        if command.policy in self._broken:
            problem = Problem(kind="X", what="it broke")
            raise BrokenTrialError(self._broken[command.policy], problem)
        name = f"{command.policy}/{sorted(command.parameters.items())}/{command.spec.stage}"
        chance = random.Random(name)  # noqa: S311
        middle = math.log(self._ratios.get(command.policy, 1.0))
        rails = {each.metric: 1.0 for each in command.spec.guardrails}
        metric = command.spec.objective.metric
        for index in range(seen + command.spec.max_pairs):
            ratio = math.exp(middle + chance.gauss(0.0, self._spread))
            if index < seen:
                continue
            self.measured += 1
            yield Round(
                optimization=command.optimization,
                trial=command.trial,
                host=self.inventory.host,
                index=index,
                order="AB" if index % 2 else "BA",
                seed=index,
                baseline={metric: 1.0, **rails},
                candidate={metric: ratio, **rails},
                seconds=10.0,
                spec=command.spec,
            )
