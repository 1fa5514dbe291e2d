"""Whether this process lives and can work, for load balancers and people; and the API's own description."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from flask import Blueprint, Response, current_app
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.kit import db, lanes, migrate
from app.kit.auth import public
from app.kit.redis_client import redis
from app.kit.rest import document, documented
from app.kit.secrets import derived_key

READY_SECONDS = 2.0
"""How long an answer of /readyz is given again without asking the parts."""

ANSWER_SECONDS = 2.0
"""Which part has not answered by then does not answer: whoever asks (a kubelet: 5 s) must hear that it was asked."""

MARK_HEADER = "X-Embudo-Installation"
"""Header of /healthz that tells one installation from another, so that it can find out whether an address is its own."""

TAGS = ("operations",)
STATUS = {
    "application/json": {
        "type": "object",
        "properties": {"status": {"type": "string", "enum": ["ok", "degraded", "unavailable"]}},
        "required": ["status"],
    }
}

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@public("says only that the process answers")
@documented(
    summary="Is the process alive?", content={200: STATUS}, refusals=(), tags=TAGS, says=(MARK_HEADER,)
)
def healthz() -> Response:
    """Alive: answers without asking anybody."""
    answer = _json(200, {"status": "ok"})
    answer.headers[MARK_HEADER] = mark()
    return answer


@bp.get("/readyz")
@public("names parts, shows no data")
@documented(summary="Can it work?", content={200: STATUS}, refusals=(), tags=TAGS)
def readyz() -> Response:
    """Ready: every database answers and has this release's tables. Without Redis we work, only later."""
    until, answer = current_app.extensions.get("embudo_ready", (0.0, None))
    if answer is None or until < time.monotonic():
        answer = _ask()
        current_app.extensions["embudo_ready"] = (time.monotonic() + READY_SECONDS, answer)
    return _json(200 if answer["status"] != "unavailable" else 503, answer)


@bp.get("/openapi.json")
@public("the interface is no secret")
@documented(
    summary="This document", content={200: {"application/json": {"type": "object"}}}, refusals=(), tags=TAGS
)
def openapi() -> Response:
    """The OpenAPI 3.1 document of what this process serves."""
    return _json(200, document(current_app._get_current_object()))  # type: ignore[attr-defined]


def mark() -> str:
    """What all processes of this installation answer alike and no other does; tells nothing of the key behind it."""
    return derived_key("installation mark").hex()[:16]


def _ask() -> dict[str, Any]:
    servers = db.by_engine((db.PLATFORM, *current_app.extensions["embudo_services"]))
    databases = {
        engine: lanes.ask(("ready", engine), partial(_current, engine, binds))
        for engine, binds in servers.items()
    }
    pinged = lanes.ask(("ready", "redis"), lambda: redis().ping())
    answers = lanes.answers({**databases, "redis": pinged}, ANSWER_SECONDS)
    parts: dict[str, str] = {}
    for engine, binds in servers.items():
        answer = answers.get(engine)
        for bind in binds:
            if answer is None or isinstance(answer.exception(), SQLAlchemyError):
                parts[f"database {bind}"] = "does not answer"
            else:
                parts[f"database {bind}"] = "ok" if answer.result()[bind] else "needs “flask ops setup”"
    ready = all(state == "ok" for state in parts.values())
    answer = answers.get("redis")
    alive = answer is not None and answer.exception() is None
    parts["redis"] = "ok" if alive else "does not answer; work waits in the database"
    status = "unavailable" if not ready else ("ok" if alive else "degraded")
    return {"status": status, "services": list(current_app.extensions["embudo_services"]), "parts": parts}


def _current(engine: Engine, binds: Sequence[str]) -> dict[str, bool]:
    """Which of these binds have this release's tables."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        return {bind: migrate.is_current(bind, connection) for bind in binds}


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status=status, mimetype="application/json")
