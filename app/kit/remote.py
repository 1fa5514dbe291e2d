"""Asking a neighbouring service: in process when it is served here, by signed HTTP when it is not.

In process the neighbour gets a fresh app context, hence its own session: with the caller's it would commit the
caller's half-finished work. Over HTTP the call is signed with a key derived from SECRET_KEY, which all processes of
one installation share. The signature holds the method, the path, the body and who is asked, is valid for a minute,
and is accepted once where a repeat would do something.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Any

import orjson
import requests
from flask import Flask, current_app, request
from requests.utils import requote_uri

from app.kit import db, telemetry
from app.kit.auth import SCOPES, Principal, register_resolver
from app.kit.context import request_id
from app.kit.errors import Permanent, ProviderError, RateLimited, Temporary, Unauthorized, Unavailable
from app.kit.http import Reused, failure, retry_after
from app.kit.redis_client import RedisError, redis
from app.kit.resilience import breaker
from app.kit.secrets import derived_key

VALID_SECONDS = 60
"""How far the clocks of two processes may differ, and how long a captured call could be repeated."""

CONNECT_SECONDS, READ_SECONDS = 1.0, 5.0
"""A neighbour is near and answers soon; somebody waits for us meanwhile."""

READ_ATTEMPTS = 2
"""How often a call that changes nothing is made before its failure is told."""

SAFE = frozenset({"GET", "HEAD"})
"""Methods whose repeat does nothing."""

PURPOSE = "calls between services"

SIGNATURE, TIME, NONCE, ASKED = "X-Embudo-Signature", "X-Embudo-Time", "X-Embudo-Nonce", "X-Embudo-Service"

log = telemetry.get_logger("remote")
_session = Reused(connect=CONNECT_SECONDS, read=READ_SECONDS)


def init_remote(app: Flask) -> None:
    """Recognise signed calls of neighbours."""
    register_resolver(app, _neighbour)


def served_here(service: str) -> bool:
    """Whether this process serves the service itself."""
    return service in current_app.extensions["embudo_services"]


def reachable(service: str) -> bool:
    """Whether the service can be asked: it is served here, or its address is known."""
    return served_here(service) or bool(current_app.config["SERVICE_URLS"].get(service))


def call(
    service: str, path: str, payload: Any = None, *, method: str = "POST", read: float | None = None
) -> Any:
    """Ask `service` at `path` (below its own doors, query included); the decoded JSON answer.

    read: seconds to wait for the answer instead of READ_SECONDS. A GET that fails is made once more; anything else
    never is. Raises Temporary when nothing was done (also while the breaker is open), Unknown when it may have been,
    Permanent when the neighbour refuses, Unavailable when nobody said where it runs.
    """
    path = requote_uri(path)  # what requests would do, so that what is signed is what is sent
    body = b"" if payload is None else orjson.dumps(payload)
    attempts = READ_ATTEMPTS if method in SAFE else 1
    if served_here(service):
        return _in_process(service, path, body, method)
    base = current_app.config["SERVICE_URLS"].get(service, "").rstrip("/")
    if not base:
        raise Unavailable(
            "%(variable)s is missing: the service %(service)s runs elsewhere, say where.",
            variable=f"{service.upper()}_URL",
            service=service,
        )
    while True:
        attempts -= 1
        try:
            with breaker(f"service:{service}"):
                return _over_http(service, base, path, body, method, read)
        except (RateLimited, Permanent):
            raise
        except ProviderError as error:
            if not attempts or error.code == "breaker_open":
                raise
            log.warning("neighbour did not answer, asking once more", neighbour=service, error=error.code)


def _in_process(service: str, path: str, body: bytes, method: str) -> Any:
    headers = _headers(service, method, path, body)
    with db.own_context(), current_app.test_client() as client:
        answer = client.open(path, method=method, data=body, headers=headers)
        return _read(service, answer.status_code, answer.get_data(), answer.headers)


def _over_http(service: str, base: str, path: str, body: bytes, method: str, read: float | None) -> Any:
    # Each attempt is signed anew: it needs a time and a nonce of its own.
    headers, timeout = _headers(service, method, path, body), (CONNECT_SECONDS, read or READ_SECONDS)
    try:
        answer = _session().request(method, base + path, data=body, headers=headers, timeout=timeout)
    except requests.RequestException as error:
        raise failure(error, f"the service {service}") from error
    return _read(service, answer.status_code, answer.content, answer.headers)


def _headers(service: str, method: str, path: str, body: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "X-Request-Id": request_id() or db.new_id(),
        **sign(service, method, path, body),
    }


def _read(service: str, status: int, content: bytes, headers: Any) -> Any:
    if status == 429:
        raise RateLimited(f"{service} wants fewer calls", code="429", retry_after=retry_after(headers))
    if status >= 500:
        raise Temporary(f"{service} answered {status}", code=str(status))
    if status >= 300:
        raise Permanent(f"{service} refused with {status}", code=str(status))
    return orjson.loads(content) if content else None


def sign(service: str, method: str, path: str, body: bytes) -> dict[str, str]:
    """The headers that make a call recognisable as a neighbour's. path: as sent, with its query."""
    now, nonce = str(int(time.time())), secrets.token_urlsafe(16)
    signature = _signature(now, nonce, service, method, path, body)
    return {TIME: now, NONCE: nonce, ASKED: service, SIGNATURE: signature}


def _signature(now: str, nonce: str, service: str, method: str, path: str, body: bytes) -> str:
    text = f"{now}\n{nonce}\n{service}\n{method}\n{path}\n{hashlib.sha256(body).hexdigest()}".encode()
    return hmac.new(derived_key(PURPOSE), text, hashlib.sha256).hexdigest()


def _neighbour() -> Principal | None:
    """The neighbour whose signature the request bears; None without one, Unauthorized for one that is no good."""
    headers = request.headers
    given = headers.get(SIGNATURE)
    if not given:
        return None
    now, nonce, asked = headers.get(TIME, ""), headers.get(NONCE, ""), headers.get(ASKED, "")
    # As it came over the wire: Flask's own path is decoded, and what was signed is not.
    path = request.environ.get("RAW_URI") or request.full_path.rstrip("?")
    expected = _signature(now, nonce, asked, request.method, path, request.get_data())
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise Unauthorized(
            "The signature of this call is not ours; do both processes have the same SECRET_KEY?"
        )
    off = time.time() - int(now)
    if abs(off) > VALID_SECONDS:
        told = (
            f"This call was signed {abs(off):.0f} s {'ago' if off > 0 else 'ahead'}; more than {VALID_SECONDS} s are "
            "not accepted. Is it a repeat, or do the clocks of the two machines differ (NTP)?"
        )
        raise Unauthorized(told)
    if not served_here(asked):
        raise Unauthorized(f"This call was signed for the service “{asked}”, which is not served here.")
    if request.method not in SAFE and not _first_time(nonce):
        raise Unauthorized("This call has been made already; a repeat needs a signature of its own.")
    return Principal(kind="service", name="neighbour", scopes=frozenset(SCOPES))


def _first_time(nonce: str) -> bool:
    """Whether no call bore this nonce before. Without Redis nobody remembers, and the minute has to do."""
    try:
        return bool(redis().set(f"embudo:nonce:{nonce}", "1", nx=True, ex=2 * VALID_SECONDS))
    except RedisError:
        return True
