"""A list of leads as CSV, sent while it is read: a hundred thousand leads need no memory."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Flask

from app.kit.auth import Principal
from app.leads.models import Lead
from app.leads.queries import lists

COLUMNS = (
    "id", "name", "company", "email", "phone", "stage", "source", "language", "owner", "amount", "currency",
    "next_contact_on", "tags", "notes", "created_at", "updated_at",
)  # fmt: skip
# Leads read at a time.
BATCH = 500
# Spreadsheets take UTF-8 for Latin-1 unless the file begins with this mark.
BYTE_ORDER_MARK = "\ufeff"
# A cell that begins so is a formula to a spreadsheet (OWASP: CSV injection); numbers and phones are not.
_FORMULA = re.compile(r"^(?:[=@\t\r]|[+-](?![\d\s().-]*$))")


def leads_as_csv(
    app: Flask, filters: lists.LeadFilter, by: Principal, stages: Mapping[str, tuple[str, str]]
) -> Iterator[str]:
    """The heading, then the leads that `by` may see, newest first. stages: key → (name, colour).

    Each batch is read in a context and a transaction of its own: a browser that stops reading leaves neither open.
    """
    yield BYTE_ORDER_MARK + _lines([COLUMNS])
    after: lists.Position | None = None
    while True:
        with app.app_context():
            rows, after = lists.page(filters, by=by, after=after, limit=BATCH)
            text = _lines([_cells(lead, stages) for lead in rows])
        yield text
        if after is None:
            return


def _cells(lead: Lead, stages: Mapping[str, tuple[str, str]]) -> list[Any]:
    values = (
        lead.id,
        lead.name,
        lead.company,
        lead.email,
        lead.phone,
        stages.get(lead.stage_key, (lead.stage_key,))[0],
        lead.source,
        lead.language,
        lead.owner_name,
        lead.amount,
        lead.currency,
        lead.next_contact_on,
        lead.tag_names,
        lead.notes,
        lead.created_at.isoformat(),
        lead.updated_at.isoformat(),
    )
    return ["" if value is None else harmless(str(value)) for value in values]


def harmless(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would run it."""
    return "'" + text if _FORMULA.match(text) else text


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
