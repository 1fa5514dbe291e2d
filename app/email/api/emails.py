"""Mails by REST: send one, list them, see what became of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response, current_app
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from app.contracts.problems import Problem, problem
from app.email import commands, queries
from app.email.address import Address, parse_address
from app.email.api.blueprint import bp
from app.email.models import ADDRESS_LENGTH, CATEGORIES, STATUSES, Happening, Message
from app.email.providers.dns import accepts_mail
from app.email.render import SOURCE_BYTES, SUBJECT_CHARS
from app.kit.auth import current, needs
from app.kit.db import is_id, transaction
from app.kit.rest import Page, PageQuery, bad_cursor, created, decode_cursor, encode_cursor, endpoint


def _text(limit: int, **more: Any) -> Any:
    return WithJsonSchema({"type": ["string", "null"], "maxLength": limit, **more})


def _left_out() -> None:
    """What the commands take for a missing field; a factory, because the document names no default then."""


class EmailIn(BaseModel):
    """A mail to send: a template with its variables, or a subject with html or text (or both).

    The commands check it, so that faults of fields, address, template and variables are told together.
    """

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"additionalProperties": False, "required": ["to"]}
    )

    to: Annotated[
        Any,
        WithJsonSchema({"type": "string", "maxLength": ADDRESS_LENGTH, "examples": ["lucia@example.com"]}),
    ] = Field(default_factory=_left_out)
    template: Annotated[Any, _text(60, description="Key of a template", examples=["welcome"])] = None
    language: Annotated[Any, _text(5, description="Of the template; left out: the first that exists")] = None
    variables: Annotated[Any, WithJsonSchema({"type": ["object", "null"]})] = None
    subject: Annotated[Any, _text(SUBJECT_CHARS)] = None
    html: Annotated[Any, _text(SOURCE_BYTES)] = None
    text: Annotated[Any, _text(SOURCE_BYTES, description="Left out: made from html")] = None
    category: Annotated[
        Any, _text(14, description="Of a mail without a template", examples=list(CATEGORIES))
    ] = None
    lead_id: Annotated[Any, _text(36, description="The lead whose mail it is")] = None


class EmailOut(BaseModel):
    """A mail and what became of it."""

    id: str
    to: str
    subject: str
    status: Literal["queued", "sending", "deferred", "sent", "failed", "unknown", "cancelled", "suppressed"]
    delivery: str | None = Field(description="The furthest that the provider has told")
    category: Literal["transactional", "marketing"]
    template: str | None
    language: str | None
    template_version: int | None
    lead_id: str | None
    attempts: int
    next_attempt_at: str | None
    provider: str | None
    provider_message_id: str | None
    error: str | None
    created_at: str
    sent_at: str | None


class EmailEventOut(BaseModel):
    """Something that the provider told of a mail."""

    kind: str
    at: str
    provider: str
    reason: str | None
    detail: str | None
    url: str | None


class EmailDetail(EmailOut):
    """A mail with what it says, and what the provider told of it, newest first."""

    events: list[EmailEventOut]

    html: str | None
    text: str
    variables: dict[str, Any]


class EmailQuery(PageQuery):
    """Which mails to list."""

    status: (
        Literal["queued", "sending", "deferred", "sent", "failed", "unknown", "cancelled", "suppressed"]
        | None
    ) = None
    lead_id: Annotated[str, Field(max_length=36)] | None = None


def _dead_domain(body: EmailIn) -> list[Problem]:
    address = parse_address(body.to) if isinstance(body.to, str) else None
    if not isinstance(address, Address) or not current_app.config.get("EMAIL_CHECK_DNS"):
        return []
    if accepts_mail(address.domain) is False:
        return [
            problem("/to", "no_mail_domain", "The domain %(domain)s accepts no mail.", domain=address.domain)
        ]
    return []


@bp.post("/email")
@needs("email:send")
@endpoint(
    body=EmailIn,
    before=_dead_domain,
    out=EmailOut,
    status=202,
    location=True,
    tags=("email",),
    summary="Send an e-mail",
    example={"to": "lucia@example.com", "template": "welcome", "variables": {"name": "Lucía"}},
)
def send(body: EmailIn, asked: list[Problem]) -> Response:
    """Queued; follow `Location` to see what becomes of it."""
    order, problems = commands.read_order(body.model_dump(exclude_unset=True), by=current().name)
    with transaction():
        message = commands.queue_email(order, [*problems, *asked])
        document = _email(message)
    return created(document, f"/email/{message.id}", status=202)


@bp.get("/email")
@needs("email:read")
@endpoint(query=EmailQuery, out=Page[EmailOut], tags=("email",), summary="List e-mails")
def index(query: EmailQuery) -> dict[str, Any]:
    """Newest first."""
    position = decode_cursor(query.cursor, 1)
    if position is not None and not is_id(position[0]):
        raise bad_cursor()
    found = queries.list_messages(
        status=query.status,
        lead_id=query.lead_id,
        before=position[0] if position else None,
        limit=query.limit + 1,
    )
    shown = found[: query.limit]
    return {
        "items": [_email(message) for message in shown],
        "next": encode_cursor(shown[-1].id) if len(found) > query.limit else None,
    }


@bp.get("/email/<message_id>")
@needs("email:read")
@endpoint(out=EmailDetail, tags=("email",), summary="One e-mail")
def show(message_id: str) -> dict[str, Any]:
    """With what it says, and what became of it."""
    message = queries.get_message(message_id)
    return {
        **_email(message),
        "html": message.html,
        "text": message.text,
        "variables": message.variables,
        "events": [_event(row) for row in queries.happenings_of(message.id)],
    }


def _email(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "to": message.to,
        "subject": message.subject,
        "status": message.status,
        "delivery": message.delivery,
        "category": message.category,
        "template": message.template,
        "language": message.template_language,
        "template_version": message.template_version,
        "lead_id": message.lead_id,
        "attempts": message.attempts,
        "next_attempt_at": message.next_attempt_at.isoformat() if message.next_attempt_at else None,
        "provider": message.provider,
        "provider_message_id": message.provider_message_id,
        "error": message.last_error,
        "created_at": message.created_at.isoformat(),
        "sent_at": message.sent_at.isoformat() if message.sent_at else None,
    }


def _event(row: Happening) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "at": row.at.isoformat(),
        "provider": row.provider,
        "reason": row.reason,
        "detail": row.detail,
        "url": row.url,
    }


assert set(STATUSES) == set(EmailOut.model_fields["status"].annotation.__args__)  # type: ignore[union-attr]
