"""Reading objects, run by cell.py behind its walls: QUESTION ANSWER, both files (reader.py)."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CODECS = ("ascii", "latin-1", "utf-8", "unicode_escape")
"""Python reads a codec's file when it is first needed: behind the walls it is too late."""


def prepare() -> Callable[[list[str]], int]:
    """What reads, with all that it imports."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    import msgspec  # noqa: PLC0415 - found by the line above

    from services.executor.gate.compare import compare  # noqa: PLC0415
    from services.executor.gate.proof import prove  # noqa: PLC0415
    from services.executor.gate.reader import Answer, Question  # noqa: PLC0415

    for name in CODECS:
        codecs.lookup(name)

    def read(command: list[str]) -> int:
        question_at, answer_at = command
        question = msgspec.msgpack.decode(Path(question_at).read_bytes(), type=Question)
        made = b""
        if question.verb == "prove":
            finding = prove(question.objects["hooks"], question.manifest)
        else:
            finding, made = compare(question.manifest, **question.objects)
        answer = Answer(reasons=finding.reasons, evidence=finding.evidence, object=made)
        Path(answer_at).write_bytes(msgspec.msgpack.encode(answer))
        return 0

    return read
