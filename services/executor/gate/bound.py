"""First stage: how long the frame lets a task wait under this manifest's settings."""

from __future__ import annotations

from services.executor.gate.stage import Finding, Work, reason
from shared.policies import FRAME, MAX_WAIT_BOUND_NS


class BoundStage:
    """The promise about waiting rests on the frame's settings alone, not on the hooks."""

    name = "bound"

    def __call__(self, work: Work) -> Finding:
        """Check the settings once more: a manifest may come from elsewhere than a file."""
        reasons = []
        for name, value in work.manifest.frame.items():
            tunable = FRAME.get(name)
            if tunable is None or not tunable.low <= value <= tunable.high:
                text = f"{name[:64]} = {value} is no setting of the frame within its limits"
                reasons.append(reason(self.name, "frame-setting", text))
        if reasons:
            return Finding(reasons=reasons)
        bound = work.manifest.wait_bound_ns
        if bound > MAX_WAIT_BOUND_NS:
            text = f"a task could wait {bound / 1e9:.1f} s; at most {MAX_WAIT_BOUND_NS / 1e9:g} s"
            reasons.append(reason(self.name, "wait-bound", text))
        return Finding(reasons=reasons, evidence={"wait_bound_ns": float(bound)})
