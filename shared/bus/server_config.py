"""The NATS server's configuration, as JSON, which its own format includes.

Two accounts: COX, where everybody's subjects are, and SYS, the server's own, for nobody but the
operator's tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shared.bus.roles import Identity, grant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.subjects import Subjects

ANSWER_TTL = "2m"
"""How long after a question its answer may be published: longer than any is waited for."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files of a server that takes only clients whose certificate `ca` has signed."""

    cert: Path
    key: Path
    ca: Path


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """A server's place among others: where it listens for them, and where they do (host:port)."""

    name: str
    listen: str
    routes: list[str]


def server_config(
    *,
    listen: str,
    store: Path,
    members: Mapping[Identity, str] | None = None,
    subjects: Subjects | None = None,
    tls: Tls | None = None,
    cluster: Cluster | None = None,
    name: str = "coxswain",
) -> bytes:
    """The whole file. Without `members` the server is open to whoever reaches it.

    In a `cluster` each server must have a `name` of its own.
    """
    config: dict[str, Any] = {
        "server_name": name,
        "listen": listen,
        "max_payload": 2**20,
        "jetstream": {
            "store_dir": str(store),
            # An acknowledged write is on the disk: optimizations and their evidence must survive
            # power cuts.
            "sync_interval": "always",
        },
    }
    if cluster is not None:
        config["cluster"] = {
            "name": cluster.name,
            "listen": cluster.listen,
            "routes": [f"nats-route://{route}" for route in cluster.routes],
        }
    if members is not None:
        assert subjects is not None
        config["accounts"] = {
            "COX": {
                "jetstream": "enabled",
                "users": [_user(member, key, subjects) for member, key in members.items()],
            },
            "SYS": {"users": []},
        }
        config["system_account"] = "SYS"
    if tls is not None:
        config["tls"] = {
            "cert_file": str(tls.cert),
            "key_file": str(tls.key),
            "ca_file": str(tls.ca),
            "verify": True,
            "timeout": 5,
        }
    return msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"


def _user(member: Identity, public_key: str, subjects: Subjects) -> dict[str, Any]:
    allowed = grant(member, public_key, subjects)
    permissions: dict[str, Any] = {
        "publish": {"allow": list(allowed.publish)},
        "subscribe": {"allow": list(allowed.subscribe)},
    }
    if allowed.answers:
        permissions["allow_responses"] = {"max": 1, "expires": ANSWER_TTL}
    return {"nkey": public_key, "permissions": permissions}
