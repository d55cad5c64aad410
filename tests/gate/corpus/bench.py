"""The gate on one file of the corpus: what stopped it, and what went wrong if nothing did."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from services.executor.gate import Workshop
from services.executor.gate.pipeline import OBJECT_STAGES, STAGES, judge
from services.executor.gate.stage import Verdict, Work
from shared.policies import DEFAULT_CATALOGUE, Manifest, load_policy
from tests.gate.corpus import Case, Stop
from tests.gate.corpus.change import changed

_CANARY = "@CANARY@"


class Outcome(NamedTuple):
    """What came of a case."""

    case: Case
    stopped_by: list[str]
    """`stage: rule`, for each stage that was asked to stop it."""
    problem: str = ""
    """Why this is not what was expected; empty if it is."""


class Bench:
    """A gate, a secret in a file, and objects made without a gate."""

    def __init__(self, directory: Path) -> None:
        self.workshop = Workshop(cache=directory / "cache")
        self.secret = f"secret {secrets.token_hex(16)}"
        self._canary = directory / "canary"
        self._canary.write_text(self.secret + "\n")

    def try_hostile(self, case: Case) -> Outcome:
        """Each stage that the case names stops it, for a reason it names, and tells no secret."""
        stopped: list[str] = []
        without: set[str] = set()
        for stop in case.stops:
            work, verdicts = self._judged(case, without)
            problem = self._problem(stop, verdicts) or self._told(work, verdicts)
            if problem:
                return Outcome(case, stopped, problem)
            rules = {reason.rule for reason in verdicts[-1].reasons} & stop.rules
            stopped.append(f"{stop.stage}: {min(rules)}")
            without.add(stop.stage)
        return Outcome(case, stopped, "" if stopped else "the file says no stage")

    def try_benign(self, case: Case) -> Outcome:
        """All stages let it pass."""
        work, verdicts = self._judged(case, set())
        last = verdicts[-1]
        if last.passed:
            return Outcome(case, [], "" if work.object else "nothing was built")
        reasons = "; ".join(f"{each.line}: {each.rule}: {each.text}" for each in last.reasons)
        return Outcome(case, [last.stage], f"stopped by {last.stage}: {reasons}")

    def _judged(self, case: Case, without: set[str]) -> tuple[Work, list[Verdict]]:
        work = Work(
            manifest=_manifest(case),
            source=case.text.replace(_CANARY, str(self._canary)),
            workshop=self.workshop,
        )
        if case.as_object:
            work.hooks = self._object(case)
        stages = [
            stage
            for stage in STAGES
            if stage.name not in without and (not case.as_object or stage.name in OBJECT_STAGES)
        ]
        return work, judge(work, stages)

    def _problem(self, stop: Stop, verdicts: list[Verdict]) -> str:
        last = verdicts[-1]
        if last.passed:
            return f"PASSED; should be stopped by {stop.stage}"
        rules = {reason.rule for reason in last.reasons}
        if last.stage != stop.stage or not rules & stop.rules:
            texts = "; ".join(f"{each.rule}: {each.text}" for each in last.reasons)
            return f"stopped by {last.stage} ({texts}) instead of {stop.stage} {set(stop.rules)}"
        return ""

    def _told(self, work: Work, verdicts: list[Verdict]) -> str:
        """Where the secret turned up; "" if it did not."""
        said = repr(verdicts).encode()
        for place, data in (("reasons", said), ("object", work.hooks), ("policy", work.object)):
            if self.secret.encode() in data or self.secret.removeprefix("secret ").encode() in data:
                return f"the secret is in the {place}"
        return ""

    def _object(self, case: Case) -> bytes:
        return changed(self._fifo, case.changes) if case.changes else self._compiled(case.text)

    @cached_property
    def _fifo(self) -> bytes:
        return self._compiled(load_policy(DEFAULT_CATALOGUE / "fifo").source)

    def _compiled(self, text: str) -> bytes:
        """An object by a compiler that is denied nothing."""
        clang, include = self.workshop.toolchain.clang, self.workshop.include
        with tempfile.TemporaryDirectory() as directory:
            source, output = Path(directory) / "own.c", Path(directory) / "own.o"
            source.write_text(text, encoding="utf-8")
            command = [clang, "-target", "bpf", "-mcpu=v4", "-O2", "-g", f"-I{include}", "-w"]
            subprocess.run([*command, "-c", source, "-o", output], check=True)
            return output.read_bytes()


def _manifest(case: Case) -> Manifest:
    """The shipped policy's own, fifo's for changes to its object, else one without parameters."""
    if case.changes:
        return load_policy(DEFAULT_CATALOGUE / "fifo").manifest
    if case.path.is_relative_to(DEFAULT_CATALOGUE):
        return load_policy(case.path.parent).manifest
    return Manifest(name="tried", version="0.0.1", summary="For a test.", good_for=[])
