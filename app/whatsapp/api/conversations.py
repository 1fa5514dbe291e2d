"""Conversations: read them, answer in person, give them back to the bot."""

from __future__ import annotations

from uuid import UUID

from flask import Response

from app.kit.auth import current, needs
from app.kit.db import transaction
from app.kit.rest import Page, PageQuery, bad_cursor, created, decode_cursor, encode_cursor, endpoint
from app.whatsapp.api.blueprint import bp
from app.whatsapp.api.schemas import (
    ConversationOut,
    ConversationQuery,
    MessageOut,
    ReplyIn,
    show_conversation,
    show_message,
)
from app.whatsapp.commands import talk
from app.whatsapp.queries import conversations as queries
from app.whatsapp.queries.flows import LARGEST_NUMBER

TAGS = ("conversations",)


@bp.get("/conversations")
@needs("conversations:read")
@endpoint(
    query=ConversationQuery, out=Page[ConversationOut], tags=TAGS, summary="Conversations, newest first"
)
def conversations(query: ConversationQuery) -> Page[ConversationOut]:
    """Sellers see those of their own leads."""
    position = decode_cursor(query.cursor, 1)
    rows = queries.conversations(
        current(),
        status=query.status,
        channel_id=queries.id_or_none("/channel_id", query.channel_id),
        contact_id=queries.id_or_none("/contact_id", query.contact_id),
        flow_id=queries.id_or_none("/flow_id", query.flow_id),
        before=queries.id_or_none("/cursor", position[0]) if position else None,
        limit=query.limit + 1,
    )
    following = encode_cursor(rows[query.limit - 1].id) if len(rows) > query.limit else None
    return Page(items=[show_conversation(row) for row in rows[: query.limit]], next=following)


@bp.get("/conversations/<uuid:conversation_id>")
@needs("conversations:read")
@endpoint(out=ConversationOut, tags=TAGS, summary="One conversation")
def conversation(conversation_id: UUID) -> ConversationOut:
    """Without its messages."""
    return show_conversation(queries.conversation(str(conversation_id), current()))


@bp.get("/conversations/<uuid:conversation_id>/messages")
@needs("conversations:read")
@endpoint(query=PageQuery, out=Page[MessageOut], tags=TAGS, summary="What was said, in order")
def messages(conversation_id: UUID, query: PageQuery) -> Page[MessageOut]:
    """The oldest first."""
    row = queries.conversation(str(conversation_id), current())
    position = decode_cursor(query.cursor, 1)
    if position is not None and not (type(position[0]) is int and 0 <= position[0] <= LARGEST_NUMBER):
        raise bad_cursor()
    rows = queries.page_of_messages(row.id, after=position[0] if position else 0, limit=query.limit + 1)
    shown = rows[: query.limit]
    following = encode_cursor(shown[-1].position) if len(rows) > query.limit else None
    return Page(items=[show_message(message) for message in shown], next=following)


@bp.post("/conversations/<uuid:conversation_id>/messages")
@needs("conversations:write")
@endpoint(
    body=ReplyIn,
    out=MessageOut,
    status=201,
    tags=TAGS,
    summary="Answer in person",
    example={"text": "Hola Lucía, soy Marta. ¿Le llamo mañana?"},
)
def reply(conversation_id: UUID, body: ReplyIn) -> Response:
    """The bot stays silent from now on, until the conversation is returned to it."""
    principal = current()
    row = queries.conversation(str(conversation_id), principal)
    contact_id = row.contact_id
    with transaction():
        message = talk.write_as_person(contact_id, body.text, by=principal.name)
        answer = show_message(message)
    return created(answer, f"/conversations/{conversation_id}/messages")


@bp.post("/conversations/<uuid:conversation_id>/take-over")
@needs("conversations:write")
@endpoint(out=ConversationOut, tags=TAGS, summary="Silence the bot")
def take_over(conversation_id: UUID) -> ConversationOut:
    """A person goes on with this contact."""
    contact_id = queries.conversation(str(conversation_id), current()).contact_id
    with transaction():
        talk.take_over(contact_id)
    return show_conversation(queries.conversation(str(conversation_id), current()))


@bp.post("/conversations/<uuid:conversation_id>/return-to-bot")
@needs("conversations:write")
@endpoint(out=ConversationOut, tags=TAGS, summary="Let the bot answer again")
def return_to_bot(conversation_id: UUID) -> ConversationOut:
    """From the contact's next message on."""
    contact_id = queries.conversation(str(conversation_id), current()).contact_id
    with transaction():
        talk.return_to_bot(contact_id)
    return show_conversation(queries.conversation(str(conversation_id), current()))
