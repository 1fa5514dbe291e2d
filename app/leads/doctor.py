"""What `flask ops doctor` asks about Airtable: the token, the base, and where its pings go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from flask import current_app
from flask_babel import gettext

from app.kit.db import db
from app.kit.doctor import Check, Finding, clock_remark, fault, ok, refused, unreadable, warning
from app.kit.doctor.running import public_url
from app.kit.errors import Misconfigured, Permanent, ProviderError
from app.kit.secrets import Undecryptable
from app.leads.models import AirtableConnection
from app.leads.queries import airtable as queries

if TYPE_CHECKING:
    from app.leads.providers.airtable import Airtable

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
        asked.append(_check("environment", partial(_account, token, endpoint, "AIRTABLE_API_KEY")))
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
        called = row.webhook_wanted and public_url().startswith("https://")
        ask = partial(_account, token, queries.endpoint_of(row), where, row.base_id, webhook=called)
        asked.append(_check(row.name, ask))
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


def _check(name: str, ask: Callable[[], Iterator[Finding]]) -> Check:
    return Check(name=f"airtable {name}", run=ask, calls_out=True, seconds=45.0)


def _account(
    token: str, endpoint: str | None, where: str, base_id: str = "", *, webhook: bool = False
) -> Iterator[Finding]:
    """base_id: "" when no base is chosen yet. webhook: whether Airtable is to call us."""
    from app.leads.providers.airtable import Airtable  # who has no connection does not load its client

    api = Airtable(token, endpoint=endpoint)
    try:
        standing = api.check()
    except ProviderError as error:
        yield refused(error, "Airtable", where)
        return
    yield from clock_remark(standing.at, "Airtable", where)
    missing = list(standing.faults)
    try:
        bases = api.bases()
    except (Misconfigured, Permanent):
        # Airtable says “invalid permissions”, not which.
        missing = missing or ["schema.bases:read"]
    except ProviderError as error:
        yield refused(error, "Airtable", where)
        return
    if missing:
        yield fault(
            gettext("The token lacks a scope: %(scopes)s", scopes=", ".join(missing)),
            where,
            gettext("Add it to the token at airtable.com/create/tokens."),
        )
        return
    base = next((item for item in bases if item.id == base_id), None)
    if base_id and (base is None or not base.writable):
        yield fault(
            gettext("The token does not open the base, or not for writing."),
            where,
            gettext("Add the base to the token at airtable.com/create/tokens, as an editor."),
        )
        return
    if not bases:
        yield warning(
            gettext("The token opens no base."),
            where,
            gettext("Add a base to the token at airtable.com/create/tokens, as an editor."),
        )
        return
    if webhook:
        yield from _webhooks(api, base_id, where)
    yield ok(gettext("%(provider)s accepts the credentials.", provider="Airtable"), where)


def _webhooks(api: Airtable, base_id: str, where: str) -> Iterator[Finding]:
    try:
        api.webhooks(base_id)
    except (Misconfigured, Permanent):
        yield warning(
            gettext("The token may not manage webhooks, so changes in Airtable come in minutes later."),
            where,
            gettext(
                "Give it the scope webhook:manage at airtable.com/create/tokens; its owner must be a creator of the base."
            ),
        )
    except ProviderError as error:
        yield refused(error, "Airtable", where)
