"""A browser, an installation to look at, and visitors. Needs Chromium and the built front end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.installation import ROOT, Installation
from tests.browser.visitor import PATIENCE_MS, Visitor

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",  # containers have no user namespaces
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--metrics-recording-only",
    "--disable-domain-reliability",
    "--disable-features=OptimizationHints,MediaRouter,DialMediaRouteProvider,Translate",
    "--font-render-hinting=none",
)
"""Chromium speaks to nobody of its own accord."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium as the machine has it."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"there is no Chromium ({', '.join(PROGRAMS)}); Debian: apt install chromium")
    if not (ROOT / "app/admin/static/build/.vite/manifest.json").exists():
        pytest.skip("the front end is not built: make build")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="session")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The installation, started once; asked for after the browser, because without one it is of no use."""
    made = Installation(tmp_path_factory.mktemp("site"))
    try:
        yield made.ready()
    finally:
        made.stop()


@pytest.fixture
def visit(browser: Browser, site: Installation) -> Iterator[Callable[..., Visitor]]:
    """Let somebody in: ``visit(language="es", theme="dark", size=PHONE)``; checks at the end what the guard saw."""
    visitors: list[Visitor] = []

    def make(**options: Any) -> Visitor:
        visitors.append(Visitor(browser, site.url, **options).log_in())
        return visitors[-1]

    yield make
    for visitor in visitors:
        visitor.leave()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: into the documentation when asked for (make browser), else away."""
    if os.environ.get("EMBUDO_SCREENSHOTS"):
        folder = ROOT / "docs" / "screenshots"
        folder.mkdir(exist_ok=True)
        return folder
    return tmp_path_factory.mktemp("screenshots")
