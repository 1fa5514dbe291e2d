"""The OpenAPI 3.1 document is made from the same models that validate, so it cannot promise something else.

spectree renders the paths and the models; validation is ours (endpoint.py), because problem+json with all problems,
malformed JSON and Idempotency-Key are ours anyway. What all operations have in common (headers, refusals, who may
call) is added here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask, current_app
from pydantic import BaseModel, Field
from spectree import Response as Answers
from spectree import SecurityScheme, SpecTree
from spectree.models import InType, SecureType, SecuritySchemeData
from spectree.plugins.flask_plugin import FlaskPlugin

from app.kit.rest import parts

API_VERSION = "1.0.0"

JSON = "application/json"

View = TypeVar("View", bound=Callable[..., Any])


class ProblemItem(BaseModel):
    """One thing that is wrong."""

    where: str = Field(description="JSON pointer into the input, or a flow's node id", examples=["/email"])
    code: str = Field(description="For programs: does not change with the language", examples=["required"])
    message: str = Field(description="For people, in the language that Accept-Language asks for")
    params: dict[str, Any] = Field(default_factory=dict, description="The values inside the message")


class ProblemDocument(BaseModel):
    """RFC 9457 problem details; `errors` lists everything that is wrong at once."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked for")
    request_id: str | None = Field(None, description="Tell it to support; it is in every log line")
    errors: list[ProblemItem] = Field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What a view says of itself.

    answers: status → model or None, the good ones first. refusals: the statuses it may be refused with besides
    those that every operation shares. etag, location: the good answers carry that header; says: other headers of
    theirs, by their names in parts.HEADERS. bodies: schema per Content-Type of a body that no model describes;
    content: Content-Type of a good answer that is not JSON.
    """

    summary: str
    tags: tuple[str, ...]
    answers: Mapping[int, Any]
    refusals: frozenset[int] = frozenset()
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    etag: bool = False
    location: bool = False
    example: Any = None
    bodies: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    headers: tuple[Mapping[str, Any], ...] = ()
    says: tuple[str, ...] = ()


def describe(view: View, operation: Operation) -> View:
    """Put a view into the document; functools.wraps carries the mark through decorators above."""
    view.embudo_operation = operation  # type: ignore[attr-defined]
    return view


def documented(
    *,
    summary: str,
    tags: tuple[str, ...],
    content: Mapping[int, Mapping[str, Any]],
    refusals: tuple[int, ...],
    bodies: Mapping[str, Any] | None = None,
    query: type[BaseModel] | None = None,
    headers: tuple[Mapping[str, Any], ...] = (),
    says: tuple[str, ...] = (),
) -> Callable[[View], View]:
    """Document a view that is no @endpoint: the callbacks of providers, which answer in the providers' ways.

    content: per good status {Content-Type: schema}, {} when there is no body. headers: OpenAPI parameter objects.
    says: headers of the good answers, by their names in parts.HEADERS.
    """

    def decorate(view: View) -> View:
        return describe(
            view,
            Operation(
                summary=summary,
                tags=tags,
                answers=dict.fromkeys(content),
                content=content,
                refusals=frozenset(refusals),
                bodies=bodies or {},
                query=query,
                headers=headers,
                says=says,
            ),
        )

    return decorate


def _clean(name: str) -> str:
    """A component name: `Page[LeadOut]` and pydantic's `Page_LeadOut_` become `Page_LeadOut`."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")


class _Operations(FlaskPlugin):
    """Finds the views that describe() marked, in the app that asks; what runs stays as it is."""

    def find_routes(self) -> Iterator[Any]:
        for rule in current_app.url_map.iter_rules():
            if _marked(rule) is not None:
                yield rule

    def parse_func(self, route: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
        view, operation = current_app.view_functions[route.endpoint], _marked(route)
        assert operation is not None
        answers = Answers(**{f"HTTP_{status}": model for status, model in operation.answers.items()})
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            yield (
                method,
                self.spectree.validate(
                    json=operation.body,
                    query=operation.query,
                    resp=answers,
                    tags=operation.tags,
                    skip_validation=True,
                    operation_id=_operation_id(route.endpoint),
                )(view),
            )


def _marked(rule: Any) -> Operation | None:
    return getattr(current_app.view_functions[rule.endpoint], "embudo_operation", None)


def _operation_id(endpoint: str) -> str:
    service, _, name = endpoint.partition(".")
    return f"{service.partition('_')[0]}_{name}"


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of the services that `app` serves; made once per app."""
    cached: dict[str, Any] | None = app.extensions.get("embudo_openapi")
    if cached is None:
        with app.app_context():
            cached = _made(app)
        app.extensions["embudo_openapi"] = cached
    return cached


def _made(app: Flask) -> dict[str, Any]:
    tree = SpecTree(
        backend=_Operations,
        mode="strict",
        title="Embudo",
        description=parts.INTRODUCTION,
        version=API_VERSION,
        openapi_version="3.1.0",
        annotations=False,
        naming_strategy=lambda model: _clean(model.__name__),
        nested_naming_strategy=lambda _parent, child: _clean(child),
        validation_error_model=ProblemDocument,
        security_schemes=[
            SecurityScheme(
                name="ApiKey",
                data=SecuritySchemeData(
                    type=SecureType.HTTP,
                    scheme="bearer",
                    bearer_format="emb_…",
                    description="An API key, made in the admin or by `flask ops api-key`. Its scopes are what it may do.",
                ),
            ),
            SecurityScheme(
                name="ApiKeyHeader",
                data=SecuritySchemeData(
                    type=SecureType.API_KEY,
                    name="X-Api-Key",
                    field_in=InType.HEADER,
                    description="The same key in a header of its own, for tools that cannot set Authorization.",
                ),
            ),
        ],
        security=[{"ApiKey": []}, {"ApiKeyHeader": []}],
    )
    made: dict[str, Any] = tree.spec
    for rule in app.url_map.iter_rules():
        operation = _marked(rule)
        if operation is None:
            continue
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            scope = getattr(app.view_functions[rule.endpoint], "embudo_auth", "")
            _complete(
                made["paths"][path][method.lower()],
                operation,
                method,
                scope,
                app.view_functions[rule.endpoint],
            )
    made["paths"] = dict(sorted(made["paths"].items()))
    made["components"]["headers"] = parts.HEADERS
    made["components"]["parameters"] = parts.PARAMETERS
    made["components"]["responses"] = parts.refusals()
    made["servers"] = [{"url": app.config.get("PUBLIC_URL") or "/"}]
    return made


def _complete(shown: dict[str, Any], operation: Operation, method: str, scope: str, view: Any) -> None:
    """Add to spectree's description what it does not know: who may call, headers, refusals, examples."""
    shown["summary"] = operation.summary
    about = " ".join((view.__doc__ or "").split())
    public = scope.startswith("public")
    if public:
        shown["security"] = []
        shown["description"] = f"{about}\n\nNeeds no key: {scope.removeprefix('public: ')}."
    else:
        shown["security"] = [{"ApiKey": [scope]}, {"ApiKeyHeader": [scope]}]
        shown["description"] = f"{about}\n\nNeeds the scope `{scope}`."
    refused = {*operation.refusals, 503}
    if not public:
        refused |= {401, 403, 429}
    if operation.body is not None or (method == "POST" and not public):
        refused |= {400, 413, 422}
    if operation.body is not None:
        refused |= {415}
    if operation.query is not None:
        refused |= {422}
    for parameter in shown["parameters"]:
        if parameter["in"] == "path":
            refused |= {404}
            parameter["description"] = parameter["description"] or parts.of_path(parameter["name"])
    refer = [
        {"$ref": f"#/components/parameters/{name}"}
        for name in _common_parameters(operation, method, public=public)
    ]
    shown["parameters"] += [*refer, *map(dict, operation.headers)]
    shown["responses"] = {
        code: answer for code, answer in shown["responses"].items() if int(code) in operation.answers
    }
    for code, answer in shown["responses"].items():
        answer["headers"] = {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in _answer_headers(operation, int(code), method, public=public)
        }
        if code in map(str, operation.content):
            answer["content"] = {
                media: {"schema": schema} for media, schema in operation.content[int(code)].items()
            }
            if not answer["content"]:
                del answer["content"]
    shown["responses"] |= {
        str(code): {"$ref": f"#/components/responses/Refused{code}"} for code in sorted(refused)
    }
    if operation.bodies:
        shown["requestBody"] = {
            "required": True,
            "content": {media: dict(content) for media, content in operation.bodies.items()},
        }
    elif "requestBody" in shown:
        content = shown["requestBody"]["content"]
        if operation.example is not None:
            content[JSON]["example"] = operation.example
        if method == "PATCH":
            content["application/merge-patch+json"] = dict(content[JSON])


def _common_parameters(operation: Operation, method: str, *, public: bool) -> Iterator[str]:
    yield "RequestId"
    if public:
        return
    yield "AcceptLanguage"
    if method == "POST":
        yield "IdempotencyKey"
    if 428 in operation.refusals:
        yield "IfMatch"
    elif 412 in operation.refusals:
        yield "IfMatchOptional"
    if 304 in operation.answers:
        yield "IfNoneMatch"


def _answer_headers(operation: Operation, code: int, method: str, *, public: bool) -> Iterator[str]:
    yield "X-Request-Id"
    yield from operation.says
    if operation.etag:
        yield "ETag"
    if operation.location:
        yield "Location"
    if method == "POST" and not public and code < 300:
        yield "Idempotency-Replayed"
