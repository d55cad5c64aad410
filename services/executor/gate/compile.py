"""Third stage: the hooks become an object of their own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from services.executor.gate.clang import HOOK_FLAGS, run_clang
from services.executor.gate.directives import INCLUDES
from services.executor.gate.stage import Finding, Work, reason
from shared.policies import HOOKS

if TYPE_CHECKING:
    from shared.messages import Reason

_ERROR: Final = re.compile(
    r"^(?:(?P<file>[^:\n]+):(?P<line>\d+):\d+: )?(?:fatal )?error: (?P<text>.*)$"
)


class CompileStage:
    """clang for BPF in a jail, without any header but ours and without inline assembly."""

    name = "compile"

    def __call__(self, work: Work) -> Finding:
        """Compile; each of clang's errors is a reason."""
        compiled = run_clang(
            work.workshop.jail,
            work.source,
            HOOKS,
            flags=HOOK_FLAGS,
            includes=(work.workshop.include,),
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
        found = [self._reason(error) for error in errors]
        # Without an error of its own the compiler has crashed or was ended; what it printed then
        # is about itself and the machine. The last line is ours and says which.
        last = diagnostics.rstrip().rpartition("\n")[2]
        return found or [reason(self.name, "failed", f"{last}: write it in a simpler way")]

    def _reason(self, error: re.Match[str]) -> Reason:
        if error["file"] in {None, HOOKS}:
            return reason(self.name, "error", error["text"], int(error["line"] or 0))
        if error["file"].endswith(INCLUDES):
            return reason(self.name, "error", f"{error['file']}: {error['text']}")
        # What the compiler says about any other file quotes from it.
        return reason(self.name, "error", "another file than the hooks and their header was read")
