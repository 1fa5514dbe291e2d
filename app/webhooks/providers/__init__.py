"""The way out: one POST to a customer's URL that can neither reach our own network nor hold us for long.

A URL that somebody typed in may point, today or after its next DNS answer, to our database or the cloud's metadata. So
the connection is made to the very address that was checked (requests-hardened), redirects are never followed, the
environment's proxies are not asked, only the beginning of an answer is read, and a call that drips is cut.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests_hardened import Config, HTTPSession
from requests_hardened.ip_filter import InvalidIPAddress, get_ip_address
from requests_hardened.ip_filter_adapter import IPFilterAdapter
from urllib3 import exceptions as lower
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from app.contracts.problems import Problem, problem
from app.kit.http import retry_after

CONNECT_SECONDS = 3.0
READ_SECONDS = 15.0  # longest silence while the answer is awaited
TOTAL_SECONDS = 20.0  # after so long the connection is cut, however busily the answer drips
ANSWER_BYTES = 16_384  # read of an answer; the rest is nobody's business
CHUNK_BYTES = 4096
HOSTS = 64  # endpoints whose connections are kept
PER_HOST = 4  # connections kept per endpoint

DISGUISED = tuple(map(ipaddress.ip_network, ("::/96", "::ffff:0:0:0/96", "fec0::/10")))
"""IPv4-compatible (RFC 4291), IPv4-translated (RFC 2765) and site-local (RFC 3879) addresses: all of them given up, but a
router may still know them."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call came to.

    status: of the answer, None without one. error: None when the endpoint took the message, else a code:
    redirect | gone | http | private_address | dns | connect | tls | timeout | no_answer | url | bug (ours).
    retry_after: seconds the endpoint asked us to wait. answer: the beginning of what it said.
    """

    status: int | None = None
    error: str | None = None
    latency_ms: int = 0
    retry_after: float | None = None
    answer: bytes = b""


class _Cutter:
    """Closes the connections of calls that are over their time, whatever these are waiting for."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._calls: dict[int, _Call] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, seconds: float) -> Iterator[_Call]:
        """Run one call; its connection is cut after `seconds`."""
        call = _Call(time.monotonic() + seconds)
        with self._lock:
            self._calls[id(call)] = call
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="webhooks-cutter", daemon=True)
                self._thread.start()
            self._lock.notify()
        _here.call = call
        try:
            yield call
        finally:
            _here.call = None
            with self._lock:
                del self._calls[id(call)]

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._lock.wait()
                first = min((call.deadline for call in self._calls.values()), default=None)
                if first is not None and first > time.monotonic():
                    self._lock.wait(first - time.monotonic())
                now = time.monotonic()
                late = [call for call in self._calls.values() if call.deadline <= now]
                for call in late:
                    call.deadline = now + 1.0  # once more, should it have connected only now
            for call in late:
                call.cut()


class _Call:
    """One call under way in one thread."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.was_cut = False
        self.sock: socket.socket | None = None

    def cut(self) -> None:
        """Shut the socket, so that whoever reads from it goes on."""
        self.was_cut = True
        if self.sock is not None:
            with suppress(OSError):
                # Not SSLSocket's own: it would take the TLS state away from the thread that is reading.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


_here = threading.local()
_cutter = _Cutter()


class _Noted:
    """A connection that tells the running call its socket: as soon as there is one, and again once TLS wraps it.

    The connection itself forgets it when an answer ends with the connection, while the body is still read.
    """

    def _new_conn(self) -> Any:
        return self._note(super()._new_conn())  # type: ignore[misc]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._note(self.sock)  # type: ignore[attr-defined]

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._note(self.sock)  # type: ignore[attr-defined]
        super().request(*args, **kwargs)  # type: ignore[misc]

    def _note(self, sock: Any) -> Any:
        call: _Call | None = getattr(_here, "call", None)
        if call is not None:
            call.sock = sock
        return sock


class _Http(_Noted, HTTPConnection):
    pass


class _Https(_Noted, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


def _prepare(adapter: HTTPAdapter) -> HTTPAdapter:
    """Let an adapter keep the connections of many endpoints, and note which call uses which."""
    adapter.init_poolmanager(HOSTS, PER_HOST)
    adapter.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return adapter


def _refuse_disguised(address: str) -> None:
    """Raise InvalidIPAddress for what a router of this network may take to a private address; the library lets it pass."""
    ip = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    if any(ip in network for network in DISGUISED):
        raise InvalidIPAddress(ip)


class _PublicOnly(IPFilterAdapter):
    """requests-hardened's check at the moment of the call, and ours on the address that it has pinned."""

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        _refuse_disguised(host["host"])
        return host, pool


class _Session(HTTPSession):
    """requests-hardened's session, with exceptions for hosts that the operator trusts."""

    def __init__(self, allowed: frozenset[str]) -> None:
        super().__init__(
            Config(
                ip_filter_enable=True,
                ip_filter_allow_loopback_ips=False,
                never_redirect=True,
                default_timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
        )
        self.trust_env = False  # a proxy would connect for us, past the check; ~/.netrc would add a password
        self._allowed = allowed
        self._plain = _prepare(HTTPAdapter())
        self.mount("https://", _prepare(_PublicOnly(is_https_proto=True)))
        self.mount("http://", _prepare(_PublicOnly(is_https_proto=False)))

    def get_adapter(self, url: str | bytes) -> BaseAdapter:
        text = url if isinstance(url, str) else url.decode()
        return self._plain if host_of(text) in self._allowed else super().get_adapter(url)


class Sender:
    """Posts messages; may be used by many threads, which share each endpoint's connections.

    allowed: hosts that may be private and need no TLS.
    """

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self._session = _Session(frozenset(allowed))

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, total: float = TOTAL_SECONDS
    ) -> Outcome:
        """Send one message; never raises for what the other side does. total: seconds for all of it."""
        started = time.monotonic()
        with _cutter.watch(total) as call:
            try:
                response = self._session.post(
                    url, data=body, headers={"Accept-Encoding": "identity", **headers}, stream=True
                )
                # A head that was cut looks like one that ended.
                found = Outcome(error="timeout") if call.was_cut else _judge(response)
                try:
                    answer = _beginning(response)
                finally:
                    # What is left of an answer is not worth a connection: only one read to its end is kept.
                    response.close()
            except (requests.RequestException, lower.HTTPError, OSError, UnicodeError, ValueError) as error:
                found, answer = Outcome(error="timeout" if call.was_cut else _kind(error)), b""
        return Outcome(
            status=found.status,
            error=found.error,
            retry_after=found.retry_after,
            latency_ms=round((time.monotonic() - started) * 1000),
            answer=answer,
        )

    def close(self) -> None:
        """Close the connections that are kept."""
        self._session.close()


def _beginning(response: requests.Response) -> bytes:
    """Up to ANSWER_BYTES of the body; what breaks off is as good as what ended, for the status is known."""
    pieces: list[bytes] = []
    size = 0
    try:
        while size < ANSWER_BYTES and (piece := response.raw.read1(CHUNK_BYTES, decode_content=False)):
            pieces.append(piece)
            size += len(piece)
    except (lower.HTTPError, OSError):
        pass
    return b"".join(pieces)[:ANSWER_BYTES]


def _judge(response: requests.Response) -> Outcome:
    status = response.status_code
    if 200 <= status < 300:
        return Outcome(status=status)
    if status == 410:
        return Outcome(status=status, error="gone")
    if 300 <= status < 400:
        return Outcome(status=status, error="redirect")
    wait = retry_after(response.headers) if status in (429, 503) else None
    return Outcome(status=status, error="http", retry_after=wait)


def _kind(error: BaseException) -> str:
    """A code for what kept the answer from us."""
    if isinstance(error, InvalidIPAddress):
        return "private_address"
    chain = " ".join(type(cause).__name__ for cause in _causes(error))
    if "gaierror" in chain or "NameResolution" in chain:
        return "dns"
    if isinstance(error, requests.exceptions.SSLError):
        return "tls"
    if isinstance(error, requests.Timeout | lower.TimeoutError):
        return "timeout"
    if isinstance(error, requests.exceptions.InvalidURL | UnicodeError | ValueError) and not isinstance(
        error, requests.ConnectionError
    ):
        return "url"
    return "connect" if "NewConnection" in chain else "no_answer"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting and len(seen) < 20:
        current = waiting.pop()
        if isinstance(current, BaseException) and not any(current is other for other in seen):
            seen.append(current)
            yield current
            waiting += [current.__cause__, getattr(current, "reason", None), *current.args]


def host_of(url: str) -> str:
    """The host of a URL in small letters, without brackets; "" when there is none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def address_problems(url: str, allowed: Collection[str]) -> list[Problem]:
    """What is wrong with a URL as an endpoint: all of it. Asks the DNS, so it belongs before a transaction's first query.

    The same is checked again at every call, for names may point elsewhere tomorrow.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:
        return [problem("/url", "invalid_url", "This is no address: write https://host/path.")]
    if parts.scheme not in ("http", "https") or not host:
        return [problem("/url", "invalid_url", "This is no address: write https://host/path.")]
    problems: list[Problem] = []
    if parts.username is not None or parts.password is not None:
        problems.append(
            problem("/url", "credentials", "An address must not contain a user name or password.")
        )
    if parts.fragment:
        problems.append(problem("/url", "fragment", "An address must not contain a #."))
    if host in allowed:
        return problems
    if parts.scheme != "https":
        problems.append(problem("/url", "not_https", "The address must begin with https://."))
    return problems + _host_problems(host, port)


def _host_problems(host: str, port: int) -> list[Problem]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return [problem("/url", "unknown_host", "The DNS does not know the host %(host)s.", host=host[:100])]
    try:
        for *_, address in found:
            plain = str(address[0]).partition("%")[0]
            get_ip_address(plain, port, allow_loopback=False)
            _refuse_disguised(plain)
    except (InvalidIPAddress, ValueError):
        return [
            problem(
                "/url",
                "private_address",
                "%(host)s is an address of a private network. If it is meant, name it in WEBHOOKS_ALLOW_PRIVATE.",
                host=host[:100],
            )
        ]
    return []


_senders: dict[tuple[int, tuple[str, ...]], Sender] = {}
_senders_lock = threading.Lock()


def sender(allowed: Collection[str]) -> Sender:
    """This process's sender; a forked worker starts its own, for two processes must never write to one socket."""
    key = (os.getpid(), tuple(sorted(allowed)))
    with _senders_lock:
        if key not in _senders:
            _senders[key] = Sender(key[1])
        return _senders[key]
