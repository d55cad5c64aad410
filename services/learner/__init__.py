"""Learner: judges trials, remembers outcomes."""
