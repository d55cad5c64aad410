"""Sources and objects that try the gate: hostile ones, which it must stop, and odd but legal ones.

A hostile `.c` says in its first comment which case of the threat model it is (docs/gate.md), what
it tries, and what stops it, as `stage(rule)`. Where it names several stages, each stops it even
if those before were not there. `as: object` means that it is compiled with everything a compiler
can do, and that the gate sees the object alone. A hostile `.toml` is a change to the object that
the gate makes of the policy `fifo`. `@CANARY@` becomes the path of a file with a secret in it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from shared.policies import DEFAULT_CATALOGUE, HOOKS

_HERE = Path(__file__).resolve().parent
_FIELD = re.compile(r"^ \* +(case|stops|as)[ :]+(.*)$", re.MULTILINE)
_STOP = re.compile(r"(\w+)\(([\w|-]+)\)")


class Stop(NamedTuple):
    """A stage, and the rules of which it must name one."""

    stage: str
    rules: frozenset[str]


class Case(NamedTuple):
    """One file of the corpus; a benign one has no stops."""

    path: Path
    text: str
    stops: list[Stop]
    as_object: bool = False
    changes: Mapping[str, Any] = MappingProxyType({})

    @property
    def name(self) -> str:
        """Short enough for a line: `22-embed`, or a policy's name."""
        return self.path.parent.name if self.path.name == HOOKS else self.path.stem


def hostile() -> list[Case]:
    """All that must be stopped, by the threat model's numbers."""
    return [_hostile(path) for path in sorted((_HERE / "hostile").iterdir())]


def benign() -> list[Case]:
    """All that must pass: the corpus' own and every policy that is shipped."""
    own = sorted((_HERE / "benign").glob("*.c"))
    shipped = sorted(DEFAULT_CATALOGUE.glob(f"*/{HOOKS}"))
    return [Case(path, path.read_text(encoding="utf-8"), []) for path in (*own, *shipped)]


def _hostile(path: Path) -> Case:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        changes = tomllib.loads(text)
        return Case(path, "", _stops(changes["stops"]), as_object=True, changes=changes)
    fields = dict(_FIELD.findall(text.partition("*/")[0]))
    return Case(path, text, _stops(fields["stops"]), as_object=fields.get("as") == "object")


def _stops(text: str) -> list[Stop]:
    return [Stop(stage, frozenset(rules.split("|"))) for stage, rules in _STOP.findall(text)]
