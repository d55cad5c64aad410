"""Who a process is on the bus, and how it knows the server: files, named by the environment."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shared.bus.keyring import public_key
from shared.bus.roles import INBOX
from shared.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

SEED = "nats.nk"
CA, CERT, CERT_KEY = "ca.pem", "cert.pem", "cert.key"
"""What a credentials directory (systemd.exec(5)) holds: the seed, and these after `nats-`."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Files that open the bus; with none of them it is an open server, as in tests.

    Each is named by a variable, or stands in $CREDENTIALS_DIRECTORY, as in a systemd unit.

    COX_NATS_KEY     an NKey's seed
    COX_NATS_CA      certificates that the server's must be signed by: the connection is TLS
    COX_NATS_CERT    our own certificate, where the server asks for one
    COX_NATS_CERT_KEY  and its key
    """

    key: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    cert_key: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Credentials:
        """Read the environment. A credentials directory counts for what is not named."""

        def path(name: str) -> Path | None:
            value = environment.get(name, "")
            return Path(value) if value else None

        given = environment.get("CREDENTIALS_DIRECTORY", "")

        def find(variable: str, name: str) -> Path | None:
            found = path(variable)
            if found is None and given and (Path(given) / name).exists():
                return Path(given) / name
            return found

        key = find("COX_NATS_KEY", SEED)
        ca = find("COX_NATS_CA", f"nats-{CA}")
        cert = find("COX_NATS_CERT", f"nats-{CERT}")
        cert_key = find("COX_NATS_CERT_KEY", f"nats-{CERT_KEY}")
        if (cert is None) != (cert_key is None):
            raise InputError(
                "half a certificate", expected="both COX_NATS_CERT and COX_NATS_CERT_KEY, or none"
            )
        return cls(key=key, ca=ca, cert=cert, cert_key=cert_key)

    def options(self) -> dict[str, Any]:
        """What nats-py's connect() takes. Raises InputError for a file that cannot be used."""
        found: dict[str, Any] = {}
        if self.key is not None:
            seed = _read(self.key, "the key").strip()
            found["nkeys_seed_str"] = seed.decode("ascii", errors="replace")
            found["inbox_prefix"] = f"{INBOX}.{public_key(seed)}"
        if self.ca is not None:
            found["tls"] = self._tls(self.ca)
        return found

    def _tls(self, ca: Path) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=ca)
            if self.cert is not None and self.cert_key is not None:
                context.load_cert_chain(self.cert, self.cert_key)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                "the bus's certificates cannot be used",
                expected="PEM files in COX_NATS_CA, COX_NATS_CERT, COX_NATS_CERT_KEY",
                got=repr(error),
            ) from error
        return context


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{what} to the bus cannot be read",
            expected=str(path),
            got=error.strerror or repr(error),
            advice="Set COX_NATS_KEY to a file with the seed, readable to this user alone.",
        ) from error
