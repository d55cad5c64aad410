"""An emulated guest imports this at every start: it must stay light."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {"google.protobuf", "requests", "urllib3", "opentelemetry.exporter", "grpc"}
HEAVY |= {"prometheus_client", "http.server"}

PROGRAM = """
import json, sys, shared.telemetry, shared.telemetry.store
print(json.dumps(sorted(sys.modules)))
"""


def test_telemetry_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
        ],
        check=True,
        capture_output=True,
        text=True,
    )

    modules = set(json.loads(done.stdout))
    assert "shared.telemetry.outbox" in modules
    assert modules & HEAVY == set()
