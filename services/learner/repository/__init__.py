"""The policy repository: every policy and version, what was built of it, what came of it where."""

from services.learner.repository.answers import history, policies, policy
from services.learner.repository.find import Finder
from services.learner.repository.fold import Repository

__all__ = ["Finder", "Repository", "history", "policies", "policy"]
