"""What people type becomes what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from app.whatsapp.engine import Reply
from tests.whatsapp.engine.flows import answer, ask, begin, choices, flow, go


@pytest.mark.parametrize(
    ("text", "es", "en"),
    [
        ("1.234,5", 1234.5, 1234.5),
        ("1,234.5", 1234.5, 1234.5),
        ("1.234", 1234, 1.234),
        ("1,234", 1.234, 1234),
        ("1.5", 1.5, 1.5),
        ("1,5", 1.5, 1.5),
        ("1.234.567", 1234567, 1234567),
        ("1 234 567", 1234567, 1234567),
        ("unos 1.200 €", 1200, 1.2),
        ("$1,200.00", 1200, 1200),
        ("-3", -3, -3),
        ("0,123", 0.123, 0.123),
        ("25.", 25, 25),
        ("٣", 3, 3),
        ("12/05", None, None),
        ("2 o 3", None, None),
        ("1.2.3", None, None),
        ("1,23,4", None, None),
        ("veinte", None, None),
        ("9" * 16, None, None),
        ("1e5", None, None),
    ],
)
def test_numbers_are_read_as_the_language_writes_them(text: str, es: Any, en: Any) -> None:
    assert answer("number", text) == es
    assert answer("number", text, language="en") == en


def test_a_number_stays_within_its_bounds() -> None:
    assert answer("number", "5", min=1, max=5) == 5
    assert answer("number", "0", min=1) is None
    assert answer("number", "5,5", max=5) is None


@pytest.mark.parametrize(
    ("text", "es", "en"),
    [
        ("2026-12-31", "2026-12-31", "2026-12-31"),
        ("05/04/2027", "2027-04-05", "2027-05-04"),
        ("31/12/26", "2026-12-31", "2026-12-31"),
        ("12/31/2026", "2026-12-31", "2026-12-31"),
        ("1-2", "2027-02-01", "2027-01-02"),
        ("01.05.1985", "1985-05-01", "1985-01-05"),
        ("1/5/85", "1985-05-01", "1985-01-05"),
        ("el 5 de Agosto de 2026", "2026-08-05", "2026-08-05"),
        ("August 5th, 2026", "2026-08-05", "2026-08-05"),
        ("3 enero", "2027-01-03", "2027-01-03"),
        ("2 de marzo", "2026-03-02", "2026-03-02"),
        ("MAÑANA", "2026-03-03", "2026-03-03"),
        ("today", "2026-03-02", "2026-03-02"),
        ("29/02/2027", None, None),
        ("32/01/2026", None, None),
        ("pronto", None, None),
    ],
)
def test_dates_are_read_as_the_language_writes_them(text: str, es: str | None, en: str | None) -> None:
    assert answer("date", text) == es
    assert answer("date", text, language="en") == en


def test_a_date_stays_within_its_bounds() -> None:
    assert answer("date", "ayer", min="2026-03-02") is None
    assert answer("date", "hoy", min="2026-03-02", max="2026-03-02") == "2026-03-02"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Ana.Perez+x@Example.COM", "Ana.Perez+x@example.com"),
        ("mi correo es <ana@ejemplo.es>, gracias", "ana@ejemplo.es"),
        ("ana@ejemplo.es.", "ana@ejemplo.es"),
        ("ana@ñandú.cl", "ana@ñandú.cl"),
        ("ana", None),
        ("ana@", None),
        ("ana@localhost", None),
        ("a@b.es o c@d.es", None),
        ("ana@@ejemplo.es", None),
        ("a" * 65 + "@ejemplo.es", None),
    ],
)
def test_an_email_address_is_found_and_checked(text: str, address: str | None) -> None:
    assert answer("email", text) == address


@pytest.mark.parametrize(
    ("text", "country", "number"),
    [
        ("612 34 56 78", "ES", "+34612345678"),
        ("612 34 56 78", None, "+34612345678"),
        ("+1 (202) 555-0143", "ES", "+12025550143"),
        ("0034 612345678", "ES", "+34612345678"),
        ("912", "ES", None),
        ("no tengo", "ES", None),
        ("6" * 100, "ES", None),
    ],
)
def test_a_phone_becomes_e164(text: str, country: str | None, number: str | None) -> None:
    assert answer("phone", text, country=country) == number


MENU = [
    {"id": "catalogue", "label": "📦 Catálogo", "keywords": ["productos", "1"]},
    {"id": "price", "label": "Precio", "keywords": ["tarifa"]},
    {"id": "up", "label": "👍"},
]


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("catalogo", "catalogue"),
        ("CATÁLOGO!!", "catalogue"),
        ("Productos", "catalogue"),
        ("1", "catalogue"),
        ("2", "price"),
        ("2️⃣", "price"),
        ("la opción 2", "price"),
        ("2.", "price"),
        ("price", "price"),
        ("👍", "up"),
        ("quiero ver la tarifa, por favor", "price"),
        ("catálogo y precio", None),
        ("4", None),
        ("0", None),
        ("catalogos", None),
        ("🙂", None),
        ("", None),
    ],
)
def test_a_choice_is_recognised(text: str, chosen: str | None) -> None:
    assert answer("choice", text, choices=MENU) == chosen


def test_a_tapped_choice_is_known_by_its_id_and_keeps_its_label() -> None:
    document = flow(ask(kind="choice", choices=MENU))
    state = go(document, begin(document), Reply(text="¿?", payload="up", kind="button")).state
    assert state["vars"] == {"a": "up", "a_label": "👍"}


@pytest.mark.parametrize("kind", ["text", "number", "email", "phone", "date", "choice"])
def test_a_picture_answers_no_question(kind: str) -> None:
    document = flow(ask(kind=kind, choices=choices("Uno", "Dos"), retry_text="otra vez"))
    step = go(document, begin(document), Reply(text="1", kind="image"))
    assert [effect.text for effect in step.effects] == ["otra vez"]
    assert step.state["vars"] == {}


def test_a_text_is_capped_and_freed_of_what_cannot_be_stored() -> None:
    assert answer("text", "x" * 5000) == "x" * 2000
    assert answer("text", "a\x00b\ud83dc") == "ab?c"
    assert answer("text", "   ") is None
