"""How a workload behaves: sampled from /proc without privileges, named, and said in words.

procfs      parses the kernel's text
sampler     reads it, at a bounded cost
tasks       follows each task from reading to reading
features    turns samples into numbers with units
classifier  turns numbers into a class and a confidence
summary     turns both into a paragraph
session     does all of that while something runs
pace        keeps its cost small
changepoints  finds where a series changes
phases      finds stretches that are alike, and those that come back
phased      gives them features and a class
"""

from services.observer.profile.session import profile_host, profile_workload

__all__ = ["profile_host", "profile_workload"]
