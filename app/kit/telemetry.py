"""Logs that join up and never give a person away, and the counters that alerts are made of.

Logs are events with fields, as JSON lines (or readable lines on a terminal). Every line carries service and request
id. Phone numbers, addresses, tokens and message texts do not belong into logs; what slips through, also inside
exception texts of libraries, is masked here, in one place.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import orjson
import structlog
from flask import Flask
from prometheus_client import Counter, Histogram, disable_created_metrics

from app.kit.context import REQUEST_ID
from app.kit.errors import ProviderError

HIDDEN_KEYS = re.compile(
    r"^(authorization|x-api-key|cookie|.*password.*|.*secret.*|.*token.*|api_key|.*signature.*|body|text|to|from|email|phone)$",
    re.IGNORECASE,
)
"""Field names whose values never go into a log."""

EMAIL = re.compile(r"[^\s@<>(),;:\"\[\]]{1,64}@[^\s@<>(),;:'\"\[\]]{1,255}")
PHONE = re.compile(
    r"(?:(?<![\w.-])(?:\+|whatsapp:\+?)|%2B)\d[\d ().-]{6,18}\d|(?:(?<![\w.-])|(?<=%3A))\d{9,15}(?![\w.:-])",
    re.IGNORECASE,
)
BEARER = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
API_KEY = re.compile(r"\bemb_[\w-]{8,}")
DATABASE_DETAIL = re.compile(
    r"(DETAIL: |^[^\W\d_]+:  ).*?(?=\n\[SQL|\n\(Background|\n\nThe above exc|\n\nDuring handling of|\Z)",
    re.DOTALL | re.MULTILINE,
)
"""PostgreSQL shows the row or the key that it refuses, names and texts included, which may have several lines. In other
languages than English it is a word at the beginning of a line, as all that it adds: "DETALLE:  ". What follows in a text
of SQLAlchemy or in a trace is no part of it.
"""

URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)(?=@)")

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the classes that durations are counted in: from a cached page to the longest time-out of a call."""

# A series per counter that says when it began; several processes have no such moment.
disable_created_metrics()

HTTP_REQUESTS = Counter("embudo_http_requests_total", "Answered requests", ["method", "route", "status"])
HTTP_SECONDS = Histogram(
    "embudo_http_request_duration_seconds", "Seconds to the answer", ["method", "route"], buckets=SECONDS
)
JOBS = Counter("embudo_jobs_total", "Jobs run by workers", ["job", "outcome"])
JOB_SECONDS = Histogram("embudo_job_duration_seconds", "Seconds a job ran", ["job"], buckets=SECONDS)
PROVIDER_CALLS = Counter("embudo_provider_calls_total", "Calls to providers", ["provider", "outcome"])
PROVIDER_SECONDS = Histogram(
    "embudo_provider_call_duration_seconds", "Seconds a provider took", ["provider"], buckets=SECONDS
)
CACHE_LOOKUPS = Counter("embudo_cache_lookups_total", "Look-ups in the cache", ["cache", "result"])
COUNTED = (
    HTTP_REQUESTS, HTTP_SECONDS, JOBS, JOB_SECONDS, PROVIDER_CALLS, PROVIDER_SECONDS, CACHE_LOOKUPS,
)  # fmt: skip
"""All that processes count. Each has labels, so none has a value before the first count (app.kit.metrics.shared)."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""What a request's method may be in a label; others are counted together, for anybody may invent some."""

NO_ROUTE, OTHER_METHOD = "(none)", "(other)"
"""Labels of requests for an address that does not exist, and by a method that we do not know."""


def note_call(provider: str, outcome: str, seconds: float | None = None, *, times: int = 1) -> None:
    """Count calls to a provider. outcome: ``ok``, or what the failure means (`outcome_of`); seconds: it took."""
    PROVIDER_CALLS.labels(provider, outcome).inc(times)
    if seconds is not None:
        PROVIDER_SECONDS.labels(provider).observe(seconds)


def outcome_of(error: Exception | None) -> str:
    """The label for how a call ended, one of few: ok, temporary, rate_limited, permanent, misconfigured …"""
    if error is None:
        return "ok"
    if not isinstance(error, ProviderError):
        return "bug"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()


@cache
def _of_request(method: str, route: str, status: int) -> tuple[Any, Any]:
    """The counter and the clock of such requests; to look a label up costs more than to count."""
    return HTTP_REQUESTS.labels(method, route, status), HTTP_SECONDS.labels(method, route)


def note_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count an answered request. route: the URL rule it matched, or None; seconds: to the answer."""
    counter, clock = _of_request(method if method in METHODS else OTHER_METHOD, route or NO_ROUTE, status)
    counter.inc()
    clock.observe(seconds)


@cache
def _of_cache(name: str, result: str) -> Any:
    return CACHE_LOOKUPS.labels(name, result)


def note_lookup(name: str, result: str) -> None:
    """Count a look-up in the cache. result: hit, miss or unavailable."""
    _of_cache(name, result).inc()


def masked(text: str) -> str:
    """`text` with addresses, phone numbers, keys, passwords and refused rows made unreadable."""
    text = DATABASE_DETAIL.sub(r"\1***", text)
    text = URL_PASSWORD.sub(r"\1:***", text)
    text = BEARER.sub(r"\1 ***", text)
    text = API_KEY.sub("emb_***", text)
    text = EMAIL.sub("***@***", text)
    return PHONE.sub(lambda found: "***" + found.group()[-2:], text)


def mask(value: Any, depth: int = 0) -> Any:
    """`value` with everything personal or secret made unreadable, however deep it lies."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if depth > 4:
        return "…"
    if isinstance(value, dict):
        return {
            key: "***" if isinstance(key, str) and HIDDEN_KEYS.match(key) else mask(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [mask(item, depth + 1) for item in value]
    return value


KEPT_KEYS = frozenset({"timestamp", "level", "logger", "request_id", "service"})
"""Fields we write ourselves and that masking would only spoil."""


def _mask_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key in KEPT_KEYS or key.endswith("_id"):
            continue
        event[key] = "***" if HIDDEN_KEYS.match(key) else mask(value)
    return event


def _add_request_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    request_id = REQUEST_ID.get()
    if request_id and "request_id" not in event:
        event["request_id"] = request_id
    return event


def _add_library(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Lines of libraries belong to no service of ours; they say whose they are."""
    event.setdefault("service", str(event.get("logger", "")).partition(".")[0])
    return event


NOISE = {
    # FAB reports every column type it has no filter for, and every visit to its own redirect (trap 17).
    "flask_appbuilder": logging.ERROR,
    "werkzeug": logging.WARNING,
    "rq": logging.WARNING,
    "alembic": logging.WARNING,
    "urllib3": logging.WARNING,
    # the twilio SDK logs addressee and text at INFO
    "twilio": logging.WARNING,
}
"""Loggers of libraries that say too much, and from which level on they are heard."""


class _Line:
    """What structlog hands finished lines to. They go straight to stderr: the way through `logging`, which would make
    two records of each and ask every handler, takes three times as long, and each request writes a line."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.levels = logging.getLogger(name)

    def write(self, line: str) -> None:
        """Out with it."""
        _write(line)

    debug = info = warning = error = critical = exception = write


class _Libraries(logging.Handler):
    """Where the lines of libraries go."""

    def emit(self, record: logging.LogRecord) -> None:
        """Out with it; a line that cannot be made harms nobody."""
        try:
            _write(self.format(record))
        except Exception:  # noqa: BLE001 (as every handler of `logging`: what is logged must not fail who logs)
            self.handleError(record)


def _write(line: str) -> None:
    """One piece, so that threads do not mix theirs. stderr is looked up each time, for it may have been replaced.

    Nobody fails because whoever read the lines has gone, or because stderr is closed.
    """
    with suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _if_wanted(line: _Line, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """As structlog's filter_by_level, which walks up all loggers each time; `isEnabledFor` remembers."""
    if not line.levels.isEnabledFor(structlog.stdlib.NAME_TO_LEVEL[method]):
        raise structlog.DropEvent
    return event


def web_server_said(record: logging.LogRecord) -> bool:
    """Filter for gunicorn's logger: what it could not read, or failed at, without the request itself.

    It repeats the line or header that is wrong, the whole address of who sent it, and paths with their query.
    """
    said = record.getMessage()
    if said.startswith("Invalid request from ip="):
        _, _, why = said.partition(": ")
        record.msg, record.args = f"Invalid request: {why.partition(':')[0]}", ()
    elif said.startswith("Error handling request"):
        record.msg, record.args = "Error handling request", ()
    return True


def configure_logging(level: str = "INFO", *, as_json: bool = True) -> None:
    """Send all logs, ours and the libraries', to stderr in one form."""
    first: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
    ]
    last: list[Any] = [
        structlog.processors.format_exc_info,
        _mask_event,
        structlog.processors.JSONRenderer(serializer=_json)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=False),
    ]
    handler = _Libraries()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, structlog.stdlib.ExtraAdder(), _add_library],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, quiet in NOISE.items():
        logging.getLogger(name).setLevel(quiet)
    structlog.configure(
        processors=[_if_wanted, *first, *last],
        logger_factory=_Line,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _json(event: MutableMapping[str, Any], **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # half an emoji, a number beyond 64 bits: the slower one takes them
        return json.dumps(event, default=str, skipkeys=True)


def get_logger(service: str) -> Any:
    """A logger whose lines carry `service`: ``log.info("lead created", lead_id=…)``."""
    return structlog.stdlib.get_logger(
        f"embudo.{service}", service=service
    )  # bound when used: set-up comes later


@contextmanager
def bound(*, request_id: str | None = None, **fields: Any) -> Iterator[None]:
    """All lines inside carry these fields, and the request id of what caused the work."""
    token = REQUEST_ID.set(request_id) if request_id else None
    try:
        with structlog.contextvars.bound_contextvars(**fields):
            yield
    finally:
        if token is not None:
            REQUEST_ID.reset(token)


def init_telemetry(app: Flask) -> None:
    """Configure logs as the app's configuration says."""
    configure_logging(
        app.config.get("LOG_LEVEL", "INFO"), as_json=app.config.get("LOG_FORMAT", "json") == "json"
    )
