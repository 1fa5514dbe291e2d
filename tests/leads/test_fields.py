"""A field of a lead is known at every door; whoever adds one is told here where it is missing."""

from __future__ import annotations

import re
from pathlib import Path

from flask import Flask

from app.kit.auth import SYSTEM
from app.kit.db import transaction
from app.leads import commands
from app.leads.admin import export, words
from app.leads.admin.leads import LeadView
from app.leads.api.schemas import LeadIn, LeadOut
from app.leads.commands.capture import FLOW_FIELDS
from app.leads.commands.create import _FILLABLE
from app.leads.commands.record import column_of
from app.leads.commands.values import _READERS, blank
from app.leads.mapping.columns import LEAD_FIELDS
from app.leads.mapping.proposal import NAMES
from app.leads.queries.airtable import plain_values
from app.leads.queries.cached import as_document

READ = set(_READERS)
LINKS = {"contact_id", "conversation_id"}
HISTORY = {"created_at", "updated_at"}
ROOT = Path(__file__).resolve().parents[2]


def test_the_interface_takes_and_shows_every_field(app: Flask) -> None:
    with transaction():
        lead, _ = commands.create_lead({"name": "Ann"}, by=SYSTEM)
    assert set(LeadIn.model_fields) == READ - {"owner_name"}
    assert set(LeadOut.model_fields) == READ | HISTORY | {"id", "version"}
    assert set(as_document(lead)) == set(LeadOut.model_fields)


def test_a_new_lead_begins_with_every_field_and_put_empties_it(app: Flask) -> None:
    assert set(blank()) == READ - LINKS - {"source", "owner_name"}


def test_a_second_capture_and_a_flow_may_fill_every_field_that_tells_of_the_person() -> None:
    ours = {"stage", "source", "language", "owner_id", "owner_name", "custom", "tags"} | LINKS
    assert set(FLOW_FIELDS) == READ - ours
    assert set(_FILLABLE) == (READ - ours - {"currency"}) | {"owner_id", "owner_name"}


def test_the_screens_have_words_and_inputs_for_every_field() -> None:
    assert {column_of(field) for field in READ | HISTORY} <= set(words.FIELDS)
    shown = {"tags": "tag_names"}
    typed = READ - LINKS - {"source", "owner_name", "custom"}
    assert {shown.get(field, column_of(field)) for field in typed} == set(LeadView.add_columns)


def test_airtable_may_keep_every_field_and_one_is_proposed(app: Flask) -> None:
    with transaction():
        lead, _ = commands.create_lead({"name": "Ann", "custom": {"city": "Olot"}}, by=SYSTEM)
    assert set(LEAD_FIELDS) == (READ | HISTORY) - LINKS - {"owner_id", "custom"}
    assert set(NAMES) == set(LEAD_FIELDS)
    assert set(plain_values(lead)) == {*LEAD_FIELDS, "custom.city"}


def test_every_field_is_exported() -> None:
    assert set(export.COLUMNS) == (READ | HISTORY | {"id", "owner"}) - LINKS - {
        "owner_id",
        "owner_name",
        "custom",
    }


def test_the_designer_offers_only_fields_that_a_flow_may_fill() -> None:
    document = (ROOT / "frontend/src/designer/document.ts").read_text()
    [items] = re.findall(r"export const LEAD_FIELDS = \[(.*?)\] as const;", document)
    assert set(re.findall(r'"(\w+)"', items)) <= set(FLOW_FIELDS)
