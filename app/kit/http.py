"""Every call to the outside has time-outs, a bounded answer and our request id: they are set here once.

Without this a provider that stalls would hold a worker for ever, one that answers 10 GB would fill the
memory, a redirect would carry our token to a stranger, and a forgotten retry would send a message twice.
"""

from __future__ import annotations

import math
import os
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests import PreparedRequest, Response, Session, exceptions
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as lower
from urllib3.util.retry import Retry

from app.kit.context import request_id
from app.kit.errors import Misconfigured, ProviderError, Temporary, Unknown

CONNECT_SECONDS = (
    3.05  # just over one TCP retransmission (3 s), so that one lost packet does not fail the call
)
READ_SECONDS = 10.0  # longest silence while an answer is awaited or arrives
TOTAL_FACTOR = 3.0  # an answer that drips in may take this many times the read time-out altogether
BODY_BYTES = 1_000_000  # no answer our providers give to a request of ours comes near 1 MB
CHUNK_BYTES = 65_536
POOL_SIZE = 32  # connections kept per host; threads beyond it open their own and close them
RETRY_AFTER_CEILING = 86_400.0  # a day; a longer wait is a mistake or an attack and is cut to this

SIGNATURE_SECONDS = 300
"""How far a receiver lets our clock be off before it refuses our signatures (Standard Webhooks, SigV4: 5 minutes)."""

USER_AGENT = "Embudo/1"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a provider says when it is asked whether it knows us. at: its clock, as far as it told.

    faults: codes of what keeps the account from working as it should although the credentials are right.
    """

    at: datetime | None = None
    faults: tuple[str, ...] = ()


class BodyTooLarge(requests.RequestException):
    """The answer is longer than the session allows; the rest was not read."""


class BodyTooSlow(requests.ReadTimeout):
    """The answer keeps arriving in drips after the time allowed for all of it."""


class _BoundedAdapter(HTTPAdapter):
    """Reads the whole answer within its limits before anybody, a followed redirect included, sees it."""

    def __init__(self, *, connect: float, read: float, max_body: int, retries: Retry) -> None:
        super().__init__(max_retries=retries, pool_maxsize=POOL_SIZE)
        self._timeout = (connect, read)
        self._total = connect + read * TOTAL_FACTOR
        self._max_body = max_body

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout
        kwargs["stream"] = True
        current = request_id()
        if current and "X-Request-Id" not in request.headers:
            request.headers["X-Request-Id"] = current
        deadline = time.monotonic() + self._total
        response = super().send(request, *args, **kwargs)
        response._content = b"".join(self._chunks(response, deadline))  # as Response.content keeps it
        return response

    def _chunks(self, response: Response, deadline: float) -> Iterator[bytes]:
        size = 0
        while chunk := self._read(response):
            size += len(chunk)
            if size > self._max_body:
                response.close()
                raise BodyTooLarge(f"The answer is longer than {self._max_body} bytes.", response=response)
            if time.monotonic() > deadline:
                response.close()
                raise BodyTooSlow(f"The answer took longer than {self._total:g} s.", response=response)
            yield chunk

    @staticmethod
    def _read(response: Response) -> bytes:
        """What has arrived; iter_content would wait for a full chunk, and a server that drips would never end."""
        try:
            piece: bytes = response.raw.read1(CHUNK_BYTES, decode_content=True)
        except lower.DecodeError as error:
            raise exceptions.ContentDecodingError(error, response=response) from error
        except lower.HTTPError as error:  # a read time-out, a cut connection, broken TLS
            raise exceptions.ConnectionError(error, response=response) from error
        return piece


class _Session(Session):
    """A Session whose redirects are decided when it is made."""

    def __init__(self, *, redirects: int) -> None:
        super().__init__()
        self._follow = redirects > 0
        self.max_redirects = max(redirects, 1)  # 0 would make requests raise on a redirect it does not follow
        self.headers["User-Agent"] = USER_AGENT
        # requests would replace an explicit Authorization header by what ~/.netrc says of the host.
        self.auth = _keep_headers
        # A cookie would be state that threads share without wanting it.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> Response:
        kwargs["allow_redirects"] = self._follow
        return super().request(method, url, *args, **kwargs)


def _keep_headers(request: PreparedRequest) -> PreparedRequest:
    return request


def session(
    *,
    connect: float = CONNECT_SECONDS,
    read: float = READ_SECONDS,
    max_body: int = BODY_BYTES,
    redirects: int = 0,
    connect_retries: int = 0,
) -> Session:
    """A requests.Session for calls to the outside.

    connect, read: seconds, used when a call names no time-out of its own; the whole answer may take connect
    + 3 times read. max_body: bytes of the decoded answer. redirects: how many are followed; a call cannot
    ask for them itself. connect_retries: repeats of an attempt that never got a connection; nothing else is
    ever repeated. Calls raise requests.RequestException; `failure` turns that into a ProviderError.
    """
    made = _Session(redirects=redirects)
    retries = Retry(total=None, connect=connect_retries, read=False, redirect=False, status=0, other=0)
    adapter = _BoundedAdapter(connect=connect, read=read, max_body=max_body, retries=retries)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


class Reused:
    """One session for all threads of a process, so that calls to one provider share its TLS connections.

    A forked worker starts its own: two processes must never write to one socket.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._session: Session | None = None

    def __call__(self) -> Session:
        """This process's session, made with the settings of `session`."""
        with self._lock:
            if self._session is None or self._pid != os.getpid():
                self._session = session(**self._settings)
                self._pid = os.getpid()
            return self._session


def failure(error: requests.RequestException, provider: str) -> ProviderError:
    """What a call's exception means: Temporary or Misconfigured if nothing can have been delivered.

    Else Unknown. The text names only the provider and the kind of failure; URLs and headers may hold secrets.
    """
    kind = type(error).__name__
    if isinstance(error, exceptions.InvalidURL | exceptions.InvalidSchema | exceptions.MissingSchema):
        return Misconfigured(f"The address of {provider} is not a valid URL.", code="url")
    if isinstance(error, exceptions.InvalidHeader):
        return Misconfigured(f"A credential of {provider} has characters that no header has.", code="header")
    if _never_connected(error):
        return Temporary(f"No connection to {provider} ({kind}).", code="connect")
    return Unknown(
        f"The connection to {provider} broke before its answer was read ({kind}).", code="no_answer"
    )


def _never_connected(error: BaseException) -> bool:
    """Whether the failure came before the request was written, so that a repeat cannot double it."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    for cause in _causes(error):
        # ConnectTimeoutError is NewConnectionError's cousin; NameResolutionError its child.
        if isinstance(
            cause, lower.NewConnectionError | lower.ConnectTimeoutError | ssl.SSLCertVerificationError
        ):
            return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those inside it: requests wraps urllib3's in args, urllib3 wraps in args and .reason."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting.extend(
            [*current.args, getattr(current, "reason", None), getattr(current, "original_error", None)]
        )


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait by the Retry-After header (seconds or an HTTP date), at most a day; None without
    one."""
    value = (headers.get("Retry-After") or headers.get("retry-after") or "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (ValueError, OverflowError):  # numbers without end are the sender's, too
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    if math.isnan(seconds):  # NaN, which float() reads without complaint
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_CEILING)


def said_at(headers: Mapping[str, str]) -> datetime | None:
    """The sender's clock by the Date header, whole seconds; None without a readable one."""
    try:
        at = parsedate_to_datetime(headers.get("Date") or headers.get("date") or "")
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
