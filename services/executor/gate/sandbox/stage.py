"""The gate's last stage: the finished object, loaded and besieged in a microVM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.executor.gate.sandbox.judge import STAGE

if TYPE_CHECKING:
    from services.executor.gate.sandbox.pool import Sandbox
    from services.executor.gate.stage import Finding, Work


class SandboxStage:
    """Asks a sandbox that runs already; blocks for as long as the siege takes."""

    name = STAGE

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def __call__(self, work: Work) -> Finding:
        """Judge `work.object`. Raises MachineError if the sandbox cannot say."""
        return self._sandbox.wait_for(work.object, work.manifest)
