"""What Airtable calls: the ping of a webhook. And, for who has no account, Airtable itself: the local stand-in.

A ping says only that something changed; what, is read by the job. So the door verifies, notes and answers at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, g, request

from app.kit.auth import public
from app.kit.db import db, transaction
from app.kit.errors import BadRequest, Forbidden, NotFound, TooLarge
from app.kit.secrets import Undecryptable
from app.leads.commands.airtable_gone import note_ping
from app.leads.models import AirtableConnection
from app.leads.providers import MAC_HEADER, is_genuine
from app.leads.providers.fake import Ask, StandIn, Store
from app.leads.providers.fake.server import Pinger
from app.leads.queries import airtable as queries
from app.leads.queries.cached import canonical

PING_BYTES = 10_000
STAND_IN_BYTES = 10_000_000
STAND_IN_FILE = "airtable-stand-in.sqlite"

bp = Blueprint("leads_callbacks", __name__)


@bp.before_request
def _as_api() -> None:
    g.embudo_api = True  # errors are problem+json, whatever the Accept header says


@bp.post("/airtable/notify/<connection_id>")
@public("Airtable signs the bytes; verified before anything is noted")
def notify(connection_id: str) -> Response:
    """Note that a table has changed."""
    if (request.content_length or 0) > PING_BYTES:
        raise TooLarge(f"A ping may have at most {PING_BYTES:,} bytes.")
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


def local_stand_in() -> StandIn:
    """This process's stand-in; its tables are in a file that all processes of the machine share."""
    extensions = current_app.extensions
    if "leads_stand_in" not in extensions:
        Path(current_app.instance_path).mkdir(parents=True, exist_ok=True)
        store = Store(str(Path(current_app.instance_path) / STAND_IN_FILE))
        store.seed_demo()
        extensions["leads_stand_in"] = StandIn(store, token=queries.stand_in_token(), ping=Pinger())
    made: StandIn = extensions["leads_stand_in"]
    return made
