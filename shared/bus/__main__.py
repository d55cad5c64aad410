"""The bus as a process of its own, and the secrets of a fleet: what `compose.yaml` runs.

    python -m shared.bus provision HOST...   make the secrets of a fleet with these hosts
    python -m shared.bus serve               run the server for whoever has a key
    python -m shared.bus bundle HOST         one more host: new secrets, as a tar on stdout
    python -m shared.bus revoke HOST         throw a host out
    python -m shared.bus rotate-signing      a new key for deployment tokens, beside the old one
    python -m shared.bus retire-signing      the newest of them alone, once every host has it

COX_SECRETS   the directory with `authority`, `keyring` and `out` (see shared/bus/handout.py)
COX_BUS_NAMES further host names and addresses, with commas, at which hosts reach the server
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from shared.bus.keyring import Keyring
from shared.bus.roles import HOST_ROLES, Identity
from shared.errors import CoxswainError, InputError
from shared.settings import Settings
from shared.subjects import host_token

SERVER_NAMES = ("bus", "localhost", "127.0.0.1", "10.0.2.2")
"""As containers, the machine itself, and the guests (shared.microvm.HOST_FROM_GUEST) know it."""


def main() -> int:
    """Do one of these; errors are one line, not a trace."""
    parser = argparse.ArgumentParser(prog="python -m shared.bus", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    provision = commands.add_parser("provision", help="make the secrets of a fleet")
    provision.add_argument("hosts", nargs="*", metavar="HOST")
    commands.add_parser("serve", help="run the server")
    for name, text in (("bundle", "one more host's secrets"), ("revoke", "throw a host out")):
        commands.add_parser(name, help=text).add_argument("host", metavar="HOST")
    for name, text in (
        ("rotate-signing", "a new key for deployment tokens, beside the old one"),
        ("retire-signing", "the newest of them alone"),
    ):
        commands.add_parser(name, help=text)
    options = parser.parse_args()
    try:
        match options.command:
            case "provision":
                _provision(options.hosts)
            case "serve":
                _serve()
            case "bundle":
                _bundle(options.host)
            case "revoke":
                _revoke(options.host)
            case "rotate-signing" | "retire-signing":
                _rotate(retire=options.command == "retire-signing")
    except CoxswainError as error:
        sys.stderr.write(f"bus: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _secrets() -> Path:
    return Path(os.environ.get("COX_SECRETS", "/secrets"))


def _keyring() -> Keyring:
    return Keyring(_secrets() / "keyring")


def _provision(hosts: list[str]) -> None:
    # The library that makes certificates is in this one image only.
    from shared.bus.authority import Authority  # noqa: PLC0415
    from shared.bus.handout import Handout  # noqa: PLC0415

    more = [name for name in os.environ.get("COX_BUS_NAMES", "").split(",") if name.strip()]
    for host in hosts:
        host_token(host)
    authority = Authority(_secrets() / "authority")
    handout = Handout(_keyring(), authority, _secrets() / "out")
    new = handout.fleet(hosts, [*SERVER_NAMES, *(name.strip() for name in more)])
    said = f"new secrets for {', '.join(new)}" if new else "all secrets are there already"
    sys.stderr.write(f"provision: {said}\n")


def _bundle(host: str) -> None:
    from shared.bus.authority import Authority  # noqa: PLC0415
    from shared.bus.handout import Handout  # noqa: PLC0415

    if sys.stdout.isatty():
        raise InputError(
            "secrets do not belong on a terminal",
            expected="stdout to be a file or a pipe",
            advice=f"bundle {host} > {host}.tar",
        )
    host_token(host)
    buffer = io.BytesIO()
    # Nothing of it stays here: who asks again gets new keys, and the old ones open nothing.
    with tempfile.TemporaryDirectory() as out:
        Handout(_keyring(), Authority(_secrets() / "authority"), Path(out)).host(host)
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for file in sorted((Path(out) / host).iterdir()):
                entry = tarfile.TarInfo(file.name)
                entry.size, entry.mode = file.stat().st_size, 0o600
                entry.mtime = int(file.stat().st_mtime)
                with file.open("rb") as data:
                    archive.addfile(entry, data)
    sys.stdout.buffer.write(buffer.getvalue())


def _revoke(host: str) -> None:
    ring = _keyring()
    for role in HOST_ROLES:
        ring.revoke(Identity(role, host))
    sys.stderr.write(f"{host} is out: its keys open nothing any more\n")


def _rotate(*, retire: bool) -> None:
    from shared.bus.authority import Authority  # noqa: PLC0415
    from shared.bus.handout import Handout  # noqa: PLC0415

    handout = Handout(_keyring(), Authority(_secrets() / "authority"), _secrets() / "out")
    changed = ", ".join(handout.rotate_signing(retire=retire))
    sys.stderr.write(f"new signing keys for {changed}: restart these hosts' executors\n")


def _serve() -> None:
    from shared.bus.serving import serve  # noqa: PLC0415 - not needed by the others

    asyncio.run(serve(Settings.from_environment(), _keyring()))


if __name__ == "__main__":
    sys.exit(main())
