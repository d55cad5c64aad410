"""Third stage: the hooks become an object of their own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from services.executor.gate.clang import HOOK_FLAGS, run_clang
from services.executor.gate.stage import Finding, Work, reason
from shared.policies import HOOKS

if TYPE_CHECKING:
    from shared.messages import Reason

_ERROR: Final = re.compile(r"^(?P<file>[^:\n]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<text>.*)$")


class CompileStage:
    """clang for BPF, without any header but ours and without inline assembly."""

    name = "compile"

    def __call__(self, work: Work) -> Finding:
        """Compile; each of clang's errors is a reason."""
        compiled = run_clang(
            work.workshop.toolchain.clang,
            work.source,
            HOOKS,
            flags=HOOK_FLAGS,
            includes=(work.workshop.include,),
            directory=work.directory,
        )
        if compiled.object is None:
            return Finding(reasons=self._reasons(compiled.diagnostics))
        work.hooks = compiled.object
        warnings = compiled.diagnostics.count(" warning: ")
        return Finding(
            evidence={"hooks_bytes": float(len(work.hooks)), "warnings": float(warnings)}
        )

    def _reasons(self, diagnostics: str) -> list[Reason]:
        errors = [match for match in map(_ERROR.match, diagnostics.splitlines()) if match]
        found = [
            reason(
                self.name,
                "error",
                error["text"] if error["file"] == HOOKS else f"{error['file']}: {error['text']}",
                int(error["line"]) if error["file"] == HOOKS else 0,
            )
            for error in errors
        ]
        return found or [reason(self.name, "failed", diagnostics.strip()[-300:])]
