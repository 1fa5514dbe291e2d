"""What `flask ops doctor` asks about Airtable: the token, the base, and where its pings go."""

from __future__ import annotations

from collections.abc import Iterator

from flask import current_app
from flask_babel import gettext

from app.kit.db import db
from app.kit.doctor import Check, Finding, clock_remark, fault, ok, refused, unreadable, warning
from app.kit.doctor.running import public_url
from app.kit.errors import ProviderError
from app.kit.secrets import Undecryptable
from app.leads.models import AirtableConnection
from app.leads.queries import airtable as queries

WHERE = "/admin/airtable"


def checks() -> list[Check]:
    """One that finds the connections; each of them is a check of its own."""
    return [Check(name="airtable", run=_connections)]


def _connections() -> Iterator[Finding | Check]:
    asked: list[Finding | Check] = []
    if current_app.config.get("AIRTABLE_API_KEY"):
        token, endpoint = (
            str(current_app.config["AIRTABLE_API_KEY"]),
            current_app.config.get("AIRTABLE_ENDPOINT_URL"),
        )
        asked.append(_check("environment", token, endpoint, "", "AIRTABLE_API_KEY"))
    for row in queries.connections():
        if row.state == "draft" or row.stand_in:
            continue
        where = f"{WHERE} ({row.name})"
        asked += _state(row, where)
        try:
            token = queries.token_of(row)
        except Undecryptable:
            asked.append(unreadable(where))
            continue
        asked.append(_check(row.name, token, queries.endpoint_of(row), row.base_id, where))
    db.session.rollback()  # nothing stays open while Airtable is asked
    yield from asked


def _state(row: AirtableConnection, where: str) -> Iterator[Finding]:
    if row.state == "stopped":
        yield fault(
            gettext("The connection has stopped (%(code)s).", code=row.error_code or "-"),
            where,
            gettext("Mend what that page names, then start it again there."),
        )
    if not row.webhook_wanted:
        return
    if row.webhook_error or not public_url().startswith("https://"):
        yield warning(
            gettext(
                "Airtable cannot tell us of changes; the table is read every %(minutes)d minutes.",
                minutes=row.poll_minutes,
            ),
            where,
            gettext("Set PUBLIC_URL to an https address that Airtable can call."),
        )
        return
    yield ok(gettext("Airtable calls %(url)s", url=f"{public_url()}/airtable/notify/{row.id}"), where)


def _check(name: str, token: str, endpoint: str | None, base_id: str, where: str) -> Check:
    return Check(
        name=f"airtable {name}",
        run=lambda: _account(token, endpoint, base_id, where),
        calls_out=True,
        seconds=45.0,
    )


def _account(token: str, endpoint: str | None, base_id: str, where: str) -> Iterator[Finding]:
    from app.leads.providers.airtable import Airtable  # who has no connection does not load its client

    try:
        api = Airtable(token, endpoint=endpoint)
        standing = api.check()
        base = next((item for item in api.bases() if item.id == base_id), None) if base_id else None
    except ProviderError as error:
        yield refused(error, "Airtable", where)
        return
    yield from clock_remark(standing.at, "Airtable", where)
    if base_id and (base is None or not base.writable):
        yield fault(
            gettext("The token does not open the base, or not for writing."),
            where,
            gettext("Add the base to the token at airtable.com/create/tokens, as an editor."),
        )
        return
    yield ok(gettext("%(provider)s accepts the credentials.", provider="Airtable"), where)
