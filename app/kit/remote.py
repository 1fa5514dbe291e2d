"""Asking a neighbouring service: in process when it is served here, by signed HTTP when it is not.

In process the neighbour gets a fresh app context, hence its own session: with the caller's it would commit the
caller's half-finished work. Over HTTP the call is signed with a key derived from SECRET_KEY, which all processes of
one installation share, and is valid for a minute.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import orjson
from flask import Flask, current_app, request

from app.kit import db
from app.kit.auth import SCOPES, Principal, register_resolver
from app.kit.context import request_id
from app.kit.errors import Permanent, Temporary, Unavailable
from app.kit.http import session
from app.kit.resilience import breaker
from app.kit.secrets import derived_key

VALID_SECONDS = 60
"""How far the clocks of two processes may differ, and how long a captured call could be repeated."""

PURPOSE = "calls between services"


def init_remote(app: Flask) -> None:
    """Recognise signed calls of neighbours."""
    register_resolver(app, _neighbour)


def call(service: str, path: str, payload: Any = None, *, method: str = "POST") -> Any:
    """Ask `service` at `path` (below its own doors); the decoded JSON answer.

    Raises Temporary when it does not answer (also while its breaker is open), Permanent when it refuses.
    """
    body = b"" if payload is None else orjson.dumps(payload)
    headers = {"Content-Type": "application/json", "X-Request-Id": request_id() or db.new_id()}
    headers |= sign(method, path, body)
    if service in current_app.extensions["embudo_services"]:
        with db.own_context(), current_app.test_client() as client:
            answer = client.open(path, method=method, data=body, headers=headers)
            return _read(service, path, answer.status_code, answer.get_data())
    base = current_app.config["SERVICE_URLS"].get(service)
    if not base:
        raise Unavailable(f"{service.upper()}_URL is missing: the service {service} runs elsewhere, say where.")
    with breaker(f"service:{service}"):
        answer = session(connect=1.0, read=5.0).request(method, base.rstrip("/") + path, data=body, headers=headers)
        return _read(service, path, answer.status_code, answer.content)


def _read(service: str, path: str, status: int, content: bytes) -> Any:
    if status >= 500 or status == 429:
        raise Temporary(f"{service} answered {status} to {path}", code=str(status))
    if status >= 400:
        raise Permanent(f"{service} refused {path} with {status}", code=str(status))
    return orjson.loads(content) if content else None


def sign(method: str, path: str, body: bytes) -> dict[str, str]:
    """The headers that make a call recognisable as a neighbour's."""
    now = str(int(time.time()))
    return {"X-Embudo-Time": now, "X-Embudo-Signature": _signature(now, method, path, body)}


def _signature(now: str, method: str, path: str, body: bytes) -> str:
    text = f"{now}\n{method}\n{path}\n{hashlib.sha256(body).hexdigest()}".encode()
    return hmac.new(derived_key(PURPOSE), text, hashlib.sha256).hexdigest()


def _neighbour() -> Principal | None:
    given, now = request.headers.get("X-Embudo-Signature"), request.headers.get("X-Embudo-Time", "")
    if not given or not now.isdigit() or abs(time.time() - int(now)) > VALID_SECONDS:
        return None
    path = request.full_path if request.query_string else request.path
    if not hmac.compare_digest(given, _signature(now, request.method, path, request.get_data())):
        return None
    return Principal(kind="service", name="neighbour", scopes=frozenset(SCOPES))
