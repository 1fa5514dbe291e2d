"""A newcomer's first day in a real browser: draw, publish, talk, and find what came of it. Makes the pictures of the README."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visitor import PHONE, Visitor
from tests.ops.waiting import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

ROOMY = (1440, 900)
"""What the pictures of wide pages are taken at."""

Visit = Callable[..., Visitor]


def open_flow(visitor: Visitor, name: str) -> Page:
    """The designer with a flow of the demo on its canvas."""
    page = visitor.go("/admin/flows/list/")
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator(".fd-node").first).to_be_visible()
    return page


def say(page: Page, text: str) -> None:
    """Type into the phone and send."""
    box = page.locator(".ch-form textarea")
    expect(box).to_be_enabled()
    box.fill(text)
    box.press("Enter")


def hear(page: Page, text: str) -> None:
    """Wait for the bot's newest words."""
    expect(page.locator(".ch-bubble--bot").last).to_contain_text(text)


def test_a_flow_is_mended_in_the_designer_and_published(visit: Visit, pictures: Path) -> None:
    visitor = visit(size=ROOMY)
    page = open_flow(visitor, "Welcome")
    nodes = page.locator(".fd-node")
    before = nodes.count()

    # A step added by a click stands after the selected one, and between it and the next.
    page.locator(".fd-node", has_text="greet").first.click()
    page.locator("[data-add=send_text]").first.click()
    expect(nodes).to_have_count(before + 1)
    broken = page.locator(".fd-node.is-selected")
    expect(broken).to_contain_text("Send message")

    # It says nothing yet: the server's judgement stands on it, and nothing can be published.
    expect(page.locator(".fd-node.is-error")).to_have_count(1)
    publish = page.locator("button", has_text="Publish").first
    expect(publish).to_be_disabled()
    page.locator(".fd-count").click()
    expect(page.locator(".fd-side")).to_contain_text("text is empty")
    page.locator(".fd-count").click()

    broken.click()
    page.get_by_role("textbox", name="Message").fill("We sell tiles by the metre.")
    expect(page.locator(".fd-node.is-error")).to_have_count(0)

    # A second one stands alone until a line is drawn to it.
    page.locator(".react-flow__pane").click(position={"x": 320, "y": 40})
    page.locator("[data-add=end]").first.click()
    expect(nodes).to_have_count(before + 2)
    page.get_by_role("button", name="Show everything").click()
    lonely = page.locator(".fd-node.is-selected")
    name = lonely.locator(".fd-node-id").inner_text()
    expect(page.locator(".fd-node.is-warning")).to_contain_text(name)
    lines = page.locator(".react-flow__edge")
    drawn = lines.count()
    free = page.locator(".fd-node", has_text="ask_interest").locator(".fd-exit", has_text="Talk to a person")
    visitor.drag(free.locator(".fd-handle--out"), lonely.locator(".fd-handle--in"))
    expect(lines).to_have_count(drawn + 1)
    expect(page.locator(".fd-node.is-warning")).to_have_count(0)
    expect(page.locator(".fd-save")).to_contain_text("Saved")

    expect(publish).to_be_enabled()
    publish.click()
    page.get_by_role("dialog").get_by_role("button", name="Publish").click()
    expect(page.locator(".em-toast")).to_contain_text("Version 2 is live")
    page.keyboard.press("Escape")

    # What was published is what is there after a reload.
    page.reload()
    expect(nodes).to_have_count(before + 2)
    expect(page.locator(".fd-pill")).to_have_text("Published v2")

    # The draft talks beside the canvas, where the step it stands on is marked and in sight.
    page.get_by_role("button", name="Try it").click()
    hear(page, "What is your name?")
    expect(page.locator(".fd-node.is-current")).to_contain_text("ask_name")
    say(page, "Ana")
    hear(page, "What are you interested in?")
    expect(page.locator(".fd-node.is-current")).to_contain_text("ask_interest")
    expect(page.locator(".fd-node.is-current")).to_be_in_viewport()
    visitor.picture(pictures / "designer.png")


def test_a_talk_becomes_a_lead_and_a_welcome_mail(visit: Visit, pictures: Path) -> None:
    visitor = visit(size=ROOMY)
    page = visitor.go("/admin/simulator/")
    page.get_by_label("Contact's name").fill("Lucía Prado")
    page.get_by_label("Contact's phone").fill("+34 611 222 333")
    page.get_by_role("button", name="New chat").last.click()
    say(page, "hello")
    hear(page, "What is your name?")
    say(page, "Lucía Prado")
    hear(page, "What are you interested in?")
    page.get_by_role("button", name="See catalogue").click()
    hear(page, "Which e-mail")
    say(page, "lucia.prado at nowhere")
    hear(page, "does not look right")
    say(page, "Lucia.Prado@Example.com")
    expect(page.locator(".ch-log")).to_contain_text("lucia.prado@example.com", ignore_case=True)
    expect(page.locator(".ch-typing")).to_have_count(0)
    expect(page.locator(".ch-bubble--bot").last).not_to_contain_text("does not look right")
    visitor.picture(pictures / "simulator.png")

    # The lead.
    page = visitor.go("/admin/leads/list/")
    lead = page.get_by_role("link", name="Lucía Prado")
    for _ in range(20):  # it crosses a queue
        if lead.count():
            break
        page.wait_for_timeout(500)
        page.reload()
    lead.first.click()
    expect(page.locator("main")).to_contain_text("+34611222333")
    expect(page.locator("main")).to_contain_text("lucia.prado@example.com", ignore_case=True)

    # The transcript, one click from the lead.
    page.locator("main").get_by_role("link", name=re.compile("conversation", re.IGNORECASE)).first.click()
    expect(page.locator("#bubbles")).to_contain_text("See catalogue")
    expect(page.locator("#bubbles")).to_contain_text("Which e-mail")
    visitor.picture(pictures / "conversation.png")

    # The mail, readable as it would have been sent.
    page = visitor.go("/admin/outbox/list/")
    mail = page.locator("tbody tr", has_text="lucia.prado@example.com").first
    for _ in range(20):
        if mail.count():
            break
        page.wait_for_timeout(500)
        page.reload()
    mail.locator("a").first.click()
    frame = page.frame_locator("iframe")
    expect(frame.locator("body")).to_contain_text("Lucía")
    visitor.picture(pictures / "outbox.png")


def test_cards_move_by_mouse_and_by_keyboard_and_stay_there(visit: Visit, pictures: Path) -> None:
    visitor = visit()
    page = visitor.go("/admin/board/")
    visitor.picture(pictures / "board.png")

    def column(stage: str, name: str) -> object:
        return page.locator(f"[data-board-column={stage}] [data-board-card][data-name='{name}']")

    first = page.locator("[data-board-column=new] [data-board-card]").first
    name = first.get_attribute("data-name")
    assert name
    with page.expect_response(lambda answer: answer.request.method == "PATCH") as moved:
        visitor.drag(first, page.locator("[data-board-column=contacted] [data-board-cards]"))
    assert moved.value.status == 200
    expect(column("contacted", name)).to_have_count(1)  # type: ignore[arg-type]

    with page.expect_response(lambda answer: answer.request.method == "PATCH") as moved:
        page.locator(f"[data-board-card][data-name='{name}']").focus()
        page.keyboard.press("Alt+ArrowRight")
    assert moved.value.status == 200
    expect(page.locator(f"[data-board-card][data-name='{name}']")).to_be_focused()

    page.reload()
    expect(column("qualified", name)).to_have_count(1)  # type: ignore[arg-type]


def test_a_key_is_shown_once_and_never_again(visit: Visit) -> None:
    visitor = visit()
    page = visitor.go("/admin/api-keys/")
    page.get_by_role("link", name="New API key").first.click()
    page.get_by_label("Name").fill("web form")
    visitor.guard.refused = 1
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator(".form-problems")).to_contain_text("scope")
    page.locator("input[value='leads:read']").check()
    page.get_by_role("button", name="Make the key").click()
    key = page.locator("#new-key").input_value()

    answer = visitor.context.request.get("/leads?limit=1", headers={"Authorization": f"Bearer {key}"})
    assert answer.status == 200 and len(answer.json()["items"]) == 1
    refused = visitor.context.request.post(
        "/leads", headers={"Authorization": f"Bearer {key}", "Idempotency-Key": "b-1"}, data={"name": "No"}
    )
    assert refused.status == 403

    page.get_by_role("link", name="Done").click()
    expect(page.locator("tbody")).to_contain_text("web form")
    assert key not in page.content()
    page = visitor.go("/admin/api-keys/")
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.locator("tbody")).to_contain_text("revoked")
    # Another process than the one that revoked it may trust the key for a second more.
    asked = {"Authorization": f"Bearer {key}"}
    wait_for(
        lambda: visitor.context.request.get("/leads?limit=1", headers=asked).status == 401,
        "the key being refused",
    )


def test_language_and_theme_are_chosen_and_kept(visit: Visit, pictures: Path) -> None:
    visitor = visit(size=ROOMY)
    page = visitor.go("/admin/leads/list/")
    expect(page.locator("h1")).to_contain_text("Leads")
    visitor.picture(pictures / "leads.png")
    page.locator("a[hreflang=es]").click()
    expect(page.locator("h1")).to_contain_text("Prospectos")
    assert page.url.endswith("/admin/leads/list/")
    assert page.locator("html").get_attribute("lang") == "es"

    page.locator("[data-theme-switch]").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page = visitor.go("/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("h1")).to_contain_text("Hola")
    expect(page.locator("canvas").first).to_be_visible()
    visitor.picture(pictures / "home-dark.png")

    page.locator("a[hreflang=en]").click()
    page.locator("[data-theme-switch]").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(page.locator("h1")).to_contain_text("Hello")
    page = visitor.go("/")
    expect(page.locator("canvas").first).to_be_visible()
    visitor.picture(pictures / "home.png")


def test_a_phone_shows_all_of_it_without_scrolling_sideways(visit: Visit, pictures: Path) -> None:
    visitor = visit(size=PHONE, sharp=2)
    page = visitor.go("/admin/leads/list/")
    visitor.picture(pictures / "phone.png")
    page.get_by_role("button", name="Menu").click()
    expect(page.locator("#sidebar a").first).to_be_focused()
    page.get_by_role("link", name="Flows").click()
    expect(page.locator("h1")).to_contain_text("Flows")

    wide = {
        path: extra for path in visitor.sidebar() if (visitor.go(path), extra := visitor.overflow())[1] > 0
    }
    assert wide == {}

    page = open_flow(visitor, "Welcome")
    before = page.locator(".fd-node").count()
    page.get_by_role("button", name="Add a step").click()
    page.locator(".fd-sheet-palette [data-add=end]").click()
    expect(page.locator(".fd-node")).to_have_count(before + 1)
    assert visitor.overflow() <= 0
    with page.expect_response(lambda answer: answer.request.method in {"PUT", "PATCH"}):
        page.keyboard.press("Control+z")
