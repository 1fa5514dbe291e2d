"""Says what a run left out and why, and turns leaving out into failing where everything must run.

``make test`` runs what a bare machine can. EMBUDO_TEST_ALL=1 (the pipeline) refuses every skip.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

PARTS = {
    "postgresql": ("EMBUDO_TEST_DATABASE", "the tests that need PostgreSQL"),
    "rabbitmq": ("EMBUDO_TEST_BROKER", "the tests that need RabbitMQ"),
    "gateway": ("EMBUDO_TEST_GATEWAY", "the tests that need NGINX"),
    "prometheus": ("EMBUDO_TEST_PROMETHEUS", "the tests that need Prometheus and Alertmanager"),
    "kubernetes": ("EMBUDO_TEST_KUBERNETES", "the tests that need kubectl"),
    "browser": ("EMBUDO_TEST_BROWSER", "the tests in a real browser (make browser)"),
}
"""Marker → the variable that switches its tests on, and what they are."""


def everything() -> bool:
    """Whether nothing may be left out."""
    return bool(os.environ.get("EMBUDO_TEST_ALL"))


def _wanted(config: pytest.Config, marker: str) -> bool:
    if everything() or os.environ.get(PARTS[marker][0]):
        return True
    return marker == "postgresql" and config.getoption("--database", default=None) == "postgresql"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for marker, (variable, _what) in PARTS.items():
            if item.get_closest_marker(marker) and not _wanted(config, marker):
                item.add_marker(pytest.mark.skip(reason=f"set {variable} to run it"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and everything() and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} may not be left out here (EMBUDO_TEST_ALL): {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left = [
        f"{what} (set {variable})"
        for marker, (variable, what) in PARTS.items()
        if not _wanted(config, marker)
    ]
    if (
        not os.environ.get("EMBUDO_TEST_DATABASE")
        and config.getoption("--database", default=None) != "postgresql"
    ):
        left.insert(
            0, "all of these on PostgreSQL (EMBUDO_TEST_DATABASE=postgresql+psycopg://user@host/postgres)"
        )
    if left:
        terminalreporter.section("left out")
        for line in left:
            terminalreporter.line(f"- {line}")
        terminalreporter.line(".ci/run installs and starts what is needed and runs all of it")
