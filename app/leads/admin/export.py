"""A list of leads as CSV, sent while it is read: a hundred thousand leads need no memory."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Flask

from app.kit import zone
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
# Other characters than our comma that a spreadsheet may part cells or rows at: its country's list separator (";" in
# Spanish), or what the person chose. It then takes our quotes for text, so these part also what stands in quotes.
_PARTS = r"\t\r\n;|"
# A part that begins so is a formula to a spreadsheet (OWASP: CSV injection); numbers and phones are not. The signs
# come with all that Unicode (NFKC) holds for the same, because a spreadsheet may: "＝1" from a Japanese keyboard.
_FORMULA = re.compile(
    rf"(?:^|(?<=[{_PARTS}]))(?="
    rf'(?:[^\S{_PARTS}]|["\ufeff\u200b-\u200f\u2060])*'
    rf"(?:[=⁼₌⩵⩶﹦＝@﹫＠]|[+\-⁺₊﬩﹢＋﹣－](?![\d ().\u00a0-]*(?:$|[{_PARTS}]))))"
    r"|^(?=[\t\r])"
)


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
        zone.local(lead.created_at).isoformat(),
        zone.local(lead.updated_at).isoformat(),
    )
    return ["" if value is None else harmless(str(value)) for value in values]


def harmless(text: str) -> str:
    """The text with an apostrophe before each part that a spreadsheet would run."""
    return _FORMULA.sub("'", text)


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows(rows)
    return buffer.getvalue()
