"""Trying a draft out, message by message; nothing is stored and nobody is called."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from app.kit.auth import needs
from app.kit.errors import BadRequest
from app.kit.rest import Body, created, endpoint
from app.kit.rest.openapi import ProblemDocument
from app.whatsapp.api.blueprint import bp
from app.whatsapp.api.schemas import ChoiceOut
from app.whatsapp.commands import dry_run
from app.whatsapp.queries import flows

TAGS = ("simulations",)


class SimulationIn(Body):
    """The document as it stands on the screen; the stored draft without one."""

    document: Any = None


class Said(BaseModel):
    """A line of the try-out."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Literal["bot", "contact"] = Field(alias="from")
    text: str
    choices: list[ChoiceOut]


class SimulationOut(BaseModel):
    """The try-out so far: what was said, what the flow would have done, where it is."""

    id: str
    messages: list[Said]
    effects: list[dict[str, Any]]
    node: str | None
    status: str
    vars: dict[str, Any]


class AnswerIn(Body):
    """What the contact says: text, or the id of an offered choice."""

    text: str = Field("", max_length=4096)
    choice: str | None = Field(None, max_length=300)


@bp.post("/flows/<uuid:flow_id>/simulations")
@needs("flows:read")
@endpoint(
    body=SimulationIn,
    out=SimulationOut,
    status=201,
    tags=TAGS,
    summary="Try a flow out",
    also={422: ProblemDocument},
    example={},
)
def start_simulation(flow_id: UUID, body: SimulationIn) -> Response:
    """The same engine as in production; kept for half an hour."""
    flow = flows.flow(str(flow_id))
    session = dry_run.start(flow.draft if body.document is None else body.document, flow.name)
    return created(dry_run.show(session), f"/simulations/{session['id']}/messages")


@bp.post("/simulations/<uuid:session_id>/messages")
@needs("flows:read")
@endpoint(
    body=AnswerIn,
    out=SimulationOut,
    tags=TAGS,
    summary="Answer in a try-out",
    also={409: ProblemDocument},
    example={"text": "hola"},
)
def answer_simulation(session_id: UUID, body: AnswerIn) -> dict[str, Any]:
    """Answers with the whole try-out."""
    if not body.text and not body.choice:
        raise BadRequest("Send text or choice.")
    return dry_run.show(dry_run.say(str(session_id), body.text, body.choice))


@bp.delete("/simulations/<uuid:session_id>")
@needs("flows:read")
@endpoint(status=204, tags=TAGS, summary="Forget a try-out")
def stop_simulation(session_id: UUID) -> None:
    """Also when it is gone already."""
    dry_run.stop(str(session_id))
