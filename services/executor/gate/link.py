"""Last stage: frame and hooks become one object, and the frame is seen to have stayed itself."""

from __future__ import annotations

from services.executor.gate.compare import STAGE
from services.executor.gate.linker import LinkError, link
from services.executor.gate.reader import ask
from services.executor.gate.stage import Finding, Work, reason


class LinkStage:
    """Links, has the result compared with what went in and the manifest's settings written."""

    name = STAGE

    def __call__(self, work: Work) -> Finding:
        """Leave the finished object in `work.object`."""
        frame = work.workshop.frame()
        try:
            linked = link([frame, work.hooks])
        except LinkError as error:
            return Finding(reasons=[reason(self.name, "failed", str(error))])
        objects = {"frame": frame, "hooks": work.hooks, "linked": linked}
        finding, work.object = ask(self.name, "compare", work.manifest, objects)
        return finding
