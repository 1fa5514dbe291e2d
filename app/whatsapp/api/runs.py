"""`POST /start` and `GET /status/{id}`."""

from __future__ import annotations

from uuid import UUID

from flask import Response

from app.kit.auth import current, needs
from app.kit.db import transaction
from app.kit.errors import Forbidden
from app.kit.rest import created, endpoint
from app.whatsapp.api.blueprint import bp
from app.whatsapp.api.schemas import FlowRef, RunOut, StartedOut, StartIn, conversation_fields, show_message
from app.whatsapp.commands.start import start_run
from app.whatsapp.queries import conversations as queries
from app.whatsapp.queries import flows

TAGS = ("runs",)


@bp.post("/start")
@needs("conversations:write")
@endpoint(
    body=StartIn,
    out=StartedOut,
    status=201,
    tags=TAGS,
    summary="Start a flow for a phone number",
    example={"to": "+34600000012", "variables": {"name": "Lucía"}},
)
def start_run_for(body: StartIn) -> Response:
    """The first messages leave at once; follow the run at its Location."""
    principal = current()
    if principal.own_only:
        raise Forbidden("Sellers answer conversations; starting flows by API needs a manager's key.")
    with transaction():
        run = start_run(
            channel_id=body.channel_id,
            to=body.to,
            user_id=body.user_id,
            flow=body.flow,
            variables=body.variables,
            by=principal.name,
        )
        answer = StartedOut(
            id=run.id,
            status=run.status,
            contact_id=run.contact_id,
            flow=FlowRef(id=run.flow_id, name=run.flow.name, version=run.version),
        )
    return created(answer, f"/status/{run.id}")


@bp.get("/status/<uuid:run_id>")
@needs("status:read")
@endpoint(out=RunOut, tags=TAGS, summary="The state of a run")
def show_run(run_id: UUID) -> RunOut:
    """Where it stands, what was answered so far, and every message with its state."""
    row = queries.conversation(str(run_id), current())
    return RunOut(
        **conversation_fields(row),
        answers=flows.answers_of(row),
        path=list(row.path or ()),
        messages=[show_message(message) for message in queries.messages_of_conversation(row.id)],
    )
