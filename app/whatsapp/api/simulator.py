"""The simulator channel: a phone in the browser. What it says goes through webhooks, jobs and engine like any other."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from flask import Response
from pydantic import BaseModel, Field

from app.kit.auth import current, needs
from app.kit.db import transaction
from app.kit.errors import BadRequest
from app.kit.jobs import ring
from app.kit.rest import Body, created, endpoint
from app.whatsapp.api.blueprint import bp
from app.whatsapp.api.schemas import ChoiceOut
from app.whatsapp.commands import chats
from app.whatsapp.commands.intake import store_own_webhook

TAGS = ("simulator",)
NEEDS = "simulator:use"


class ChatIn(Body):
    """Who talks on which simulator channel; the only one when there is one."""

    channel_id: str | None = None
    name: str = Field("", max_length=100)
    phone: str | None = Field(None, max_length=40)


class ChatOut(BaseModel):
    """A chat; its talk is kept for a day after the last word."""

    id: str
    channel_id: str


class ChatMessage(BaseModel):
    """A bubble."""

    id: str
    direction: Literal["in", "out"]
    text: str
    choices: list[ChoiceOut]
    status: str
    at: datetime


class ChatPage(BaseModel):
    """What was said since `after`; `next` is the following `after`."""

    items: list[ChatMessage]
    next: str


class ChatQuery(BaseModel):
    """Where to go on."""

    after: int = Field(0, ge=0, description="`next` of the answer before")


class SayIn(Body):
    """What the person types, or the id of the button they tap."""

    text: str = Field("", max_length=4096)
    choice: str | None = Field(None, max_length=300)


class SaidOut(BaseModel):
    """The chat in which it was said."""

    id: str


@bp.post("/simulator/chats")
@needs(NEEDS)
@endpoint(body=ChatIn, out=ChatOut, status=201, tags=TAGS, summary="Open a chat", example={"name": "Lucía"})
def open_chat(body: ChatIn) -> Response:
    """Somebody new begins to talk."""
    chat = chats.open_chat(channel_id=body.channel_id, name=body.name, phone=body.phone, by=current())
    return created(
        {"id": chat["id"], "channel_id": chat["channel_id"]}, f"/simulator/chats/{chat['id']}/messages"
    )


@bp.get("/simulator/chats/<uuid:chat_id>/messages")
@needs(NEEDS)
@endpoint(query=ChatQuery, out=ChatPage, tags=TAGS, summary="What was said")
def list_chat_messages(chat_id: UUID, query: ChatQuery) -> dict[str, Any]:
    """Both sides, in order."""
    rows, following = chats.messages(str(chat_id), query.after, by=current())
    items = [
        {
            "id": row.id,
            "direction": row.direction,
            "text": row.text,
            "choices": row.choices or [],
            "status": row.status,
            "at": row.created_at,
        }
        for row in rows
    ]
    return {"items": items, "next": str(following)}


@bp.post("/simulator/chats/<uuid:chat_id>/messages")
@needs(NEEDS)
@endpoint(body=SayIn, out=SaidOut, status=202, tags=TAGS, summary="Say something", example={"text": "hola"})
def say_in_chat(chat_id: UUID, body: SayIn) -> tuple[dict[str, str], int]:
    """Answered at once; the reply comes as soon as the bot has one."""
    if not body.text and not body.choice:
        raise BadRequest("Send text or choice.")
    raw = chats.say(str(chat_id), body.text, body.choice, by=current())
    with transaction():
        if store_own_webhook("simulator", raw):
            ring("whatsapp.process_webhooks")
    return {"id": str(chat_id)}, 202


@bp.delete("/simulator/chats/<uuid:chat_id>")
@needs(NEEDS)
@endpoint(status=204, tags=TAGS, summary="Close a chat")
def close_chat(chat_id: UUID) -> None:
    """The conversation stays in the transcript."""
    chats.close(str(chat_id), by=current())
