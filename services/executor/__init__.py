"""Executor: the only privileged service; builds policies (gate) and loads them (host)."""
