"""The same person must come out the same, however a chat, a form or a card spells them."""

from __future__ import annotations

import pytest

from app.contracts.problems import Problem
from app.leads import matching

# (as written, country of national numbers, E.164)
SPELLINGS = [
    ("+34600000012", "ES", "+34600000012"),
    ("+34 600 000 012", "ES", "+34600000012"),
    ("600000012", "ES", "+34600000012"),
    ("600 00 00 12", "ES", "+34600000012"),
    ("600-000-012", "es", "+34600000012"),
    ("0034 600 000 012", "ES", "+34600000012"),
    ("34600000012", "ES", "+34600000012"),
    ("whatsapp:+34600000012", "US", "+34600000012"),
    ("tel:+34-600-000-012", "US", "+34600000012"),
    ("Tel. 600000012", "ES", "+34600000012"),
    ("600000012 (móvil)", "ES", "+34600000012"),
    ("600 000 012 ext. 5", "ES", "+34600000012"),
    ("+34 600 00 00 12 / 611 22 33 44", "ES", "+34600000012"),
    ("+34 (0)600000012", "ES", "+34600000012"),
    ("\u202a+34 600 000 012\u202c", "ES", "+34600000012"),
    ("+34 911 234 567", "MX", "+34911234567"),
    ("+5215512345678", "ES", "+525512345678"),
    ("5215512345678", "ES", "+525512345678"),
    ("044 55 1234 5678", "MX", "+525512345678"),
    ("55 1234 5678", "MX", "+525512345678"),
    ("+54 9 11 2345 6789", "ES", "+5491123456789"),
    ("011 15-2345-6789", "AR", "+5491123456789"),
    ("+551187654321", "ES", "+5511987654321"),
    ("(11) 98765-4321", "BR", "+5511987654321"),
    ("+1 (202) 555-0143 x12", "ES", "+12025550143"),
    ("1-800-FLOWERS", "US", "+18003569377"),
    ("+١٢٠٢٥٥٥٠١٤٣", "ES", "+12025550143"),
    # a range that the metadata does not list, in international form: believed
    ("+44 7700 900123", "ES", "+447700900123"),
]


@pytest.mark.parametrize(("written", "country", "expected"), SPELLINGS)
def test_a_telephone_number_is_read_however_it_is_written(written: str, country: str, expected: str) -> None:
    assert matching.read_phone(written, country) == expected


@pytest.mark.parametrize(
    "written",
    ["", " ", "abc", "12", "12345", "999", "+", "+34 12", "(0) 600", "7700 900123", "6" * 61, "\x00", "++--"],
)
def test_what_is_no_telephone_number_is_a_problem(written: str) -> None:
    found = matching.read_phone(written, "ES")
    assert isinstance(found, Problem)
    assert (found.where, found.code) == ("/phone", "invalid_phone")


def test_an_unknown_default_country_still_reads_international_numbers() -> None:
    assert matching.read_phone("+34600000012", "XX") == "+34600000012"
    assert isinstance(matching.read_phone("600000012", "XX"), Problem)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+5215512345678", "+525512345678"),
        ("+5491123456789", "+541123456789"),
        ("+551187654321", "+5511987654321"),
        ("+34600000012", "34600000012"),
    ],
)
def test_two_numbers_of_one_subscriber_match(one: str, other: str) -> None:
    assert matching.match_key(one) == matching.match_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+34600000012", "+34600000013"),
        ("+551133334444", "+5511933334444"),  # a landline, and a mobile that only resembles it
        ("+12025550143", "+52025550143"),
    ],
)
def test_numbers_of_two_subscribers_do_not_match(one: str, other: str) -> None:
    assert matching.match_key(one) != matching.match_key(other)


def test_a_number_tells_the_country_by_which_others_are_read() -> None:
    assert matching.region_of("+5215512345678") == "MX"
    assert matching.region_of("+34600000012") == "ES"
    assert matching.region_of(None) is None
    assert matching.region_of("nonsense") is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("ann@example.com", "ann@example.com"),
        (" Ann@EXAMPLE.Com \n", "Ann@example.com"),
        ("ana.lópez@example.com", "ana.lópez@example.com"),
        ("ann+news@example.com", "ann+news@example.com"),
        ("ann@bücher.example.com", "ann@bücher.example.com"),
    ],
)
def test_an_address_is_normalised(written: str, expected: str) -> None:
    assert matching.read_email(written) == expected


@pytest.mark.parametrize(
    "written",
    ["ann", "ann@", "@example.com", "a b@example.com", "ann@@example.com", "<ann@example.com>", "ann@x\x00.com",
     "ann@example.com,bob@example.com", "a" * 300 + "@example.com", "ann@localhost"],
)  # fmt: skip
def test_what_is_no_address_is_a_problem(written: str) -> None:
    found = matching.read_email(written)
    assert isinstance(found, Problem)
    assert found.where == "/email"
    assert len(found.message) < 120


def test_the_case_of_an_address_does_not_make_two_people() -> None:
    assert matching.email_key("Ann@example.com") == matching.email_key("ann@example.com")


def test_names_lose_what_nobody_typed_on_purpose() -> None:
    assert matching.read_name("  Ana \t\n  López\u200b ") == "Ana López"
    assert matching.read_name("A\x00na\ud800") == "Ana"
    assert matching.read_name("Lo\u0301pez") == "López"


def test_search_and_sort_know_neither_case_nor_accents() -> None:
    assert matching.fold("ÁLVARO  Núñez") == "alvaro nunez"
    assert matching.search_text("Álvaro", None, "", "+34600000012") == "alvaro +34600000012"
