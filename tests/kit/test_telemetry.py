"""What may not be in a log is not in it, wherever it came from."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from app.kit import telemetry
from app.kit.telemetry import masked

SECRETS = [
    "ana.garcia+ventas@example.com",
    "+34 612 345 678",
    "+5491155551234",
    "whatsapp:+34612345678",
    "34612345678",
    "to:+34 612 345 678",
    '{"wa_id":34612345678}',
    "https://api.example.com/?To=whatsapp%3A%2B34612345678",
    "from=whatsapp%3a34612345678",
    "Bearer EAAGm0PX4ZCpsBAKZCZBs",
    "emb_0123456789abcdef",
    "redis://user:pa55word@host",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_personal_data_and_keys_are_masked_inside_sentences(secret: str) -> None:
    text = masked(f"could not deliver to {secret}, giving up")
    for part in ("ana.garcia", "612", "345 6", "5491155551234"[:9], "EAAGm0PX4", "0123456789abc", "pa55word"):
        assert part not in text or part not in secret


@pytest.mark.parametrize(
    "harmless",
    [
        "2026-11-24T04:53:41",
        "01a20bd8-c478-70b0-9aa5-b585a9bfd738",
        "took 12345 ms",
        "status 200",
        "port 8080",
        "redis://cache:6379/0",
        '{"at":"2026-11-24T04:53:41.123456+00:00"}',
        "since=2026-11-24T04%3A53%3A41.123456%2B00%3A00",
    ],
)
def test_ordinary_facts_stay_readable(harmless: str) -> None:
    assert masked(harmless) == harmless


@given(st.emails())
def test_no_address_survives(address: str) -> None:
    assert address not in masked(f"could not reach <{address}>: refused")


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """The JSON lines logged since the last question."""
    telemetry.configure_logging("INFO")
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_fields_whose_names_give_them_away_are_hidden(lines: Callable[[], list[dict[str, Any]]]) -> None:
    telemetry.get_logger("test").info("sent", to="somebody", auth_token="abc", lead_id="42", outcome="ok")
    (line,) = lines()
    assert (line["to"], line["auth_token"]) == ("***", "***")
    assert (line["lead_id"], line["outcome"], line["service"]) == ("42", "ok", "test")


def test_exception_texts_of_libraries_are_masked(lines: Callable[[], list[dict[str, Any]]]) -> None:
    try:
        raise RuntimeError("refused: {'ana@example.com': (550, b'no such user')}")
    except RuntimeError:
        logging.getLogger("some.library").exception("failed for %s", "+34 612 345 678")
    text = json.dumps(lines())
    assert "ana@example.com" not in text
    assert "612" not in text
    assert "no such user" in text


def test_a_row_that_the_database_refuses_is_not_shown() -> None:
    text = masked(
        'null value in column "name" violates not-null constraint\n'
        "DETAIL:  Failing row contains (1, Begoña Ibáñez, needs\nazulejos).\n[SQL: INSERT INTO leads_lead]"
    )
    assert "Begoña" not in text and "azulejos" not in text
    assert "violates not-null constraint" in text and "[SQL: INSERT INTO leads_lead]" in text


@pytest.mark.parametrize(
    "word", ["DETALLE", "DÉTAIL", "DETALHE", "DETTAGLI", "SZCZEGÓŁY", "ПОДРОБНОСТИ", "描述"]
)
def test_nor_by_a_database_that_speaks_another_language(word: str) -> None:
    text = masked(
        f"llave duplicada\n{word}:  Ya existe la llave (name)=(Ana\nPérez).\n(Background on this error)"
    )
    assert "Ana" not in text and "Pérez" not in text
    assert text.startswith("llave duplicada") and text.endswith("(Background on this error)")


def test_where_an_error_was_raised_is_shown_also_below_a_row(
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    try:
        try:
            raise ValueError("refused\nDETAIL:  Failing row contains (Ana\nPérez).")
        except ValueError as error:
            raise KeyError("wrapped") from error
    except KeyError:
        telemetry.get_logger("test").exception("failed")
    (line,) = lines()
    assert "Pérez" not in line["exception"]
    assert "KeyError: 'wrapped'" in line["exception"]


def test_lines_carry_the_request_id_of_what_caused_the_work(
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    with telemetry.bound(request_id="abc12345", job="leads.x"):
        telemetry.get_logger("leads").info("inside")
    telemetry.get_logger("leads").info("outside")
    inside, outside = lines()
    assert (inside["request_id"], inside["job"]) == ("abc12345", "leads.x")
    assert "request_id" not in outside


def test_a_failing_request_logs_its_route_and_not_its_path(
    app: Flask, lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(token: str) -> None:
        raise RuntimeError("no")

    monkeypatch.setitem(app.view_functions, "email_callbacks.ask", fail)
    assert app.test_client().get("/email/unsubscribe/the-key-to-it").status_code == 500
    found = lines()
    assert [line["event"] for line in found] == ["unexpected error", "request"]
    assert {line["route"] for line in found} == {"/email/unsubscribe/<token>"}
    assert "the-key-to-it" not in json.dumps(found)


def test_lines_below_the_level_are_not_written_nor_made(lines: Callable[[], list[dict[str, Any]]]) -> None:
    telemetry.get_logger("leads").debug("detail", lead_id="42")
    assert lines() == []


@pytest.mark.parametrize("odd", ["half an emoji \ud83d", 2**70, {("a", 1): 2}, {1: object()}])
def test_what_json_has_no_form_for_costs_nobody_a_line(
    lines: Callable[[], list[dict[str, Any]]], odd: Any
) -> None:
    telemetry.get_logger("leads").info("seen", odd=odd)
    (line,) = lines()
    assert line["event"] == "seen"


def test_nobody_fails_because_nobody_reads_the_log_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry.configure_logging("INFO")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        telemetry.get_logger("leads").info("into nothing")
        logging.getLogger("some.library").warning("into nothing")
        monkeypatch.undo()
        with suppress(BrokenPipeError):
            broken.close()
