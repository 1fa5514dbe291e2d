"""Opens every island as built, under the product's CSP, and uses it as a person would; leaves pictures to look at.

`npm run build && npm run preview -- --port 41733`, then `python frontend/dev/smoke.py http://127.0.0.1:41733 /tmp/pictures`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

WIDE = {"width": 1440, "height": 860}
PHONE = {"width": 390, "height": 800}


class Smoke:
    """One browser against one address; every console error or failed request is remembered as a fault."""

    def __init__(self, browser: Browser, base: str, pictures: Path) -> None:
        self.browser, self.base, self.pictures = browser, base, pictures
        self.faults: list[str] = []

    @contextmanager
    def page(self, path: str, size: dict[str, int] = WIDE, touch: bool = False) -> Iterator[Page]:
        context = self.browser.new_context(viewport=size, has_touch=touch, is_mobile=touch)
        page = context.new_page()
        page.on("console", lambda message: self.faults.append(f"{path}: {message.text}") if message.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(f"{path}: {error}"))
        page.on("request", lambda request: self.outside(path, request.url))
        page.request.get(f"{self.base}/mock/reset")
        if "theme=dark" in path:
            page.add_init_script("localStorage.setItem('embudo-theme', 'dark')")
        page.goto(f"{self.base}/dev/{path}")
        yield page
        context.close()

    def outside(self, path: str, url: str) -> None:
        if not url.startswith((self.base, "data:")):
            self.faults.append(f"{path}: request to {url}")

    def picture(self, page: Page, name: str) -> None:
        page.wait_for_timeout(450)
        page.screenshot(path=self.pictures / f"{name}.png")

    def designer(self) -> None:
        with self.page("designer?locale=es") as page:
            expect(page.locator(".fd-node")).to_have_count(9)
            self.picture(page, "designer-wide")
            page.locator('.react-flow__node[data-id="interest"]').click()
            expect(page.locator(".fd-side")).to_contain_text("Opciones")
            self.picture(page, "designer-choices")
            page.locator(".fd-side textarea").first.fill("¿Qué buscas hoy?")
            expect(page.locator('.react-flow__node[data-id="interest"]')).to_contain_text("¿Qué buscas hoy?")
            expect(page.locator(".fd-save")).to_have_text("Guardado")
            page.locator('[data-add="send_text"]').click()
            expect(page.locator(".fd-node")).to_have_count(10)
            expect(page.locator(".fd-count")).to_contain_text("1")
            expect(page.get_by_role("button", name="Publicar")).to_be_disabled()
            page.locator(".fd-count").click()
            self.picture(page, "designer-problems")
            page.locator(".fd-problems button").first.click()
            page.locator(".fd-side textarea").first.fill("Uno más")
            expect(page.get_by_role("button", name="Publicar")).to_be_enabled()
            page.get_by_role("button", name="Publicar").click()
            self.picture(page, "designer-publish")
            page.locator("dialog").get_by_role("button", name="Publicar").click()
            expect(page.locator(".fd-pill").first).to_contain_text("v2")
            page.locator(".react-flow__pane").click(position={"x": 400, "y": 560})
            page.locator('.react-flow__node[data-id="human"]').click()
            page.keyboard.press("Delete")
            expect(page.locator(".fd-node")).to_have_count(9)
            page.keyboard.press("Control+z")
            expect(page.locator(".fd-node")).to_have_count(10)
            page.keyboard.press("Control+Shift+z")
            expect(page.locator(".fd-node")).to_have_count(9)
            page.get_by_role("button", name="Versiones").click()
            page.get_by_role("button", name="Ver la versión 1").click()
            expect(page.locator(".fd-band")).to_contain_text("versión 1")
            self.picture(page, "designer-version")
            page.locator(".fd-band").get_by_role("button", name="Restaurar en el borrador").click()
            page.locator("dialog").get_by_role("button", name="Restaurar en el borrador").click()
            expect(page.locator('.react-flow__node[data-id="human"]')).to_have_count(1)

    def dragging(self) -> None:
        with self.page("designer?flow=new&locale=en") as page:
            self.picture(page, "designer-empty")
            page.get_by_role("button", name="Start with a question").click()
            expect(page.locator(".fd-start")).to_be_visible()
            page.drag_and_drop('[data-add="end"]', ".react-flow__pane", target_position={"x": 830, "y": 520})
            expect(page.locator(".fd-node")).to_have_count(2)
            page.wait_for_timeout(700)  # the canvas moves the new step into view
            source = page.locator('.react-flow__node[data-id="ask_1"] .fd-handle--out').first.bounding_box()
            target = page.locator('.react-flow__node[data-id="end_1"] .fd-handle--in').bounding_box()
            assert source and target
            page.mouse.move(source["x"] + 6, source["y"] + 6)
            page.mouse.down()
            page.mouse.move(target["x"] - 40, target["y"], steps=8)
            page.mouse.move(target["x"] + 6, target["y"] + 6, steps=4)
            page.mouse.up()
            expect(page.locator(".react-flow__edge")).to_have_count(1)
            second = page.locator('.react-flow__node[data-id="ask_1"] .fd-handle--out').nth(1).bounding_box()
            assert second
            page.mouse.move(second["x"] + 6, second["y"] + 6)
            page.mouse.down()
            page.mouse.move(second["x"] + 60, second["y"] + 220, steps=8)
            page.mouse.up()
            expect(page.get_by_role("menu")).to_be_visible()
            self.picture(page, "designer-menu")
            page.get_by_role("menuitem", name="Hand over").click()
            expect(page.locator(".react-flow__edge")).to_have_count(2)
            page.wait_for_timeout(700)
            before = page.locator('.react-flow__node[data-id="end_1"]').bounding_box()
            assert before
            page.mouse.move(before["x"] + 60, before["y"] + 20)
            page.mouse.down()
            page.mouse.move(before["x"] + 160, before["y"] - 60, steps=8)
            page.mouse.up()
            after = page.locator('.react-flow__node[data-id="end_1"]').bounding_box()
            assert after and after["x"] > before["x"] + 60
            page.get_by_role("button", name="Tidy up").click()
            page.get_by_role("button", name="JSON").click()
            self.picture(page, "designer-json")
            page.locator(".fd-json textarea").fill('{"nodes": 5}')
            page.get_by_role("button", name="Apply").click()
            expect(page.locator(".fd-problem")).to_contain_text("must be a list")

    def conflict(self) -> None:
        with self.page("designer?locale=en") as page:
            expect(page.locator(".fd-node")).to_have_count(9)
            page.request.put(f"{self.base}/flows/demo", headers={"X-CSRFToken": "x", "If-Match": '"1"'}, data={"name": "Other", "document": {}})
            self.faults.clear()
            page.get_by_label("Name of the flow").fill("Mine")
            expect(page.locator(".fd-band")).to_contain_text("Conflict")
            self.picture(page, "designer-conflict")
            page.locator(".fd-band").get_by_role("button", name="Keep mine").click()
            page.locator("dialog").get_by_role("button", name="Keep mine").click()
            expect(page.locator(".fd-save")).to_have_text("Saved")
            self.faults = [fault for fault in self.faults if "412" not in fault]

    def try_it(self) -> None:
        with self.page("designer?locale=es&theme=dark") as page:
            page.get_by_role("button", name="Probar").click()
            page.locator(".ch-choices").get_by_role("button", name="Catálogo").click()
            expect(page.locator(".ch-log")).to_contain_text("¿Cómo te llamas?")
            page.get_by_label("Escribe un mensaje").fill("Ana")
            page.keyboard.press("Enter")
            expect(page.locator(".ch-log")).to_contain_text("correo")
            expect(page.locator(".fd-node.is-current")).to_contain_text("email")
            page.get_by_label("Escribe un mensaje").fill("ana@example.com")
            page.keyboard.press("Enter")
            expect(page.locator(".ch-note--lead")).to_contain_text("ana@example.com")
            self.picture(page, "designer-try-dark")

    def phone(self) -> None:
        with self.page("designer?locale=es", PHONE, touch=True) as page:
            expect(page.locator(".fd-node")).to_have_count(9)
            self.picture(page, "designer-phone")
            page.locator('.react-flow__node[data-id="greet"]').tap()
            self.picture(page, "designer-phone-sheet")
            page.get_by_role("button", name="Cerrar").click()
            page.get_by_role("button", name="Añadir un paso").tap()
            self.picture(page, "designer-phone-palette")
            page.locator('.fd-sheet-palette [data-add="end"]').tap()
            page.get_by_role("button", name="Cerrar").click()
            page.get_by_role("button", name="Probar").tap()
            expect(page.locator(".ch-bubble").first).to_be_visible()
            self.picture(page, "designer-phone-try")

    def chat(self) -> None:
        for name, size in (("wide", WIDE), ("phone", PHONE)):
            with self.page(f"chat?locale={'es' if name == 'wide' else 'en'}&theme={'light' if name == 'wide' else 'dark'}", size) as page:
                box = page.locator(".ch-form textarea")
                expect(box).to_be_enabled()
                box.fill("Hola *buenas* https://example.com/?a=1")
                page.keyboard.press("Enter")
                expect(page.locator(".ch-choices button").first).to_be_visible()
                page.locator(".ch-choices button").first.click()
                expect(page.locator(".ch-bubble--me")).to_have_count(2)
                expect(page.locator(".ch-log")).to_contain_text("¿Cómo te llamas?")
                self.picture(page, f"chat-{name}")

    def board(self) -> None:
        with self.page("board?locale=es") as page:
            card = page.locator("[data-board-card]").first
            card.focus()
            page.keyboard.press("Alt+ArrowRight")
            expect(page.locator('[data-board-column="contacted"] [data-board-card]')).to_have_count(3)
            expect(page.locator('[data-board-column="contacted"] [data-board-count]')).to_have_text("3")
            page.drag_and_drop('[data-name="Ana 22"]', '[data-board-column="new"] [data-board-cards]')
            expect(page.locator('[data-board-column="new"] [data-name="Ana 22"]')).to_be_visible()
            page.drag_and_drop('[data-name="Ana 21"]', '[data-board-column="contacted"] [data-board-cards]')
            expect(page.locator(".em-toast")).to_contain_text("importe")
            expect(page.locator('[data-board-column="won"] [data-name="Ana 21"]')).to_be_visible()
            self.picture(page, "board")
            self.faults = [fault for fault in self.faults if "409" not in fault]

    def charts(self) -> None:
        with self.page("charts?theme=dark") as page:
            page.wait_for_timeout(500)
            self.picture(page, "charts-dark")


def main(base: str, pictures: Path) -> int:
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        smoke = Smoke(browser, base, pictures)
        for part in (smoke.designer, smoke.dragging, smoke.conflict, smoke.try_it, smoke.phone, smoke.chat, smoke.board, smoke.charts):
            if len(sys.argv) > 3 and part.__name__ not in sys.argv[3:]:
                continue
            part()
            print("ok", part.__name__)
        browser.close()
    print("\n".join(smoke.faults) or "no console error, no request to elsewhere")
    return 1 if smoke.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
