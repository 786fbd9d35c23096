"""What holds for all tests."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

_SKIPS_ARE_FAILURES = os.environ.get("CI") == "true"

if os.environ.get("REPLICATOR_TEST_INSTALLED"):
    # The folder of the repository is on the path for tests.support. Behind site-packages, it does not hide the
    # installed wheel: what is tested is what users get.
    _root = str(Path(__file__).parent.parent)
    sys.path = [*(entry for entry in sys.path if entry != _root), _root]

# A shell that runs us in the background, or nohup, has these ignored, and so would all programs under test.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    signal.signal(_number, _handler)

# Tests judge behaviour; how fast a busy machine is, is not part of it.
settings.register_profile("replicator", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("replicator")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip a failure: what a test needs is installed, so a skip would hide that it is not."""
    if _SKIPS_ARE_FAILURES and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
