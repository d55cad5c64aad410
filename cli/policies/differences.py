"""`cox policies diff`: what is different between two policies that ship."""

from __future__ import annotations

import difflib

from rich.text import Text

from cli.output import print_json, show
from shared.errors import ManifestError
from shared.policies import HOOKS, MANIFEST, Catalogue, Policy

STYLES = {"+": "green", "-": "red", "@": "cyan"}
"""By a line's first character."""


def diff_policies(first: str, second: str, *, as_json: bool) -> None:
    """Manifest and hooks as unified diffs. Raises InputError for a policy that does not ship."""
    catalogue = Catalogue.load()
    files = {name: _diff(catalogue[first], catalogue[second], name) for name in (MANIFEST, HOOKS)}
    if as_json:
        print_json({"type": "policy_diff", "from": first, "to": second, "files": files})
        return
    lines = [line for diff in files.values() for line in diff.splitlines()]
    if not lines:
        show(Text(f"{first} and {second} are the same."))
    for line in lines:
        style = "bold" if line.startswith(("+++", "---")) else STYLES.get(line[:1], "")
        show(Text(line, style))


def _diff(first: Policy, second: Policy, name: str) -> str:
    lines = difflib.unified_diff(
        _text(first, name).splitlines(keepends=True),
        _text(second, name).splitlines(keepends=True),
        f"{first.name}/{name}",
        f"{second.name}/{name}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _text(policy: Policy, name: str) -> str:
    if name == HOOKS:
        return policy.source
    path = policy.directory / name
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{path} cannot be read", expected="UTF-8 text", got=str(error)
        ) from error
