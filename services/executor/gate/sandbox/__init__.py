"""The gate's sandbox: a microVM in which an object is loaded and besieged before a host sees it."""

from services.executor.gate.sandbox.judge import judged
from services.executor.gate.sandbox.pool import Sandbox
from services.executor.gate.sandbox.stage import SandboxStage

__all__ = ["Sandbox", "SandboxStage", "judged"]
