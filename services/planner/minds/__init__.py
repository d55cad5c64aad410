"""The minds that plan. Each answers a Question with a Plan; both give the same evidence.

embedded   recall, rules from the profile, a small search over parameters; needs nothing
"""

from services.planner.minds.question import Mind, Question

__all__ = ["Mind", "Question"]
