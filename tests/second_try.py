"""Where COX_SECOND_TRY is set (.ci/run), who fails is tried once more, and both are told.

A guest that is emulated can be lost to its emulator (`_STALE_CODE` in shared/microvm/guest.py):
three times so far, in thousands of boots and loads. So the second try has everything new, guests
and servers too. It hides nothing: the first failure is printed whole, under a heading of its own,
and is a bug to be looked for. `make test` on a developer's machine has no second try.
"""

from __future__ import annotations

import os
import time

import pytest
from _pytest.runner import runtestprotocol

TOO_LONG_S = 300.0
"""Who took longer is not tried again: pytest-timeout counts both tries as one."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not os.environ.get("COX_SECOND_TRY"):
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    begun_s = time.monotonic()
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    failed = any(report.failed for report in reports)
    if failed and time.monotonic() - begun_s < TOO_LONG_S:
        for report in reports:
            if report.failed:
                report.outcome = "tried again"  # type: ignore[assignment]
                hook.pytest_runtest_logreport(report=report)
        item.session._setupstate.teardown_exact(None)  # of every scope
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    if report.outcome == "tried again":
        return "tried again", "R", "TRIED AGAIN"
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    first = terminalreporter.stats.get("tried again", [])
    if first:
        terminalreporter.section(f"{len(first)} failed at first, and were tried again")
    for report in first:
        terminalreporter.write_line(f"{report.nodeid} ({report.when})")
        terminalreporter.write_line(report.longreprtext)
