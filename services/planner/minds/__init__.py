"""The minds that plan. Each answers a Question with a Plan, and none is trusted.

chosen     which of them are asked, by what the environment says
llm        a language model that has tools, through the Messages API; needs a key
recall     what won here before is confirmed, whoever is asked; nobody thinks twice
embedded   recall, rules from the profile, a small search over parameters; needs nothing
walls      asking any of them: for so long, so often, and what of an answer may be carried out
"""

from services.planner.minds.question import Mind, Question

__all__ = ["Mind", "Question"]
