"""The guard: gives a host back to the kernel's default when the executor no longer can.

A process of its own, real-time and locked into memory, so that no policy and no shortage can stop
it. It uses the standard library alone and needs neither bus nor planner nor learner. docs/guard.md.
"""
