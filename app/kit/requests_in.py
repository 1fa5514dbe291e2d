"""What happens around every request: its id, its log line, its metrics."""

from __future__ import annotations

import re
import time

from flask import Flask, Response, g, request

from app.kit import db, telemetry
from app.kit.context import REQUEST_ID

VALID_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
"""What we take over from a caller's X-Request-Id; anything else gets an id of ours."""

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines; not worth a log line."""

log = telemetry.get_logger("web")


def init_requests(app: Flask) -> None:
    """Install the hooks; must come first, so that everything after it has a request id."""

    @app.before_request
    def _begin() -> None:
        given = request.headers.get("X-Request-Id", "")
        g.embudo_started = time.perf_counter()
        g.embudo_request_token = REQUEST_ID.set(given if VALID_ID.fullmatch(given) else db.new_id())

    @app.teardown_request
    def _forget(_error: BaseException | None) -> None:
        token = g.pop("embudo_request_token", None)
        if token is not None:  # what the thread does next is not part of this request
            REQUEST_ID.reset(token)

    @app.after_request
    def _end(response: Response) -> Response:
        response.headers["X-Request-Id"] = REQUEST_ID.get() or ""
        started = g.get("embudo_started")
        if started is None or request.path in QUIET or request.endpoint == "static":
            return response
        took = time.perf_counter() - started
        route = request.url_rule.rule if request.url_rule is not None else None
        telemetry.note_request(request.method, route, response.status_code, took)
        log.info(
            "request",
            method=request.method,
            route=route or telemetry.NO_ROUTE,
            status=response.status_code,
            ms=round(took * 1000, 1),
        )
        return response
