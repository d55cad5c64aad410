"""What a process is told from outside: environment variables, each with a default that works.

COX_NATS_URL     where the bus is (nats://127.0.0.1:4222); servers of a cluster with commas between
COX_NATS_KEY     file with our key to it; more in shared/bus/credentials.py
COX_SIGNING_SEEDS  what the gate signs deployment tokens with
COX_TRUSTED_KEYS   the public keys by which a host knows them (both: shared/signing.py)
COX_NAMESPACE    first token of every subject (cox)
COX_HOST         name of the host that this service sees or steers
COX_LABELS       what is said of that host: rack=a1,role=web
COX_MAX_CANARIES how many canaries may be live in the whole fleet (8); the planners' setting
COX_SANDBOX      on: the gate besieges what it builds in a microVM before it signs (off)
COX_MADE         off: the gate builds no hooks that a mind has written (on)
COX_STATE_DIR    where this service keeps what must survive it
COX_METRICS      host:port of this process's Prometheus endpoint (none)
COX_ALIVE        a file to touch while all is well, for a container's health check
COX_LOG          console or json (console on a terminal)
COX_MIND, COX_MODEL…  which minds the planner asks (services/planner/minds/chosen.py)
OTEL_EXPORTER_OTLP_ENDPOINT   where the relay hands spans on to
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import platformdirs

from shared.bus.credentials import Credentials
from shared.errors import InputError
from shared.signing import KEYS, SEEDS
from shared.subjects import Subjects, host_token, token

if TYPE_CHECKING:
    from collections.abc import Mapping


def state_home() -> Path:
    """Where Coxswain keeps its state on this machine: COX_HOME or the user's state directory."""
    given = os.environ.get("COX_HOME", "")
    return Path(given).resolve() if given else Path(platformdirs.user_state_dir("coxswain"))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A service's settings."""

    nats_url: str = "nats://127.0.0.1:4222"
    credentials: Credentials = Credentials()
    signing_seeds: Path = Path(SEEDS)
    trusted_keys: Path = Path(KEYS)
    subjects: Subjects = Subjects()
    host: str = ""
    labels: dict[str, str] = {}
    max_canaries: int = 8
    drift: Literal["off", "tell", "optimize"] = "optimize"
    sandbox: bool = False
    made: bool = True
    state_dir: Path = Path()
    alive: Path | None = None
    log_json: bool = False
    metrics: str = ""
    otlp_endpoint: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment. Raises InputError for a value that cannot be."""
        log = environment.get("COX_LOG", "console" if sys.stderr.isatty() else "json")
        if log not in {"console", "json"}:
            raise InputError("COX_LOG is not valid", expected="console or json", got=repr(log))
        host = environment.get("COX_HOST", "") or socket.gethostname().split(".")[0]
        state_dir = environment.get("COX_STATE_DIR", "")
        return cls(
            nats_url=environment.get("COX_NATS_URL", "nats://127.0.0.1:4222"),
            credentials=Credentials.from_environment(environment),
            signing_seeds=_credential(environment, "COX_SIGNING_SEEDS", SEEDS),
            trusted_keys=_credential(environment, "COX_TRUSTED_KEYS", KEYS),
            subjects=Subjects(environment.get("COX_NAMESPACE", "cox")),
            host=host_token(host),
            labels=_labels(environment.get("COX_LABELS", "")),
            max_canaries=_count(environment.get("COX_MAX_CANARIES", "8")),
            drift=_drift(environment),
            sandbox=_switch(environment, "COX_SANDBOX", "off"),
            made=_switch(environment, "COX_MADE", "on"),
            state_dir=Path(state_dir) if state_dir else state_home(),
            alive=Path(alive) if (alive := environment.get("COX_ALIVE", "")) else None,
            log_json=log == "json",
            metrics=environment.get("COX_METRICS", ""),
            otlp_endpoint=environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        )

    def touch_alive(self) -> None:
        """Tell a health check that all is well now."""
        if self.alive is not None:
            self.alive.touch()


def _credential(environment: Mapping[str, str], variable: str, name: str) -> Path:
    """A file that is named by a variable, or stands in the credentials directory."""
    given = environment.get(variable, "")
    return Path(given) if given else Path(environment.get("CREDENTIALS_DIRECTORY", "")) / name


def _switch(environment: Mapping[str, str], variable: str, default: str) -> bool:
    """On or off. Raises InputError."""
    text = environment.get(variable, "") or default
    if text not in {"on", "off"}:
        raise InputError(f"{variable} is not valid", expected="on or off", got=repr(text)[:40])
    return text == "on"


def _drift(environment: Mapping[str, str]) -> Literal["off", "tell", "optimize"]:
    """The most that a planner does about a drift. Raises InputError."""
    text = environment.get("COX_DRIFT", "") or "optimize"
    if text not in {"off", "tell", "optimize"}:
        raise InputError(
            "COX_DRIFT is not valid", expected="off, tell or optimize", got=repr(text)[:40]
        )
    return text  # type: ignore[return-value]


def _count(text: str) -> int:
    """At least one. Raises InputError."""
    if not text.isdecimal() or not int(text):
        raise InputError(
            "COX_MAX_CANARIES is not valid", expected="a number from 1 on", got=repr(text)[:40]
        )
    return int(text)


MAX_LABEL = 120
"""Characters of a label's value."""


def _labels(text: str) -> dict[str, str]:
    """`rack=a1,role=web` as a mapping. Raises InputError."""
    labels: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not value or len(value) > MAX_LABEL or not value.isprintable():
            raise InputError(
                "COX_LABELS is not valid",
                expected=f"name=value, comma-separated, values of 1 to {MAX_LABEL} characters",
                got=repr(part)[:MAX_LABEL],
            )
        labels[token(name, "label")] = value
    return labels
