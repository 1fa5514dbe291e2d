"""Every page of the sidebar and every form: quiet, within its window, and open to everybody."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.visitor import AXE, PHONE, WIDE, Visitor

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

FORMS = (
    "/admin/leads/add",
    "/admin/flows/add",
    "/admin/channels/add",
    "/admin/channels/add?provider=twilio",
    "/admin/channels/add?provider=meta",
    "/admin/email-templates/add",
    "/admin/stages/add",
    "/admin/webhooks/add",
    "/admin/api-keys/new",
    "/users/add",
    "/roles/add",
    "/profile/",
    "/password/",
)


@pytest.mark.parametrize(("language", "theme"), [("en", "light"), ("es", "dark")])
def test_every_page_is_quiet_and_has_no_barrier(
    visit: Callable[..., Visitor], language: str, theme: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make frontend-check")
    visitor = visit(language=language, theme=theme)
    barriers = {}
    for path in [*visitor.sidebar(), *FORMS, *details(visitor)]:
        visitor.go(path)
        assert visitor.overflow() <= 0, path
        if found := visitor.barriers():
            barriers[path] = found
    assert barriers == {}


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_filter_opens_within_the_window(visit: Callable[..., Visitor], size: tuple[int, int]) -> None:
    visitor = visit(size=size)
    seen = []
    for path in visitor.sidebar():
        filters = visitor.go(path).locator(".filter-menu > summary")
        if filters.count():
            filters.click()
            outside = visitor.page.eval_on_selector_all(
                ".filter-panel, .filter-panel .form-control",
                """all => all.map(one => [one, one.closest(".filter-panel")].map(it => it.getBoundingClientRect()))
                  .filter(([one, panel]) => one.left < 0 || one.right > innerWidth || one.right > panel.right).length""",
            )
            assert outside == 0, path
            seen.append(path)
    assert len(seen) > 3


def details(visitor: Visitor) -> list[str]:
    """The first record of each list that has one."""
    found = []
    for path in visitor.sidebar():
        page = visitor.go(path)
        link = page.locator("main tbody tr a[href]").first
        if link.count():
            found.append(str(link.get_attribute("href")))
    return found
