"""Somebody at a browser, and a guard beside them who notes what no page may do."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, Response, expect

from tests.browser.installation import PASSWORD, ROOT, USER

AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
WIDE, PHONE = (1280, 800), (390, 844)
PATIENCE_MS = 15_000
"""How long a page may take for what it says it does; the machine may be busy."""

STILL = "*, *::before, *::after { animation: none !important; transition: none !important; caret-color: transparent !important }"


class Guard:
    """Notes console errors, broken scripts, violations of the policy and requests that leave for another host."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.seen: list[str] = []
        self.refused = 0

    def watch(self, page: Page) -> None:
        """Begin to look at a page."""
        page.on("console", lambda message: self._note(page, message.type, message.text))
        page.on("pageerror", lambda error: self.seen.append(f"{page.url}: script failed: {error}"))
        page.on("request", lambda request: self._request(page, request.url))
        page.on("response", lambda response: self._response(page, response))

    def _note(self, page: Page, kind: str, text: str) -> None:
        if "status of 422" in text and self.refused:
            self.refused -= 1  # a form that was meant to come back; Chromium writes that to the console
        elif kind in {"error", "warning"}:
            self.seen.append(f"{page.url}: console {kind}: {text}")

    def _request(self, page: Page, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != self.host:
            self.seen.append(f"{page.url}: asks {url}")

    def _response(self, page: Page, response: Response) -> None:
        if response.status >= 500:
            self.seen.append(f"{page.url}: {response.status} for {response.url}")


class Visitor:
    """A person with a browser window of their own."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        language: str = "en",
        theme: str = "light",
        size: tuple[int, int] = WIDE,
        sharp: float = 1,
    ) -> None:
        phone = size[0] < 700
        self.context = browser.new_context(
            base_url=url,
            locale={"en": "en-GB", "es": "es-ES"}[language],
            color_scheme="dark" if theme == "dark" else "light",
            viewport={"width": size[0], "height": size[1]},
            device_scale_factor=sharp,
            is_mobile=phone,
            has_touch=phone,
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.guard = Guard(urlsplit(url).netloc)
        self.page = self.context.new_page()
        self.guard.watch(self.page)

    def log_in(self) -> Visitor:
        """Through the real form."""
        self.page.goto("/login/")
        self.page.fill("input[name=username]", USER)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#sidebar")).to_be_attached()
        return self

    def go(self, path: str) -> Page:
        """Open a page and wait until it has settled."""
        answer = self.page.goto(path)
        assert answer is not None and answer.status == 200, f"{path} answers {answer and answer.status}"
        self.page.wait_for_load_state("networkidle")
        return self.page

    def sidebar(self) -> list[str]:
        """The addresses in the sidebar."""
        return list(
            self.page.eval_on_selector_all(
                "#sidebar a[href]", "links => [...new Set(links.map(a => new URL(a.href).pathname))]"
            )
        )

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def barriers(self) -> list[str]:
        """What axe-core finds against WCAG 2.1 A and AA: rule, and the element."""
        self.page.evaluate(AXE.read_text("utf-8"))
        found: list[dict[str, Any]] = self.page.evaluate(
            """async () => (await axe.run(document, {
                 runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], iframes: false,
               })).violations.flatMap(v => v.nodes.map(n => ({rule: v.id, target: n.target.join(" "), why: n.failureSummary})))"""
        )
        return [f"{item['rule']}: {item['target']}: {item['why']}" for item in found]

    def drag(self, what: Locator, to: Locator) -> None:
        """With the mouse, in steps, as a hand does."""
        start, end = what.bounding_box(), to.bounding_box()
        assert start is not None and end is not None
        mouse = self.page.mouse
        mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
        mouse.down()
        mouse.move(start["x"] + start["width"] / 2 + 12, start["y"] + start["height"] / 2 + 8, steps=4)
        mouse.move(end["x"] + end["width"] / 2, end["y"] + min(end["height"] / 2, 60), steps=14)
        mouse.up()

    def picture(self, path: Path) -> None:
        """A screenshot without the caret and without motion."""
        self.page.add_style_tag(content=STILL)
        self.page.evaluate("document.fonts.ready")
        self.page.screenshot(path=path, animations="disabled")

    def leave(self) -> None:
        """Close the window; fails when the guard has noted anything."""
        self.context.close()
        assert not self.guard.seen, "\n".join(self.guard.seen)
