"""Errors as application/problem+json (RFC 9457), each listing everything that is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import orjson
from flask import Flask, Response, g, request
from flask_babel import gettext
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from app.contracts.problems import Problem
from app.kit import telemetry
from app.kit.context import request_id
from app.kit.errors import EmbudoError, NotFound, TooLarge, TooMany, Unauthorized, Unavailable

HtmlErrors = Callable[[int, str, str], Any]

log = telemetry.get_logger("kit")


def localized(problem: Problem) -> str:
    """The problem's sentence in the language of the request."""
    text = gettext(problem.template)
    return str(text % problem.params if problem.params else text)


def sentences(error: EmbudoError) -> list[str]:
    """All that a refusal says, in the language of the request."""
    if error.problems:
        return [localized(problem) for problem in error.problems]
    params = error.params
    if isinstance(error, NotFound):
        params = {**params, "what": gettext(str(params["what"]))}
    text = gettext(error.template)
    return [str(text % params if params else text)]


def _detail(error: EmbudoError) -> str:
    """As sentences; English for a program that asks for no language, as long as there are no problems to tell."""
    if error.problems or request.accept_languages:
        return "; ".join(sentences(error))
    return error.detail


def show_problem(problem: Problem) -> dict[str, Any]:
    """A problem as it stands in the `errors` list of the answer."""
    return {
        "where": problem.where,
        "code": problem.code,
        "message": localized(problem),
        "params": problem.params,
    }


def problem_response(error: EmbudoError) -> Response:
    """The answer that a refusal deserves."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": _detail(error),
        "instance": request.path,
        "request_id": request_id(),
    }
    if error.problems:
        body["errors"] = [show_problem(item) for item in error.problems]
    response = _json(error.status, body)
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = 'Bearer realm="Embudo"'
    return response


def _plain(status: int, title: str, detail: str) -> Response:
    return _json(
        status,
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "instance": request.path,
            "request_id": request_id(),
        },
    )


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status=status, mimetype="application/problem+json")


def init_problems(app: Flask) -> None:
    """Answer every error of every door: as a page where a person asked for one, as problem+json elsewhere."""

    def answer(status: int, title: str, detail: str, make: Callable[[], Response]) -> Any:
        html: HtmlErrors | None = app.extensions.get("embudo_html_errors")
        if html is not None and _wants_page():
            return html(status, title, detail)
        return make()

    @app.errorhandler(EmbudoError)
    def _refusal(error: EmbudoError) -> Any:
        return answer(error.status, error.title, _detail(error), lambda: problem_response(error))

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Any:
        if error.code is None or error.code < 400:
            return error
        detail = error.description or ""
        if isinstance(error, RequestEntityTooLarge):
            detail = _detail(TooLarge("The body is larger than this door accepts."))
        title = error.name

        def make() -> Response:
            response = _plain(error.code or 500, title, detail)
            for name, value in error.get_headers():
                if name in {"Allow", "Retry-After"}:
                    response.headers[name] = value
            return response

        return answer(error.code, title, detail, make)

    @app.errorhandler(OperationalError)
    @app.errorhandler(PoolTimeout)
    def _database_gone(error: Exception) -> Any:
        log.error("database unavailable", error=type(error).__name__, route=_route())
        refusal = Unavailable("The database does not answer now; try again in a few seconds.")

        def make() -> Response:
            response = problem_response(refusal)
            response.headers["Retry-After"] = "5"
            return response

        return answer(refusal.status, refusal.title, _detail(refusal), make)

    @app.errorhandler(Exception)
    def _bug(error: Exception) -> Any:
        log.error("unexpected error", route=_route(), method=request.method, exc_info=error)
        refusal = EmbudoError(
            "Something went wrong on our side. Tell support the request id %(request_id)s.",
            request_id=request_id(),
        )
        return answer(refusal.status, refusal.title, _detail(refusal), lambda: problem_response(refusal))


def _route() -> str:
    """For the log: the rule, because a path may hold what opens a door (unsubscribing) or whom it is about."""
    return request.url_rule.rule if request.url_rule is not None else telemetry.NO_ROUTE


def _wants_page() -> bool:
    if g.get("embudo_api"):
        return False
    best = request.accept_mimetypes.best_match(["application/json", "text/html"], default="application/json")
    return best == "text/html" and request.method in {"GET", "HEAD", "POST"}
