"""A real fleet for tests: `compose.yaml` as it is, under a project name of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shared.bus import Bus, connect
from shared.bus.credentials import Credentials
from shared.bus.server import free_port
from shared.microvm.places import CHECKOUT
from shared.subjects import Subjects

HOSTS = int(os.environ.get("COX_TEST_HOSTS", "3"))
"""Fewer than three where the machine is too slow for three emulated guests."""
UP_S = 1800.0


def obstacle() -> str:
    """Why there can be no fleet of containers here; empty if there can."""
    if shutil.which("docker") is None:
        return "no docker command here"
    done = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return f"no Docker engine answers: {done.stderr.strip()}"
    if os.geteuid() != 0:
        return "crashes are made with SIGKILL from outside, which needs root"
    return ""


class Fleet:
    """What `docker compose up` has started, under `project`."""

    def __init__(self, project: str, secrets: Path, otlp_port: int) -> None:
        self.project = project
        self.hosts = [f"host-{number + 1}" for number in range(HOSTS)]
        self.services = ["bus", "planner", "learner", "gate", "relay", *self.hosts]
        self._secrets = secrets
        self._port = free_port()
        self._environment = {
            **os.environ,
            "COX_BUS_LISTEN": f"127.0.0.1:{self._port}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://receiver:{otlp_port}",
        }

    def compose(self, *arguments: str, timeout_s: float = 300.0) -> str:
        """One call of Compose; fails the test with what it said."""
        docker = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        files = ["-f", "compose.yaml", "-f", "tests/compose/override.yaml"]
        done = subprocess.run(
            [*docker, "-p", self.project, "--project-directory", str(CHECKOUT), *files, *arguments],
            cwd=CHECKOUT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def up(self) -> None:
        """Start it, and wait until every container is healthy."""
        self.compose("up", "--detach", *self.services, timeout_s=UP_S)
        for member in ("client", "operator"):
            self._take_secrets(member)
        self.wait_healthy(UP_S)

    def down(self) -> None:
        """Remove it with everything it kept."""
        self.compose("down", "--volumes", "--timeout", "20")

    def wait_healthy(self, patience_s: float) -> None:
        """Until all containers are healthy."""
        deadline = time.monotonic() + patience_s
        while True:
            states = {service: self.health(service) for service in self.services}
            if set(states.values()) == {"healthy"}:
                return
            logs = self.compose("logs", "--tail", "5")
            assert time.monotonic() < deadline, f"{states}\n{logs}"
            time.sleep(2)

    def health(self, service: str) -> str:
        """What Docker says of a service's container."""
        return str(self._inspect(service)["State"]["Health"]["Status"])

    def crash(self, service: str) -> None:
        """SIGKILL its first process from outside; Docker starts the container again."""
        before = self._inspect(service)
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        deadline = time.monotonic() + 120
        while self._inspect(service)["RestartCount"] == before["RestartCount"]:
            assert time.monotonic() < deadline, f"{service} was not started again"
            time.sleep(0.2)

    def inspect(self, service: str) -> dict:
        return self._inspect(service)

    def credentials(self, member: str) -> Credentials:
        """A member's own, as a client far away would have them."""
        return Credentials.from_environment({"CREDENTIALS_DIRECTORY": str(self._secrets / member)})

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self._port}"

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[Bus]:
        """The operator's connection."""
        bus = await connect(
            self.url, Subjects(), "test", credentials=self.credentials("operator"), patience_s=60
        )
        try:
            yield bus
        finally:
            await bus.close()

    def _inspect(self, service: str) -> dict:
        name = f"{self.project}_{service}_1"
        found = subprocess.run(["docker", "inspect", name], capture_output=True, check=False)
        if found.returncode != 0:  # Compose v2 writes it with hyphens
            name = f"{self.project}-{service}-1"
            found = subprocess.run(["docker", "inspect", name], capture_output=True, check=True)
        (container,) = json.loads(found.stdout)
        return container

    def _take_secrets(self, member: str) -> None:
        place = self._secrets / member
        place.mkdir(parents=True, exist_ok=True)
        image = self._inspect("bus")["Config"]["Image"]
        volume = f"{self.project}_{member}:/given:ro"
        packed = subprocess.run(
            [
                *("docker", "run", "--rm", "--network", "none", "-v", volume, image),
                *("tar", "-C", "/given", "-c", "."),
            ],
            capture_output=True,
            check=True,
        )
        subprocess.run(["tar", "-C", str(place), "-x"], input=packed.stdout, check=True)


async def until_ended(bus: Bus, identity: str, patience_s: float) -> None:
    """Until an optimization's end stands in the audit log."""
    subject = bus.subjects.events("planner", "ended", identity)
    deadline = time.monotonic() + patience_s
    while not [data async for _, data in bus.history("EVENTS", subject)]:
        assert time.monotonic() < deadline, f"{identity} has not ended"
        await asyncio.sleep(1)
