from __future__ import annotations

from tests.planner.conftest import minds

__all__ = ["minds"]
