"""The suppression list by REST."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response
from pydantic import BaseModel, Field

from app.email import commands, queries
from app.email.api.blueprint import bp
from app.email.models import ADDRESS_LENGTH, REASONS, SCOPES, Suppression
from app.kit.auth import current, needs
from app.kit.db import is_id, transaction
from app.kit.rest import Body, Page, PageQuery, bad_cursor, created, decode_cursor, encode_cursor, endpoint

TAGS = ("email",)


class SuppressionIn(Body):
    """An address that should get no more mail (`all`), or no more marketing."""

    address: Annotated[str, Field(max_length=ADDRESS_LENGTH, examples=["lucia@example.com"])]
    scope: Literal["all", "marketing"] = "all"
    note: Annotated[str, Field(max_length=300)] = ""


class SuppressionOut(BaseModel):
    """An address that gets no mail, and why."""

    id: str
    address: str
    scope: Literal["all", "marketing"]
    reason: Literal["bounced", "complained", "unsubscribed", "manual"]
    message_id: str | None
    note: str
    created_at: str
    created_by: str


class SuppressionsQuery(PageQuery):
    """Which suppressions to list."""

    address: Annotated[str, Field(max_length=ADDRESS_LENGTH)] | None = None


@bp.get("/email/suppressions")
@needs("email:read")
@endpoint(query=SuppressionsQuery, out=Page[SuppressionOut], tags=TAGS, summary="List suppressed addresses")
def suppressions(query: SuppressionsQuery) -> dict[str, Any]:
    """The newest first."""
    position = decode_cursor(query.cursor, 1)
    if position is not None and not is_id(position[0]):
        raise bad_cursor()
    found = queries.list_suppressions(
        address=query.address, before=position[0] if position else None, limit=query.limit + 1
    )
    shown = found[: query.limit]
    return {
        "items": [_shown(row) for row in shown],
        "next": encode_cursor(shown[-1].id) if len(found) > query.limit else None,
    }


@bp.post("/email/suppressions")
@needs("email:write")
@endpoint(
    body=SuppressionIn,
    out=SuppressionOut,
    status=201,
    tags=TAGS,
    summary="Suppress an address",
    example={"address": "lucia@example.com", "scope": "marketing"},
)
def suppress(body: SuppressionIn) -> Response:
    """By hand; bounces, complaints and unsubscribing add theirs by themselves."""
    with transaction():
        document = _shown(commands.add_suppression(body.model_dump(), by=current().name))
    return created(document, f"/email/suppressions/{document['id']}")


@bp.get("/email/suppressions/<suppression_id>")
@needs("email:read")
@endpoint(out=SuppressionOut, tags=TAGS, summary="One suppressed address")
def suppression(suppression_id: str) -> dict[str, Any]:
    """And why it is suppressed."""
    return _shown(queries.get_suppression(suppression_id))


@bp.delete("/email/suppressions/<suppression_id>")
@needs("email:write")
@endpoint(status=204, tags=TAGS, summary="Let mail to an address through again")
def remove(suppression_id: str) -> Response:
    """Whoever unsubscribed should not be put back without having asked for it."""
    with transaction():
        commands.remove_suppression(suppression_id, by=current().name)
    return Response(status=204)


def _shown(row: Suppression) -> dict[str, Any]:
    return {
        "id": row.id,
        "address": row.address,
        "scope": row.scope,
        "reason": row.reason,
        "message_id": row.message_id,
        "note": row.note,
        "created_at": row.created_at.isoformat(),
        "created_by": row.created_by,
    }


assert set(SCOPES) == set(SuppressionOut.model_fields["scope"].annotation.__args__)  # type: ignore[union-attr]
assert set(REASONS) == set(SuppressionOut.model_fields["reason"].annotation.__args__)  # type: ignore[union-attr]
