"""Processes that end when the one that started them ends, however that was."""

from __future__ import annotations


def tied(*command: str) -> list[str]:
    """The command, such that the kernel ends it (SIGTERM) when its parent's thread ends.

    Start it with `start_new_session=True`, so that a terminal's Ctrl-C reaches only the parent,
    which then stops its children in order. It is util-linux's setpriv that becomes the command:
    Python code between fork and exec (`preexec_fn`) can hang where there are threads.
    """
    return ["setpriv", "--pdeathsig", "TERM", "--", *command]
