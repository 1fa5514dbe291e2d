"""Leads over HTTP: the paths of the specification, `/leads` and below.

A request's values go to the commands as they came: the commands tell every problem of every field at once, and the
same ones that forms and imports are told.
"""

from __future__ import annotations

from typing import Any

from flask import Response, request

from app.kit.auth import current, needs
from app.kit.db import db, transaction
from app.kit.errors import NotFound
from app.kit.rest import (
    Page,
    PageQuery,
    api_blueprint,
    bad_cursor,
    created,
    decode_cursor,
    encode_cursor,
    endpoint,
    etag_of,
    version_to_match,
)
from app.kit.rest.endpoint import to_response
from app.kit.rest.openapi import ProblemDocument
from app.leads import commands
from app.leads.api.schemas import (
    EventOut,
    LeadAnswer,
    LeadIn,
    LeadKeptAnswer,
    LeadOut,
    LeadQuery,
    NoteIn,
    StageOut,
)
from app.leads.models import Lead, LeadEvent, Stage
from app.leads.queries import cached, funnel, lists, people

bp = api_blueprint("leads")

TAGS = ("leads",)
EXAMPLE = {
    "name": "Lucía Fernández",
    "email": "lucia@example.com",
    "phone": "+34 600 000 012",
    "tags": ["fair"],
}
CHANGE_ANSWERS = {409: ProblemDocument, 412: ProblemDocument, 428: ProblemDocument}


@bp.post("/leads")
@needs("leads:write")
@endpoint(
    body=LeadIn,
    out=LeadKeptAnswer,
    status=201,
    tags=TAGS,
    summary="Keep a lead",
    also={200: LeadKeptAnswer, 409: ProblemDocument},
    etag=True,
    location=True,
    example=EXAMPLE,
)
def add(body: LeadIn) -> Response:
    """201 for somebody new; 200 with `found: true` when the phone or e-mail is a lead's already."""
    with transaction():
        values = {"source": "api", **_given(body)}
        lead, is_new = commands.create_lead(values, by=current())
        document = {**_document(lead), "found": not is_new}
    status = 201 if is_new else 200
    return created(document, f"/leads/{lead.id}", etag=etag_of(lead.version), status=status)


@bp.get("/leads")
@needs("leads:read")
@endpoint(query=LeadQuery, out=Page[LeadOut], tags=TAGS, summary="List leads")
def index(query: LeadQuery) -> dict[str, Any]:
    """Filtered, sorted, paged by cursor; sellers see their own. `phone` or `email` alone is answered fastest."""
    if (name := query.asks_only_for()) is not None:
        found = people.find_document(people.IDENTITIES[name], getattr(query, name), current())
        return {"items": [found] if found else [], "next": None}
    after = None
    given = decode_cursor(query.cursor, 3)
    if given is not None:
        try:
            if given[0] != query.sort:
                raise ValueError("cursor of another order")
            after = lists.position_from(query.sort, given[1:])
        except ValueError:
            raise bad_cursor() from None
    rows, further = lists.page(query.filters(), by=current(), sort=query.sort, after=after, limit=query.limit)
    return {
        "items": [cached.as_document(lead) for lead in rows],
        "next": None if further is None else encode_cursor(query.sort, *lists.position_text(further)),
    }


@bp.get("/leads/<lead_id>")
@needs("leads:read")
@endpoint(out=LeadOut, etag=True, tags=TAGS, summary="One lead", also={304: None})
def show(lead_id: str) -> Response:
    """With its ETag; If-None-Match is answered with 304."""
    document = cached.lead_document(lead_id, current())
    tag = etag_of(document["version"])
    if request.if_none_match.contains_weak(str(document["version"])):
        response = Response(status=304)
    else:
        response = to_response(document)
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@bp.put("/leads/<lead_id>")
@needs("leads:write")
@endpoint(
    body=LeadIn,
    out=LeadAnswer,
    etag=True,
    tags=TAGS,
    summary="Replace a lead",
    also=CHANGE_ANSWERS,
    example=EXAMPLE,
)
def replace(lead_id: str, body: LeadIn) -> Response:
    """Fields that are left out become blank. Needs If-Match."""
    return _change(lead_id, body, whole=True)


@bp.patch("/leads/<lead_id>")
@needs("leads:write")
@endpoint(
    body=LeadIn,
    out=LeadAnswer,
    etag=True,
    tags=TAGS,
    summary="Change some fields",
    also=CHANGE_ANSWERS,
    example={"stage": "won", "custom": {"plan": None}},
)
def change(lead_id: str, body: LeadIn) -> Response:
    """A merge patch (RFC 7396): what is left out stays, null clears; in `custom` key by key. Needs If-Match."""
    return _change(lead_id, body, whole=False)


@bp.delete("/leads/<lead_id>")
@needs("leads:write")
@endpoint(status=204, tags=TAGS, summary="Delete a lead", also={412: ProblemDocument})
def remove(lead_id: str) -> Response:
    """It can be restored. If-Match is optional."""
    with transaction():
        commands.delete_lead(lead_id, by=current(), version=version_to_match(required=False))
    return Response(status=204)


@bp.post("/leads/<lead_id>/restore")
@needs("leads:write")
@endpoint(out=LeadAnswer, etag=True, tags=TAGS, summary="Undo a deletion", also={409: ProblemDocument})
def restore(lead_id: str) -> Response:
    """409 when the phone or e-mail is another lead's by now."""
    with transaction():
        return _shown(commands.restore_lead(lead_id, by=current()))


@bp.get("/leads/<lead_id>/events")
@needs("leads:read")
@endpoint(query=PageQuery, out=Page[EventOut], tags=TAGS, summary="A lead's timeline")
def events(lead_id: str, query: PageQuery) -> dict[str, Any]:
    """Newest first."""
    given = decode_cursor(query.cursor, 1)
    before = None
    if given is not None:
        try:
            before = cached.canonical(str(given[0]))
        except NotFound:
            raise bad_cursor() from None
    lines = funnel.timeline(lead_id, current(), before=before, limit=query.limit + 1)
    shown = lines[: query.limit]
    return {
        "items": [_event(line) for line in shown],
        "next": encode_cursor(shown[-1].id) if len(lines) > query.limit else None,
    }


@bp.post("/leads/<lead_id>/events")
@needs("leads:write")
@endpoint(
    body=NoteIn,
    out=EventOut,
    status=201,
    tags=TAGS,
    summary="Write a note into the timeline",
    example={"text": "Called, wants an offer by Friday."},
)
def write_note(lead_id: str, body: NoteIn) -> Response:
    """The only kind of line that is written by hand."""
    with transaction():
        line = commands.add_note(lead_id, body.text, by=current())
        return created(_event(line), f"/leads/{lead_id}/events")


@bp.get("/stages")
@needs("leads:read")
@endpoint(out=Page[StageOut], tags=TAGS, summary="The funnel's stages")
def stages() -> dict[str, Any]:
    """All of them, in order."""
    return {"items": [_stage(stage) for stage in funnel.stages()], "next": None}


def _given(body: LeadIn) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True)


def _change(lead_id: str, body: LeadIn, *, whole: bool) -> Response:
    version = version_to_match()
    with transaction():
        lead = commands.change_lead(lead_id, _given(body), by=current(), version=version, whole=whole)
        return _shown(lead)


def _shown(lead: Lead) -> Response:
    db.session.flush()
    response = to_response(_document(lead))
    response.headers["ETag"] = etag_of(lead.version)
    return response


def _document(lead: Lead) -> dict[str, Any]:
    """A form's key that only writes must not tell who has a telephone number, whatever it writes."""
    if current().may("leads:read"):
        return cached.as_document(lead)
    return {"id": lead.id, "version": lead.version}


def _event(line: LeadEvent) -> dict[str, Any]:
    return {"id": line.id, "what": line.what, "by": line.by, "at": line.at.isoformat(), "data": line.data}


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "key": stage.key,
        "name_en": stage.name_en,
        "name_es": stage.name_es,
        "colour": stage.colour,
        "position": stage.position,
        "kind": stage.kind,
    }
