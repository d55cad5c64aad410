"""The gate's own stages in this process: what hooks are told that a model has checked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.talking.asking import Gate
from services.executor.gate.pipeline import BuildRequest, Rejected, build
from services.executor.gate.workshop import Workshop
from shared.errors import CoxswainError
from shared.messages import Checked, CheckRequest
from shared.policies import Catalogue


def local_gate(cache: Path) -> Gate:
    """Answers as the gate role does on the bus (`services/executor/gate/service.py`)."""
    workshop, policies = Workshop(cache=cache), Catalogue.load()

    async def check(request: CheckRequest) -> Checked:
        began = time.monotonic()
        try:
            policy = policies.policy(request.policy, request.made)
            result = await asyncio.to_thread(build, BuildRequest.of(policy), workshop)
        except CoxswainError as error:
            return Checked(problem=error.problem, seconds=time.monotonic() - began)
        seconds = time.monotonic() - began
        if isinstance(result, Rejected):
            return Checked(reasons=result.reasons, seconds=seconds)
        return Checked(evidence=result.artifact.evidence, seconds=seconds)

    return check
