"""One decorator turns a function over pydantic models into an endpoint.

::

    @bp.post("/leads")
    @needs("leads:write")
    @endpoint(body=LeadIn, out=LeadOut, status=201, summary="Add a lead")
    def add(body: LeadIn) -> Response:
        with transaction():
            lead = create_lead(body.model_dump(), by=current())
        return created(show(lead), f"/leads/{lead.id}", etag=etag_of(lead.version))

The view gets `body` and/or `query` and returns a model, a dict, (either, status), or a Response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import islice
from typing import Any, TypeVar

import orjson
from flask import Blueprint, Response, current_app, g, request
from pydantic import BaseModel, ConfigDict, ValidationError

from app.contracts.problems import MOST_SHOWN, escaped, problem
from app.kit import auth, db
from app.kit.errors import (
    BadRequest,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    TooLarge,
    TooMany,
    UnsupportedMediaType,
)
from app.kit.resilience import TokenBucket
from app.kit.rest import idempotency, openapi
from app.kit.rest.findings import problems_of

BODY_BYTES = 1_000_000
"""The longest JSON body; doors with another need say so."""

NO_VERSION = -1
"""No version is negative."""

DEPTH = 50
"""Levels of lists and objects in a body: far more than a flow has, far fewer than break those who read it later."""

View = TypeVar("View", bound=Callable[..., Any])


class Body(BaseModel):
    """Base of request bodies: unknown fields are problems, text is stripped of surrounding blanks."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


def api_blueprint(service: str, name: str = "api") -> Blueprint:
    """A blueprint whose errors are always problem+json and whose POSTs may carry an Idempotency-Key."""
    bp = Blueprint(f"{service}_{name}", f"app.{service}")
    bp.embudo_service = service  # type: ignore[attr-defined]

    @bp.before_request
    def _mark() -> None:
        g.embudo_api = True
        g.embudo_service = service

    return bp


def endpoint(
    *,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    before: Callable[..., Any] | None = None,
    out: Any = None,
    status: int = 200,
    tags: tuple[str, ...],
    summary: str,
    max_body: int = BODY_BYTES,
    also: dict[int, Any] | None = None,
    etag: bool = False,
    location: bool | None = None,
    example: Any = None,
) -> Callable[[View], Callable[..., Any]]:
    """See the module.

    before: asks others, such as the DNS, while no transaction is open: a POST with an Idempotency-Key is answered inside
    one. It gets what the view gets; what it gives is the view's argument `asked`.

    The rest is for the OpenAPI document:

    also: further answers, {status: model or None}. etag, location: the good answers carry that header (location:
    when not said, those that are 201). example: of a body.
    """
    also = also or {}

    def decorate(view: View) -> Callable[..., Any]:
        @wraps(view)
        def answer(*args: Any, **kwargs: Any) -> Response:
            _limit_rate()
            request.max_content_length = max_body
            if any(isinstance(part, str) and "\0" in part for part in kwargs.values()):
                raise NotFound("such thing")  # PostgreSQL would not even look for it
            if query is not None:
                kwargs["query"] = _validated(query, _storable(request.args.to_dict()), "query")
            if body is not None:
                kwargs["body"] = _validated(body, read_json(max_body), "body")
            if before is not None:
                db.db.session.rollback()  # ends the read of who is asking
                kwargs["asked"] = before(*args, **kwargs)
            if request.method == "POST":
                return idempotency.once(
                    g.get("embudo_service", ""), lambda: to_response(view(*args, **kwargs), status)
                )
            return to_response(view(*args, **kwargs), status)

        operation = openapi.Operation(
            summary=summary,
            tags=tags,
            answers={status: out, **{code: model for code, model in also.items() if code < 400}},
            refusals=frozenset(code for code in also if code >= 400),
            body=body,
            query=query,
            etag=etag,
            location=status == 201 if location is None else location,
            example=example,
        )
        return openapi.describe(answer, operation)

    return decorate


def _limit_rate() -> None:
    principal = auth.current()
    if principal.kind == "system":
        return
    bucket = TokenBucket(
        name=f"api:{principal.identity}",
        rate=current_app.config["API_RATE_PER_SECOND"],
        burst=current_app.config["API_BURST"],
    )
    wait = bucket.take_soon()
    if wait:
        raise TooMany(wait)


def read_json(max_body: int = BODY_BYTES) -> Any:
    """The JSON body; raises UnsupportedMediaType, TooLarge, BadRequest with the place of the mistake."""
    if request.mimetype not in {"application/json", "application/merge-patch+json"}:
        raise UnsupportedMediaType("Send the body as JSON with “Content-Type: application/json”.")
    if request.content_length is not None and request.content_length > max_body:
        raise TooLarge("The body may have at most %(limit)s bytes.", limit=f"{max_body:,}")
    request.max_content_length = max_body
    try:
        found = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    if _is_deeper(found, DEPTH):
        raise BadRequest(f"The body is nested too deeply: JSON of more than {DEPTH} levels is not read.")
    return _storable(found)


def _storable(value: Any) -> Any:
    unstorable = [
        problem(where, "nul_character", "The text holds a NUL character.")
        for where in islice(_with_nul(value), MOST_SHOWN)
    ]
    if unstorable:
        raise Invalid(unstorable)
    return value


def _with_nul(value: Any, where: str = "") -> Iterator[str]:
    """JSON pointers of the texts that PostgreSQL could not keep."""
    if isinstance(value, str):
        if "\0" in value:
            yield where or "/"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if "\0" in key:
                yield where or "/"
            yield from _with_nul(inner, f"{where}/{escaped(key)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _with_nul(inner, f"{where}/{index}")


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)


def _validated(model: type[BaseModel], data: Any, what: str) -> BaseModel:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Invalid(problems_of(error)) from None
    except RecursionError:
        raise BadRequest(f"The {what} is nested too deeply.") from None


def to_response(result: Any, status: int = 200) -> Response:
    """A model, mapping, list, None (204) or (one of them, status) as a JSON response."""
    if isinstance(result, Response):
        return result
    if isinstance(result, tuple):
        result, status = result
    if result is None:
        return Response(status=204 if status == 200 else status)
    payload = result.model_dump_json().encode() if isinstance(result, BaseModel) else orjson.dumps(result)
    return Response(payload, status=status, mimetype="application/json")


def created(result: Any, location: str, *, etag: str | None = None, status: int = 201) -> Response:
    """201 with Location, and ETag when the thing has versions."""
    response = to_response(result, status)
    response.headers["Location"] = location
    if etag is not None:
        response.headers["ETag"] = etag
    return response


def etag_of(version: int | str) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def if_match() -> str | None:
    """The If-Match header without its quotes, or None."""
    given = request.headers.get("If-Match")
    return given.strip().removeprefix("W/").strip('"') if given else None


def require_match(version: int | str, *, required: bool = True) -> None:
    """Raises 428 without If-Match (when required), 412 when it names another version; “*” matches any."""
    given = if_match()
    if given is None:
        if required:
            raise _unconditional()
        return
    if given not in {"*", str(version)}:
        raise PreconditionFailed("Somebody changed this meanwhile; read it again and repeat your change.")


def version_to_match(*, required: bool = True) -> int | None:
    """The version that If-Match names, for a command that compares; None: any. Raises 428 without it (when required).

    An ETag that we never gave out is NO_VERSION: it matches nothing, but a thing that is missing is still a 404.
    """
    given = if_match()
    if given is None and required:
        raise _unconditional()
    if given is None or given == "*":
        return None
    return int(given) if given.isascii() and given.isdigit() and len(given) < 10 else NO_VERSION


def _unconditional() -> PreconditionRequired:
    return PreconditionRequired("Send If-Match with the ETag you last saw, so that no change is lost.")
