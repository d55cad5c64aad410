"""The executor's host role: the one process that may change this host's CPU scheduler."""
