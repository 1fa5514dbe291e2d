"""What Airtable calls: the ping of a webhook. And, for who has no account, Airtable itself: the local stand-in.

A ping says only that something changed; what, is read by the job. So the door verifies, notes and answers at once.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, g, request

from app.kit.auth import public
from app.kit.db import db, transaction
from app.kit.errors import BadRequest, Forbidden, NotFound, TooLarge
from app.kit.rest import documented
from app.kit.secrets import Undecryptable
from app.leads.commands.airtable_gone import note_ping
from app.leads.models import AirtableConnection
from app.leads.providers import MAC_HEADER, is_genuine
from app.leads.providers.fake import Ask
from app.leads.queries import airtable as queries
from app.leads.queries.airtable_stand_in import local_stand_in
from app.leads.queries.cached import canonical

PING_BYTES = 10_000
STAND_IN_BYTES = 10_000_000

# What the OpenAPI document says of the ping; Airtable's own documents say the rest.
PING = {"base": {"id": "appBASE"}, "webhook": {"id": "achHOOK"}, "timestamp": "2026-01-31T08:00:00.000Z"}
SIGNATURE = {
    "name": MAC_HEADER,
    "in": "header",
    "schema": {"type": "string"},
    "description": "HMAC-SHA-256 of the bytes",
}

bp = Blueprint("leads_callbacks", __name__)


@bp.before_request
def _as_api() -> None:
    g.embudo_api = True  # errors are problem+json, whatever the Accept header says


@bp.post("/airtable/notify/<connection_id>")
@public("Airtable signs the bytes; verified before anything is noted")
@documented(
    summary="A table has changed at Airtable",
    bodies={"application/json": {"schema": {"type": "object"}, "example": PING}},
    headers=(SIGNATURE,),
    content={204: {}},
    refusals=(400, 403, 413),
    tags=("from providers",),
)
def notify(connection_id: str) -> Response:
    """Note that a table has changed."""
    if (request.content_length or 0) > PING_BYTES:
        raise TooLarge("The body may have at most %(limit)s bytes.", limit=f"{PING_BYTES:,}")
    request.max_content_length = PING_BYTES
    body = request.get_data()
    row = db.session.get(AirtableConnection, canonical(connection_id))
    if row is None or not row.webhook_id:
        raise NotFound("webhook", connection_id)
    try:
        secret = (row.webhook_secret or {}).get("mac", "")
    except Undecryptable:
        secret = ""
    if not is_genuine(secret, body, request.headers.get(MAC_HEADER, "")):
        raise Forbidden("The signature is missing or wrong.")
    told = _read(body)
    if told.get("webhook", {}).get("id") != row.webhook_id or told.get("base", {}).get("id") != row.base_id:
        raise Forbidden("The ping is of another webhook.")
    with transaction():
        note_ping(row.id, str(told.get("timestamp") or ""))
    return Response(status=204)


def _read(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(told, dict) or not all(isinstance(told.get(key), dict) for key in ("webhook", "base")):
        raise BadRequest("The body is not a webhook's ping.")
    return told


@bp.route(f"{queries.STAND_IN_PATH}/<path:rest>", methods=["GET", "POST", "PATCH", "PUT", "DELETE"])
@public("asks for the stand-in's own token, which only this installation knows")
def stand_in(rest: str) -> Response:
    """Answer as Airtable does."""
    if not queries.stand_in_offered():
        raise NotFound("stand-in")
    request.max_content_length = STAND_IN_BYTES
    answer = local_stand_in().handle(
        Ask(
            method=request.method,
            path="/" + rest,
            query=request.args.to_dict(flat=False),
            token=request.headers.get("Authorization", "").removeprefix("Bearer ").strip(),
            body=request.get_data(),
        )
    )
    return Response(answer.payload, status=answer.status, mimetype="application/json")
