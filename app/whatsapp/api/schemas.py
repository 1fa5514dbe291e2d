"""What goes in and out of the REST door; the OpenAPI document is made of these."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.kit.rest import Body, PageQuery
from app.whatsapp.models import Conversation, Message
from app.whatsapp.queries import flows as flow_queries


class ChoiceOut(BaseModel):
    """An answer offered to the contact."""

    id: str
    label: str


class MessageOut(BaseModel):
    """Something said; `from` tells bot, person and contact apart."""

    id: str
    direction: Literal["in", "out"]
    kind: str
    text: str
    choices: list[ChoiceOut]
    choice: str | None
    status: str
    author: str
    error: str | None
    error_code: str | None
    at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None


class FlowRef(BaseModel):
    """Which flow, pinned to which version."""

    id: str
    name: str
    version: int


class ContactOut(BaseModel):
    """Who it is; phone is null for people who hide their number."""

    id: str
    user_id: str
    phone: str | None
    name: str
    mode: Literal["bot", "human"]
    owner_id: int | None
    lead_id: str | None


class ConversationOut(BaseModel):
    """A run of a flow with a contact."""

    id: str
    status: str
    channel_id: str
    contact: ContactOut
    flow: FlowRef
    node: str | None
    note: str
    error: str | None
    started_by: str
    started_at: datetime
    updated_at: datetime
    expires_at: datetime | None


class RunOut(ConversationOut):
    """The state of a run: where it is, what was answered, what was said."""

    answers: dict[str, Any]
    path: list[str]
    messages: list[MessageOut]


class StartIn(Body):
    """Whom to start which flow with. Say `to` or `user_id`."""

    channel_id: str | None = Field(None, description="Needed when there are several channels")
    to: str | None = Field(None, max_length=40, description="Phone number, E.164", examples=["+34600000001"])
    user_id: str | None = Field(
        None, max_length=200, description="The provider's id of somebody without a number"
    )
    flow: str | None = Field(
        None, max_length=200, description="Id or name; the channel's default flow otherwise"
    )
    variables: dict[str, Any] = Field(default_factory=dict)


class StartedOut(BaseModel):
    """The run that was started."""

    id: str
    status: str
    contact_id: str
    flow: FlowRef


class ConversationQuery(PageQuery):
    """Filters of the list."""

    status: Literal["running", "waiting", "completed", "expired", "handed_over", "failed"] | None = None
    channel_id: str | None = None
    contact_id: str | None = None
    flow_id: str | None = None


class ReplyIn(Body):
    """What a person writes."""

    text: str


def show_message(row: Message) -> MessageOut:
    """A row as the API tells it."""
    return MessageOut(
        id=row.id,
        direction="in" if row.direction == "in" else "out",
        kind=row.kind,
        text=row.text,
        choices=[ChoiceOut(id=item["id"], label=item["label"]) for item in row.choices or ()],
        choice=row.choice_id,
        status=row.status,
        author=row.author,
        error=row.last_error if row.status in ("failed", "unknown") else None,
        error_code=row.error_code if row.status in ("failed", "unknown") else None,
        at=row.created_at,
        sent_at=row.sent_at,
        delivered_at=row.delivered_at,
        read_at=row.read_at,
    )


def conversation_fields(row: Conversation) -> dict[str, Any]:
    """A conversation's fields, for ConversationOut and RunOut."""
    contact = row.contact
    return {
        "id": row.id,
        "status": row.status,
        "channel_id": row.channel_id,
        "contact": ContactOut(
            id=contact.id,
            user_id=contact.user_id,
            phone=contact.phone,
            name=contact.name,
            mode="human" if contact.mode == "human" else "bot",
            owner_id=contact.owner_id,
            lead_id=contact.lead_id,
        ),
        "flow": FlowRef(id=row.flow_id, name=row.flow.name, version=row.version),
        "node": flow_queries.node_of(row),
        "note": row.note,
        "error": row.error,
        "started_by": row.started_by,
        "started_at": row.started_at,
        "updated_at": row.updated_at,
        "expires_at": row.expires_at,
    }


def show_conversation(row: Conversation) -> ConversationOut:
    """A row as the API tells it."""
    return ConversationOut(**conversation_fields(row))
