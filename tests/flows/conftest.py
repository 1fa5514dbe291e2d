"""Golden conversations: ``--golden`` writes what the engine says now; the diff is the review."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="rewrite the outcomes of the golden conversations")
