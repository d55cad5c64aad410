"""The four services: observer, planner, executor, learner. They never import each other."""
