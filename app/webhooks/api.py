"""The REST door of the webhooks service: endpoints, their secrets, their log, and replay."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Response, current_app
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from app.contracts.problems import Problem
from app.kit.auth import current, needs
from app.kit.db import is_id, transaction
from app.kit.rest import (
    Body,
    Moment,
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
from app.webhooks import commands, providers, queries
from app.webhooks.models import DESCRIPTION_LENGTH, STATUSES, URL_LENGTH, Delivery, Endpoint

bp = api_blueprint("webhooks")

TAGS = ("webhooks",)
CHANGED = {412: ProblemDocument, 428: ProblemDocument}
EXAMPLE = {"url": "https://example.com/hook", "events": ["lead.*", "email.failed"]}


def _left_out() -> None:
    """What the commands take for a missing field; a factory, because the document names no default then."""


class EndpointChange(BaseModel):
    """An endpoint. The commands check it, so that the faults of all fields and of the address are told together."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})

    url: Annotated[
        Any,
        WithJsonSchema(
            {
                "type": "string",
                "format": "uri",
                "maxLength": URL_LENGTH,
                "examples": ["https://example.com/hook"],
            }
        ),
    ] = Field(default_factory=_left_out)
    description: Annotated[
        Any, WithJsonSchema({"type": ["string", "null"], "maxLength": DESCRIPTION_LENGTH})
    ] = None
    events: Annotated[
        Any,
        WithJsonSchema(
            {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string"},
                "description": "Names (`lead.created`), groups (`lead.*`) or `*` for all",
                "examples": [["lead.*", "email.failed"]],
            }
        ),
    ] = Field(default_factory=_left_out)
    enabled: Annotated[Any, WithJsonSchema({"type": ["boolean", "null"]})] = None


class EndpointIn(EndpointChange):
    """A new endpoint."""

    model_config = ConfigDict(
        json_schema_extra={"additionalProperties": False, "required": ["url", "events"]},
    )


class EndpointOut(BaseModel):
    """An endpoint and how it does."""

    id: str
    url: str
    description: str
    events: list[str]
    enabled: bool
    disabled_reason: Literal["by_hand", "gone", "failing"] | None
    disabled_at: str | None
    failing_since: str | None
    last_success_at: str | None
    paused_until: str | None
    secret_rotates_until: str | None
    created_at: str
    version: int


class EndpointMade(EndpointOut):
    """An endpoint with its secret, which is shown this one time."""

    secret: str


class SecretOut(BaseModel):
    """The new secret, shown this one time; the one before it signs too until then."""

    secret: str
    secret_rotates_until: str


class AttemptOut(BaseModel):
    """One call: the answer's HTTP status or the error, and the beginning of the answer."""

    n: int
    at: str
    status: int | None
    error: str | None
    latency_ms: int
    answer: str


class DeliveryOut(BaseModel):
    """A message for an endpoint and what became of it."""

    id: str
    webhook_id: str
    event_id: str
    endpoint_id: str
    type: str
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    next_attempt_at: str | None
    last_status: int | None
    last_error: str | None
    created_at: str
    delivered_at: str | None


class DeliveryDetail(DeliveryOut):
    """A delivery with the body that is sent and the calls, newest first."""

    body: str
    calls: list[AttemptOut]


class DeliveriesQuery(PageQuery):
    """Which deliveries to list."""

    status: Literal["pending", "delivered", "failed"] | None = None
    type: Annotated[str, Field(max_length=60)] | None = None


class ReplayIn(Body):
    """Since when failed deliveries are sent again."""

    since: Moment


class ReplayOut(BaseModel):
    """How many deliveries are sent again."""

    replayed: int


@bp.get("/webhooks")
@needs("webhooks:read")
@endpoint(query=PageQuery, out=Page[EndpointOut], tags=TAGS, summary="List webhook endpoints")
def index(query: PageQuery) -> dict[str, Any]:
    """The oldest first."""
    found = queries.list_endpoints(after=_position(query.cursor), limit=query.limit + 1)
    shown = found[: query.limit]
    return {
        "items": [_endpoint(row) for row in shown],
        "next": encode_cursor(shown[-1].id) if len(found) > query.limit else None,
    }


def _address_problems(body: EndpointChange, **_path: str) -> list[Problem]:
    if not isinstance(body.url, str) or not body.url.strip() or len(body.url) > URL_LENGTH:
        return []  # the command says it
    return providers.address_problems(body.url.strip(), current_app.config["WEBHOOKS_ALLOW_PRIVATE"])


@bp.post("/webhooks")
@needs("webhooks:write")
@endpoint(
    body=EndpointIn,
    before=_address_problems,
    out=EndpointMade,
    status=201,
    etag=True,
    tags=TAGS,
    summary="Add a webhook endpoint",
    example=EXAMPLE,
)
def add(body: EndpointIn, asked: list[Problem]) -> Response:
    """The answer holds the signing secret; keep it, it is not shown again."""
    values = body.model_dump(exclude_unset=True)
    with transaction():
        row, secret = commands.create_endpoint(values, by=current().name, problems=asked)
        document = {**_endpoint(row), "secret": secret}
    return created(document, f"/webhooks/{row.id}", etag=etag_of(row.version))


@bp.get("/webhooks/<endpoint_id>")
@needs("webhooks:read")
@endpoint(out=EndpointOut, etag=True, tags=TAGS, summary="One webhook endpoint")
def show(endpoint_id: str) -> Response:
    """With an ETag for changes."""
    return _shown(queries.get_endpoint(endpoint_id))


@bp.patch("/webhooks/<endpoint_id>")
@needs("webhooks:write")
@endpoint(
    body=EndpointChange,
    before=_address_problems,
    out=EndpointOut,
    etag=True,
    tags=TAGS,
    summary="Change a webhook endpoint",
    also=CHANGED,
    example={"enabled": False},
)
def change(endpoint_id: str, body: EndpointChange, asked: list[Problem]) -> Response:
    """What is left out stays. Switching off lets what waits fail; it can be replayed. Needs If-Match."""
    version = version_to_match()
    values = body.model_dump(exclude_unset=True)
    with transaction():
        return _shown(commands.change_endpoint(endpoint_id, values, version=version, problems=asked))


@bp.delete("/webhooks/<endpoint_id>")
@needs("webhooks:write")
@endpoint(status=204, tags=TAGS, summary="Delete a webhook endpoint", also={412: ProblemDocument})
def remove(endpoint_id: str) -> Response:
    """With its log. If-Match is optional."""
    with transaction():
        commands.delete_endpoint(endpoint_id, version=version_to_match(required=False))
    return Response(status=204)


@bp.post("/webhooks/<endpoint_id>/test")
@needs("webhooks:write")
@endpoint(out=DeliveryOut, status=202, location=True, tags=TAGS, summary="Send a test event")
def test(endpoint_id: str) -> Response:
    """A message of type `endpoint.test`, tried once; follow `Location` to see what became of it."""
    with transaction():
        document = _delivery(commands.send_test(endpoint_id))
    return created(document, f"/webhooks/deliveries/{document['id']}", status=202)


@bp.post("/webhooks/<endpoint_id>/rotate-secret")
@needs("webhooks:write")
@endpoint(out=SecretOut, tags=TAGS, summary="Give an endpoint a new secret")
def rotate(endpoint_id: str) -> dict[str, Any]:
    """For a day, messages are signed with both: change yours within it."""
    with transaction():
        row, secret = commands.rotate_secret(endpoint_id)
        return {"secret": secret, "secret_rotates_until": _iso(row.previous_until)}


@bp.get("/webhooks/<endpoint_id>/deliveries")
@needs("webhooks:read")
@endpoint(query=DeliveriesQuery, out=Page[DeliveryOut], tags=TAGS, summary="An endpoint's deliveries")
def deliveries(endpoint_id: str, query: DeliveriesQuery) -> dict[str, Any]:
    """The newest first."""
    queries.get_endpoint(endpoint_id)
    found = queries.list_deliveries(
        endpoint_id,
        status=query.status,
        event_type=query.type,
        before=_position(query.cursor),
        limit=query.limit + 1,
    )
    shown = found[: query.limit]
    return {
        "items": [_delivery(row) for row in shown],
        "next": encode_cursor(shown[-1].id) if len(found) > query.limit else None,
    }


@bp.post("/webhooks/<endpoint_id>/replay")
@needs("webhooks:write")
@endpoint(
    body=ReplayIn,
    out=ReplayOut,
    status=202,
    tags=TAGS,
    summary="Send all failed deliveries again",
    example={"since": "2026-01-31T08:00:00Z"},
)
def replay_failed(endpoint_id: str, body: ReplayIn) -> dict[str, Any]:
    """Those that failed and were made since then, at most 10,000; tests are left out."""
    with transaction():
        return {"replayed": commands.replay_failed(endpoint_id, body.since)}


@bp.get("/webhooks/deliveries/<delivery_id>")
@needs("webhooks:read")
@endpoint(out=DeliveryDetail, tags=TAGS, summary="One delivery")
def delivery(delivery_id: str) -> dict[str, Any]:
    """With the body that is sent, and the calls."""
    row = queries.get_delivery(delivery_id)
    return {
        **_delivery(row),
        "body": queries.get_message(row.message_id).body.decode(),
        "calls": [
            {name: getattr(call, name) for name in ("n", "status", "error", "latency_ms", "answer")}
            | {"at": _iso(call.at)}
            for call in queries.attempts_of(row.id)
        ],
    }


@bp.post("/webhooks/deliveries/<delivery_id>/replay")
@needs("webhooks:write")
@endpoint(out=DeliveryOut, status=202, tags=TAGS, summary="Send a delivery again")
def replay(delivery_id: str) -> dict[str, Any]:
    """With the same `webhook-id` and bytes, and the whole schedule of tries before it."""
    with transaction():
        return _delivery(commands.replay(delivery_id))


def _position(cursor: str | None) -> str | None:
    values = decode_cursor(cursor, 1)
    if values is None:
        return None
    if not is_id(values[0]):
        raise bad_cursor()
    return values[0]


def _shown(row: Endpoint) -> Response:
    response = to_response(_endpoint(row))
    response.headers["ETag"] = etag_of(row.version)
    return response


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _endpoint(row: Endpoint) -> dict[str, Any]:
    return {
        "id": row.id,
        "url": row.url,
        "description": row.description,
        "events": row.events,
        "enabled": row.enabled,
        "disabled_reason": row.disabled_reason,
        "disabled_at": _iso(row.disabled_at),
        "failing_since": _iso(row.first_failure_at),
        "last_success_at": _iso(row.last_success_at),
        "paused_until": _iso(row.paused_until),
        "secret_rotates_until": _iso(row.previous_until),
        "created_at": _iso(row.created_at),
        "version": row.version,
    }


def _delivery(row: Delivery) -> dict[str, Any]:
    return {
        "id": row.id,
        "webhook_id": row.webhook_id,
        "event_id": row.message_id,
        "endpoint_id": row.endpoint_id,
        "type": row.event_type,
        "status": row.status,
        "attempts": row.attempts,
        "next_attempt_at": _iso(row.next_attempt_at),
        "last_status": row.last_status,
        "last_error": row.last_error,
        "created_at": _iso(row.created_at),
        "delivered_at": _iso(row.delivered_at),
    }


assert set(STATUSES) == set(DeliveryOut.model_fields["status"].annotation.__args__)  # type: ignore[union-attr]
