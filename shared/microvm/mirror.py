"""Which Debian mirror to build from: the one this machine already uses."""

from __future__ import annotations

import os
import re
import subprocess

from shared.errors import MachineError

_FORMAT = "$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
_DEBIAN_SUITES = frozenset(
    [
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "sid",
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    ]
)
_PASSED_ON = re.compile(r"^Acquire::(?:http|https|ftp)(?:::\S*)? \"..*\";$|^Acquire::Retries ")


def debian_mirror(targets: str | None = None) -> str:
    """The base address of a Debian mirror, no slash at its end.

    `COX_DEBIAN_MIRROR` wins; else the first source of apt's own configuration (one-line and
    deb822 alike: `apt-get indextargets` reads both) that carries a Debian suite's main
    component. `targets` stands in for apt's answer. Raises MachineError.
    """
    named = os.environ.get("COX_DEBIAN_MIRROR")
    if named:
        return named.rstrip("/")
    text = _apt_targets() if targets is None else targets
    for line in text.splitlines():
        suite, component, uri = line.split("|", 2)
        if suite in _DEBIAN_SUITES and component == "main" and "://" in uri:
            return uri.rstrip("/")
    found = sorted({line.split("|")[0] for line in text.splitlines()})
    raise MachineError(
        "No Debian mirror in this machine's apt configuration",
        expected="a source with a Debian suite and the component main",
        got=", ".join(found) or "no apt source at all",
        advice="Set COX_DEBIAN_MIRROR to the address of a Debian mirror (the part before /dists/).",
    )


def apt_options() -> list[str]:
    """This machine's own proxy, certificate and retry settings, as apt.conf lines."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if _PASSED_ON.match(line)]


def _apt_targets() -> str:
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", _FORMAT, "Identifier: Packages"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise MachineError(
            "apt's sources cannot be read",
            expected="apt-get indextargets to list them",
            got=str(error),
            advice="Use a Debian or Ubuntu machine, or set COX_DEBIAN_MIRROR.",
        ) from error
    return done.stdout
