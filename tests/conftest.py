"""What every test has: the cluster's fixtures, a marker from its folder, and no silent skip in CI."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final, TypeVar

import pytest

asyncio.set_event_loop(None)  # else pytest-asyncio makes a loop at its first test that nobody closes

pytest_plugins = ["tests.cluster.pytest_plugin", "pytester"]

HERE: Final = Path(__file__).parent
IN_CI: Final = os.environ.get("CI", "").lower() == "true"

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder: `pytest -m adapters`."""
    for item in items:
        item.add_marker(item.path.relative_to(HERE).parts[0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that skips itself fails."""
    return _never_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a file that skips itself fails."""
    return _never_skipped((yield))


def _never_skipped(report: Report) -> Report:
    """The report, as a failure with the reason of the skip where CI=true. An expected failure (xfail) is none."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, and with CI=true everything must run: {reason}"
    return report
