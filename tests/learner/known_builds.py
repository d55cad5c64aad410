"""Makes what a gate tells of its builds."""

from __future__ import annotations

from shared.messages import Artifact, Built, Reason


def artifact(
    policy: str = "latency", version: str = "1", *, sha256: str = "a" * 64, source: str = "b" * 64
) -> Artifact:
    return Artifact(
        sha256=sha256,
        size_bytes=4096,
        policy=policy,
        version=version,
        source_sha256=source,
        toolchain="clang 19.1.7",
        evidence={"insns_rank": 34.0, "stack_bytes": 64.0},
    )


def built(
    policy: str = "latency",
    version: str = "1",
    *,
    at: int = 1,
    optimization: str = "o1",
    sha256: str = "a" * 64,
    source: str = "b" * 64,
) -> Built:
    return Built(
        optimization=optimization,
        policy=policy,
        artifact=artifact(policy, version, sha256=sha256, source=source),
        unix_ns=at,
    )


def rejected(policy: str = "latency", *, at: int = 1, optimization: str = "o1") -> Built:
    reason = Reason(stage="proof", rule="call", text="a hook calls a helper", line=7)
    return Built(optimization=optimization, policy=policy, reasons=[reason], unix_ns=at)
