"""A fleet's secrets, on a real server that wants certificates: who was given what gets in."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import pytest

from shared.bus import Bus, connect
from shared.bus.authority import Authority
from shared.bus.credentials import Credentials
from shared.bus.handout import Handout
from shared.bus.keyring import FLEET, Keyring
from shared.bus.server import NatsServer
from shared.bus.server_config import Tls
from shared.errors import BusUnavailableError
from shared.subjects import Subjects


class Fleet:
    """What `python -m shared.bus provision h1 h2` leaves."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.out = place / "out"
        self.keyring = Keyring(place / "keyring")
        self.provision()

    def provision(self) -> list[str]:
        authority = Authority(self.place / "authority")
        return Handout(self.keyring, authority, self.out).fleet(["h1", "h2"], ["127.0.0.1", "bus"])

    def credentials(self, who: str) -> Credentials:
        return Credentials.from_environment({"CREDENTIALS_DIRECTORY": str(self.out / who)})

    def server(self) -> NatsServer:
        files = self.credentials("bus")
        assert files.ca is not None
        assert files.cert is not None
        assert files.cert_key is not None
        tls = Tls(cert=files.cert, key=files.cert_key, ca=files.ca)
        return NatsServer(self.place / "nats", keyring=self.keyring, tls=tls)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@asynccontextmanager
async def connected(server: NatsServer, credentials: Credentials) -> AsyncIterator[Bus]:
    bus = await connect(server.url, Subjects(), "test", credentials=credentials, patience_s=5)
    try:
        yield bus
    finally:
        await bus.close()


def test_everybody_gets_what_is_theirs_and_nothing_else(fleet: Fleet) -> None:
    certs = {"nats-ca.pem", "nats-cert.pem", "nats-cert.key"}
    given = {place.name: {file.name for file in place.iterdir()} for place in fleet.out.iterdir()}
    host = {"cox-observer.nk", "cox-executor.nk", "cox-trusted.keys"}
    host |= {f"cox-{name}" for name in certs}
    assert given == {
        "bus": certs,
        **{str(member): {"nats.nk", *certs} for member in FLEET},
        # The gate alone signs; hosts know it by the public half.
        "gate": {"nats.nk", "signing.seeds", *certs},
        "h1": host,
        "h2": host,
    }
    # Of all seeds only the one that the server provisions by stays with the public keys.
    assert [file.name for file in fleet.keyring.directory.glob("*.nk")] == ["operator.nk"]
    for file in fleet.out.rglob("*"):
        if file.is_file():
            assert file.stat().st_mode & 0o077 == 0, file


def test_giving_twice_changes_nothing_and_what_was_lost_is_made_anew(fleet: Fleet) -> None:
    def content() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in fleet.place.rglob("*") if file.is_file()}

    before = content()
    assert fleet.provision() == []
    assert content() == before
    (fleet.out / "planner" / "nats.nk").unlink()
    (fleet.out / "h1" / "cox-nats-cert.key").unlink()
    old = fleet.keyring.members()
    assert fleet.provision() == ["planner", "h1"]
    changed = {str(m) for m, key in fleet.keyring.members().items() if old[m] != key}
    assert changed == {"planner"}


def test_a_server_that_gets_another_name_gets_another_certificate(fleet: Fleet) -> None:
    handout = Handout(fleet.keyring, Authority(fleet.place / "authority"), fleet.out)
    assert handout.fleet(["h1", "h2"], ["127.0.0.1", "bus", "bus.example"]) == ["bus"]


async def test_with_key_and_certificate_everybody_gets_in(fleet: Fleet) -> None:
    with fleet.server() as server:
        for who in ("operator", "planner"):
            async with connected(server, fleet.credentials(who)) as bus:
                await bus.nc.flush(timeout=5)
        host = fleet.out / "h1"
        observer = Credentials(
            key=host / "cox-observer.nk",
            ca=host / "cox-nats-ca.pem",
            cert=host / "cox-nats-cert.pem",
            cert_key=host / "cox-nats-cert.key",
        )
        async with connected(server, observer) as bus:
            await bus.nc.flush(timeout=5)


async def test_half_of_it_does_not_open_the_bus(fleet: Fleet, tmp_path: Path) -> None:
    planner = fleet.credentials("planner")
    stranger = Fleet(tmp_path / "other").credentials("planner")
    with fleet.server() as server:
        for credentials in (
            Credentials(key=planner.key),
            Credentials(key=planner.key, ca=planner.ca),
            Credentials(ca=planner.ca, cert=planner.cert, cert_key=planner.cert_key),
            # Another fleet's certificate with our key, and the other way round.
            Credentials(
                key=planner.key, ca=planner.ca, cert=stranger.cert, cert_key=stranger.cert_key
            ),
            Credentials(
                key=stranger.key, ca=planner.ca, cert=planner.cert, cert_key=planner.cert_key
            ),
            # We know the server by another fleet's authority.
            stranger,
        ):
            with pytest.raises(BusUnavailableError):
                async with connected(server, credentials):
                    pass


def test_a_new_signing_key_reaches_the_gate_and_every_host(fleet: Fleet) -> None:
    def keys(path: str) -> list[str]:
        return (fleet.out / path).read_text().splitlines()

    def bus(command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "shared.bus", command],
            env={**os.environ, "COX_SECRETS": str(fleet.place)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stderr

    first = keys("h1/cox-trusted.keys")
    assert "gate, h1, h2" in bus("rotate-signing")
    assert keys("h1/cox-trusted.keys")[0] == first[0]
    assert len(keys("h2/cox-trusted.keys")) == len(keys("gate/signing.seeds")) == 2
    assert "gate, h1, h2" in bus("retire-signing")
    assert len(keys("gate/signing.seeds")) == 1
    assert keys("h1/cox-trusted.keys") != first
    assert fleet.provision() == []


def test_a_bundle_is_a_hosts_secrets_and_revoking_ends_them(fleet: Fleet) -> None:
    def bus(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "shared.bus", *arguments],
            env={**os.environ, "COX_SECRETS": str(fleet.place)},
            capture_output=True,
            check=False,
        )

    done = bus("bundle", "web-1")
    assert done.returncode == 0, done.stderr
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        assert len(archive.getnames()) == 6
        assert all(member.mode == 0o600 for member in archive.getmembers())
    hosts = {member.host for member in fleet.keyring.members() if member.host}
    assert hosts == {"h1", "h2", "web-1"}
    # There is one copy, and it has gone out; another makes the first worthless.
    assert not (fleet.out / "web-1").exists()
    keys = fleet.keyring.members()
    assert bus("bundle", "web-1").returncode == 0
    again = fleet.keyring.members()
    assert {str(m) for m in keys if keys[m] != again[m]} == {"observer@web-1", "executor@web-1"}
    assert bus("revoke", "web-1").returncode == 0
    assert {m.host for m in fleet.keyring.members() if m.host} == {"h1", "h2"}
    refused = bus("revoke", "web-1")
    assert refused.returncode == 2
    assert b"web-1" in refused.stderr
