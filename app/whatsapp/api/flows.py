"""Flows: what the designer in the browser speaks to, and anybody else who designs conversations."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response
from pydantic import BaseModel, Field

from app.kit.auth import current, needs
from app.kit.db import transaction
from app.kit.rest import (
    Body,
    Page,
    PageQuery,
    bad_cursor,
    created,
    decode_cursor,
    encode_cursor,
    endpoint,
    etag_of,
    require_match,
)
from app.kit.rest.endpoint import to_response
from app.kit.rest.openapi import ProblemDocument, ProblemItem
from app.kit.rest.problems import localized
from app.whatsapp import engine
from app.whatsapp.api.blueprint import bp
from app.whatsapp.commands import flows as commands
from app.whatsapp.models import Flow
from app.whatsapp.queries import flows as queries
from app.whatsapp.queries.conversations import id_or_none

TAGS = ("flows",)
CHANGED = {412: ProblemDocument, 428: ProblemDocument}
EXAMPLE = {
    "schema": 1,
    "language": "es",
    "start": "greet",
    "nodes": [
        {"id": "greet", "type": "send_text", "text": "¡Hola {{ contact.name }}!", "exits": {"next": None}}
    ],
}


class FlowIn(Body):
    """A flow's name and draft; without a document it begins with a greeting."""

    name: str = Field(max_length=200)
    document: Any = None


class FlowChange(Body):
    """The draft as it should be."""

    name: str | None = Field(None, max_length=200)
    document: Any


class FlowQuery(PageQuery):
    """What the list accepts."""

    archived: bool = Field(False, description="The archived ones instead of those in use")


class FlowItem(BaseModel):
    """A flow in a list."""

    id: str
    name: str
    revision: int
    published_version: int | None
    keywords: list[str]
    archived: bool
    updated_at: datetime
    updated_by: str


class FlowOut(BaseModel):
    """A flow with its draft; revision is the ETag without its quotes."""

    id: str
    name: str
    document: Any
    revision: int
    published_version: int | None
    updated_at: datetime
    updated_by: str


class Finding(ProblemItem):
    """What is wrong with a flow; `where` is the node's id, empty for the flow as a whole."""

    blocking: bool


class Findings(BaseModel):
    """Everything that is wrong; only blocking findings keep a flow from being published."""

    problems: list[Finding]


class VersionItem(BaseModel):
    """A published version in a list."""

    number: int
    published_at: datetime
    published_by: str


class VersionOut(VersionItem):
    """A published version."""

    document: Any


def show(row: Flow) -> FlowOut:
    """A row as the API tells it."""
    return FlowOut(
        id=row.id,
        name=row.name,
        document=row.draft,
        revision=row.revision,
        published_version=row.published_version,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
    )


def answer(row: Flow) -> Response:
    """The flow with its ETag."""
    response = to_response(show(row))
    response.headers["ETag"] = etag_of(row.revision)
    return response


@bp.get("/flows")
@needs("flows:read")
@endpoint(query=FlowQuery, out=Page[FlowItem], tags=TAGS, summary="All flows that are in use, by name")
def list_flows(query: FlowQuery) -> Page[FlowItem]:
    """Archived ones are left out, unless they are asked for."""
    position = decode_cursor(query.cursor, 2)
    after = (str(position[0]), id_or_none("/cursor", str(position[1])) or "") if position else None
    rows = queries.flows(archived=query.archived, after=after, limit=query.limit + 1)
    last = rows[query.limit - 1] if len(rows) > query.limit else None
    items = [
        FlowItem(
            id=row.id,
            name=row.name,
            revision=row.revision,
            published_version=row.published_version,
            keywords=list(row.keywords or ()),
            archived=row.archived_at is not None,
            updated_at=row.updated_at,
            updated_by=row.updated_by,
        )
        for row in rows[: query.limit]
    ]
    return Page(items=items, next=encode_cursor(last.name, last.id) if last is not None else None)


@bp.post("/flows")
@needs("flows:write")
@endpoint(
    body=FlowIn,
    out=FlowOut,
    status=201,
    etag=True,
    tags=TAGS,
    summary="Add a flow",
    example={"name": "Bienvenida"},
)
def add_flow(body: FlowIn) -> Response:
    """A draft may be unfinished; publishing checks it."""
    with transaction():
        row = commands.create_flow(body.name, body.document, by=current().name)
    return created(show(row), f"/flows/{row.id}", etag=etag_of(row.revision))


@bp.get("/flows/<uuid:flow_id>")
@needs("flows:read")
@endpoint(out=FlowOut, etag=True, tags=TAGS, summary="A flow with its draft")
def get_flow(flow_id: UUID) -> Response:
    """The ETag goes into If-Match of the next PUT."""
    return answer(queries.flow(str(flow_id)))


@bp.put("/flows/<uuid:flow_id>")
@needs("flows:write")
@endpoint(
    body=FlowChange,
    out=FlowOut,
    etag=True,
    tags=TAGS,
    summary="Save the draft",
    also=CHANGED,
    example={"name": "Bienvenida", "document": EXAMPLE},
)
def put_flow(flow_id: UUID, body: FlowChange) -> Response:
    """Refused when somebody else saved meanwhile."""
    row = queries.flow(str(flow_id))
    require_match(row.revision)
    name = row.name if body.name is None else body.name
    revision = row.revision
    with transaction():
        row = commands.save_draft(
            str(flow_id), revision, name=name, document=body.document, by=current().name
        )
    return answer(row)


@bp.delete("/flows/<uuid:flow_id>")
@needs("flows:write")
@endpoint(status=204, tags=TAGS, summary="Archive a flow", also={409: ProblemDocument})
def archive_flow(flow_id: UUID) -> None:
    """Open conversations go on; no new one starts. It can be put back into use."""
    with transaction():
        commands.archive_flow(str(flow_id), by=current().name)


@bp.post("/flows/<uuid:flow_id>/restore")
@needs("flows:write")
@endpoint(out=FlowOut, etag=True, tags=TAGS, summary="Put an archived flow back into use")
def restore_flow(flow_id: UUID) -> Response:
    """Its keywords start it again."""
    with transaction():
        row = commands.restore_flow(str(flow_id), by=current().name)
    return answer(row)


@bp.post("/flows/<uuid:flow_id>/validate")
@needs("flows:read")
@endpoint(out=Findings, tags=TAGS, summary="Everything that is wrong with the draft")
def validate_flow(flow_id: UUID) -> Findings:
    """All at once, each with its node."""
    row = queries.flow(str(flow_id))
    problems = [*engine.validate(row.draft), *queries.rivals(row, row.draft)]
    blocking = {id(item) for item in engine.blocking(problems)}
    return Findings(
        problems=[
            Finding(
                where=item.where,
                code=item.code,
                message=localized(item),
                params=item.params,
                blocking=id(item) in blocking,
            )
            for item in problems
        ]
    )


@bp.post("/flows/<uuid:flow_id>/publish")
@needs("flows:publish")
@endpoint(out=VersionItem, status=201, tags=TAGS, summary="Publish the draft", also={422: ProblemDocument})
def publish_flow(flow_id: UUID) -> Response:
    """Makes an immutable version. Conversations that run stay on theirs."""
    with transaction():
        version = commands.publish_flow(str(flow_id), by=current().name)
        shown = VersionItem(
            number=version.number, published_at=version.published_at, published_by=version.published_by
        )
    return created(shown, f"/flows/{flow_id}/versions/{shown.number}")


@bp.get("/flows/<uuid:flow_id>/versions")
@needs("flows:read")
@endpoint(query=PageQuery, out=Page[VersionItem], tags=TAGS, summary="Published versions, newest first")
def list_flow_versions(flow_id: UUID, query: PageQuery) -> Page[VersionItem]:
    """Without their documents."""
    position = decode_cursor(query.cursor, 1)
    if position is not None and not (type(position[0]) is int and 0 < position[0] <= queries.LARGEST_NUMBER):
        raise bad_cursor()
    rows = queries.versions(str(flow_id), before=position[0] if position else None, limit=query.limit + 1)
    items = [
        VersionItem(number=row.number, published_at=row.published_at, published_by=row.published_by)
        for row in rows[: query.limit]
    ]
    return Page(items=items, next=encode_cursor(items[-1].number) if len(rows) > query.limit else None)


@bp.get("/flows/<uuid:flow_id>/versions/<int:number>")
@needs("flows:read")
@endpoint(out=VersionOut, tags=TAGS, summary="A published version")
def get_flow_version(flow_id: UUID, number: int) -> VersionOut:
    """It never changes."""
    row = queries.version(str(flow_id), number)
    return VersionOut(
        number=row.number, published_at=row.published_at, published_by=row.published_by, document=row.document
    )


@bp.post("/flows/<uuid:flow_id>/versions/<int:number>/restore")
@needs("flows:write")
@endpoint(out=FlowOut, etag=True, tags=TAGS, summary="Make the draft equal to a version")
def restore_flow_version(flow_id: UUID, number: int) -> Response:
    """Publishes nothing."""
    with transaction():
        row = commands.restore_version(str(flow_id), number, by=current().name)
    return answer(row)
