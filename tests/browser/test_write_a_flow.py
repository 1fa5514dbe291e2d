"""Who follows docs/howto/write-a-flow.md (or the Spanish page), word by word, ends with a flow that talks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_first_day import ROOMY, Visit, hear, say

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the page tells to click and to type."""

    language: str
    new: str
    name: str
    save: str
    message: str
    question: str
    kind: str
    choice: str
    choice_text: str
    mail: str
    keep: str
    variables: tuple[str, str, str]
    asked: tuple[str, str, str]
    choices: tuple[str, str]
    lead_name: str
    lead_mail: str
    thanks: str
    note: str
    failed: str
    settings: str
    keywords: str
    keyword: str
    try_it: str
    captured: str
    publish: str
    live: str
    new_chat: str
    everything: str


PAGES = (
    Words(
        language="en", new="New flow", name="Name", save="Save", message="Message", question="Question",
        kind="Kind of answer", choice="Choice", choice_text="Text of the choice", mail="E-mail",
        keep="Keep it in the variable", variables=("name", "interest", "email"),
        asked=("What is your name?", "What would you like, {{ vars.name }}?", "Where do we send it?"),
        choices=("Catalogue", "Talk to a person"), lead_name="Name", lead_mail="E-mail",
        thanks="Thank you, {{ vars.name }}!", note="Note for the team", failed="No valid answer",
        settings="Settings", keywords="Keywords that start it", keyword="visit", try_it="Try it",
        captured="Lead captured", publish="Publish", live="Version 1 is live", new_chat="New chat",
        everything="Show everything",
    ),
    Words(
        language="es", new="Nuevo flujo", name="Nombre", save="Guardar", message="Mensaje", question="Pregunta",
        kind="Tipo de respuesta", choice="Opciones", choice_text="Texto de la opción", mail="Correo",
        keep="Guardar en la variable", variables=("nombre", "interés", "correo"),
        asked=("¿Cómo te llamas?", "¿Qué te interesa, {{ vars.nombre }}?", "¿A qué correo lo enviamos?"),
        choices=("Catálogo", "Hablar con una persona"), lead_name="Nombre", lead_mail="Correo",
        thanks="¡Gracias, {{ vars.nombre }}!", note="Nota para el equipo", failed="Sin respuesta válida",
        settings="Ajustes", keywords="Palabras que lo inician", keyword="visita", try_it="Probar",
        captured="Prospecto capturado", publish="Publicar", live="La versión 1 está en vivo", new_chat="Nuevo chat",
        everything="Ver todo",
    ),
)  # fmt: skip


def click(page: Page, words: Words, step: str) -> None:
    """Click a step of the flow, wherever it is."""
    page.get_by_role("button", name=words.everything).click()
    page.locator(".fd-node", has=page.locator(".fd-node-id", has_text=step)).click()


def add(page: Page, words: Words, after: str, kind: str) -> str:
    """Click a step, then a kind of step; the new one's name."""
    click(page, words, after)
    page.locator(f"[data-add={kind}]").first.click()
    selected = page.locator(".fd-node.is-selected .fd-node-id")
    expect(selected).not_to_have_text(after)
    return selected.inner_text()


def ask(page: Page, words: Words, after: str, number: int) -> str:
    """A question after a step, and the variable that keeps its answer."""
    name = add(page, words, after, "ask")
    page.get_by_role("textbox", name=words.question).fill(words.asked[number])
    page.get_by_label(words.keep).fill(words.variables[number])
    return name


@pytest.mark.parametrize("words", PAGES, ids=lambda words: words.language)
def test_the_page_for_authors_leads_to_a_flow_that_talks(visit: Visit, words: Words) -> None:
    visitor = visit(language=words.language, size=ROOMY)
    page = visitor.go("/admin/flows/list/")
    page.get_by_role("link", name=words.new).first.click()
    page.get_by_label(words.name).fill(f"Visits {words.language}")
    page.get_by_role("button", name=words.save).click()
    greeting = page.locator(".fd-node").first
    expect(greeting).to_be_visible()
    first = greeting.locator(".fd-node-id").inner_text()

    known = ask(page, words, first, 0)
    chosen = ask(page, words, known, 1)
    page.get_by_label(words.kind).select_option(label=words.choice)
    for index, label in enumerate(words.choices):
        page.get_by_role("textbox", name=words.choice_text).nth(index).fill(label)
    written = ask(page, words, chosen, 2)
    page.get_by_label(words.kind).select_option(label=words.mail)
    lead = add(page, words, written, "capture_lead")
    side = page.locator(".fd-side")
    side.get_by_label(words.lead_name, exact=True).fill(f"{{{{ vars.{words.variables[0]} }}}}")
    side.get_by_label(words.lead_mail, exact=True).fill(f"{{{{ vars.{words.variables[2]} }}}}")
    add(page, words, lead, "send_text")
    page.get_by_role("textbox", name=words.message).fill(words.thanks)
    person = add(page, words, chosen, "hand_over")
    page.get_by_role("textbox", name=words.note).fill("…")
    click(page, words, chosen)
    ways = page.locator(".fd-routes label")
    expect(ways.filter(has_text=words.choices[0]).locator("select")).to_have_value(written)
    expect(ways.filter(has_text=words.choices[1]).locator("select")).to_have_value(person)
    ways.filter(has_text=words.failed).locator("select").select_option(person)

    page.get_by_role("button", name=words.settings).click()
    box = page.get_by_label(words.keywords)
    box.fill(words.keyword)
    box.press("Enter")
    expect(page.locator(".fd-node.is-error")).to_have_count(0)
    expect(page.locator(".fd-node.is-warning")).to_have_count(0)

    page.get_by_role("button", name=words.try_it).click()
    talk(page, words)
    expect(page.locator(".ch-log")).to_contain_text(words.captured)

    page.get_by_role("button", name=words.publish).first.click()
    page.get_by_role("dialog").get_by_role("button", name=words.publish).click()
    expect(page.locator(".em-toast", has_text=words.live)).to_be_visible()

    page = visitor.go("/admin/simulator/")
    page.get_by_role("button", name=words.new_chat).last.click()
    say(page, words.keyword)
    talk(page, words)


def talk(page: Page, words: Words) -> None:
    """Be the customer, who mistypes once."""
    hear(page, words.asked[0])
    say(page, "Ana")
    hear(page, words.asked[1].partition("{{")[0] + "Ana?")
    page.get_by_role("button", name=words.choices[0]).last.click()
    hear(page, words.asked[2])
    say(page, "ana at nowhere")
    expect(page.locator(".ch-bubble--bot").last).not_to_contain_text(words.asked[2])
    say(page, "ana@example.com")
    hear(page, words.thanks.partition("{{")[0] + "Ana!")
