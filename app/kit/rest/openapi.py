"""The OpenAPI 3.1 document is made from the same models that validate, so it cannot promise something else.

spectree collects and renders; validation is ours (endpoint.py), because problem+json with all problems, malformed
JSON and Idempotency-Key are ours anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from pydantic import BaseModel, Field
from spectree import Response as Answers
from spectree import SecurityScheme, SpecTree

API_VERSION = "1.0.0"


class ProblemItem(BaseModel):
    """One thing that is wrong."""

    where: str = Field(description="JSON pointer into the input, or a flow's node id")
    code: str
    message: str
    params: dict[str, Any] = {}


class ProblemDocument(BaseModel):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    request_id: str | None = None
    errors: list[ProblemItem] = []


SPEC = SpecTree(
    "flask",
    mode="strict",
    title="Embudo",
    version=API_VERSION,
    openapi_version="3.1.0",
    annotations=False,
    security_schemes=[
        SecurityScheme(name="ApiKey", data={"type": "http", "scheme": "bearer", "bearerFormat": "emb_…"}),
    ],
    security=[{"ApiKey": []}],
    validation_error_model=ProblemDocument,
)

ALWAYS = (401, 403, 429)
"""Answers that every endpoint may give."""


def describe(
    view: Callable[..., Any],
    *,
    body: type[BaseModel] | None,
    query: type[BaseModel] | None,
    out: Any,
    status: int,
    tags: tuple[str, ...],
    summary: str,
    also: dict[int, Any],
) -> Callable[..., Any]:
    """Register a view's models with the document and return the view."""
    answers: dict[str, Any] = {f"HTTP_{status}": out}
    answers |= {f"HTTP_{code}": model for code, model in also.items()}
    problems = {*ALWAYS, *({400, 413, 415} if body is not None else set()), 404}
    for code in problems:
        answers.setdefault(f"HTTP_{code}", ProblemDocument)
    if summary:
        rest = (view.__doc__ or "").strip()
        view.__doc__ = f"{summary}\n\n{rest}".strip()
    return SPEC.validate(  # type: ignore[no-any-return]
        json=body, query=query, resp=Answers(**answers), tags=tags, skip_validation=True
    )(view)


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of the services that `app` serves."""
    cached = app.extensions.get("embudo_openapi")
    if cached is None:
        SPEC.app = app
        with app.app_context():
            cached = SPEC._generate_spec()
        for path in cached["paths"].values():
            for operation in path.values():
                for code, answer in operation.get("responses", {}).items():
                    if code >= "400" and "content" in answer:
                        answer["content"] = {"application/problem+json": next(iter(answer["content"].values()))}
        cached["servers"] = [{"url": app.config.get("PUBLIC_URL") or "/"}]
        app.extensions["embudo_openapi"] = cached
    return cached
