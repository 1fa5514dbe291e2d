"""Calls to the outside stay within their limits."""

from __future__ import annotations

import gzip
import os
import socket
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests

from app.kit import http
from app.kit.context import REQUEST_ID
from app.kit.errors import Misconfigured, ProviderError, Temporary, Unknown
from tests.fakes.loopback import Answer, Drop, LoopbackServer, Received, Stall


class Echo(LoopbackServer):
    """Answers with what it was sent."""

    def handle(self, request: Received) -> Answer:
        return Answer(body={"path": request.path, "headers": dict(request.headers)})


@pytest.fixture
def server() -> Iterator[Echo]:
    """A server that answers everything."""
    with Echo() as running:
        yield running


def failure(call: object) -> ProviderError:
    """What an exception means, as adapters ask for it."""
    assert isinstance(call, requests.RequestException)
    return http.failure(call, "Somebody")


def test_a_silent_server_is_given_up(server: Echo) -> None:
    server.plan(Stall())
    with pytest.raises(requests.Timeout) as caught:
        http.session(read=0.2).get(server.url)
    assert isinstance(failure(caught.value), Unknown)


def test_a_call_may_name_its_own_time_out(server: Echo) -> None:
    server.plan(Stall())
    with pytest.raises(requests.Timeout):
        http.session(read=60).get(server.url, timeout=0.2)


def test_a_body_that_drips_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                try:
                    while not over.wait(0.05):
                        connection.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            with pytest.raises(requests.Timeout) as caught:
                http.session(connect=0.1, read=0.2).get(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            over.set()
            thread.join(5)
    assert isinstance(failure(caught.value), Unknown)


def test_a_body_beyond_the_limit_is_not_read(server: Echo) -> None:
    server.plan(Answer(body=b"x" * 1001), Answer(body=b"x" * 1000))
    session = http.session(max_body=1000)
    with pytest.raises(http.BodyTooLarge):
        session.get(server.url)
    assert len(session.get(server.url).content) == 1000


def test_redirects_are_followed_only_when_the_session_says_so(server: Echo) -> None:
    away = Answer(status=302, body=b"", headers={"Location": "/next"})
    server.plan(away, away)
    assert http.session().get(server.url).status_code == 302
    assert http.session(redirects=1).get(server.url).json()["path"] == "/next"


def test_more_redirects_than_allowed_raise(server: Echo) -> None:
    server.plan(*[Answer(status=302, body=b"", headers={"Location": "/next"})] * 3)
    with pytest.raises(requests.TooManyRedirects):
        http.session(redirects=2).get(server.url)


def test_a_cut_connection_is_not_tried_again(server: Echo) -> None:
    server.plan(Drop())
    with pytest.raises(requests.ConnectionError) as caught:
        http.session(connect_retries=3).post(server.url, data=b"x")
    assert len(server.requests) == 1
    assert isinstance(failure(caught.value), Unknown)


def test_a_server_error_is_not_tried_again(server: Echo) -> None:
    server.plan(Answer(status=503, headers={"Retry-After": "0"}))
    assert http.session(connect_retries=3).get(server.url).status_code == 503
    assert len(server.requests) == 1


def test_no_listener_means_that_nothing_was_delivered() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(requests.ConnectionError) as caught:
            http.session().get(f"http://127.0.0.1:{free.getsockname()[1]}")
    assert type(failure(caught.value)) is Temporary


def test_a_name_that_does_not_exist_means_that_nothing_was_delivered() -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        http.session().get("http://name.invalid")
    assert type(failure(caught.value)) is Temporary


def test_a_url_that_is_none_is_misconfigured() -> None:
    with pytest.raises(requests.RequestException) as caught:
        http.session().get("nonsense")
    assert isinstance(failure(caught.value), Misconfigured)


def test_the_meaning_of_a_failure_tells_no_url(server: Echo) -> None:
    server.plan(Drop())
    with pytest.raises(requests.ConnectionError) as caught:
        http.session().get(f"{server.url}/secret-path?key=secret")
    assert "secret" not in str(failure(caught.value))


def test_the_request_id_goes_along_unless_the_caller_sets_another(server: Echo) -> None:
    token = REQUEST_ID.set("req-7")
    try:
        http.session().get(server.url)
        http.session().get(server.url, headers={"X-Request-Id": "mine"})
    finally:
        REQUEST_ID.reset(token)
    http.session().get(server.url)
    assert [r.headers.get("x-request-id") for r in server.requests] == ["req-7", "mine", None]


def test_threads_share_one_session_and_its_connections(server: Echo) -> None:
    reused = http.Reused()
    for _ in range(3):
        thread = threading.Thread(target=lambda: reused().get(server.url))
        thread.start()
        thread.join()
    assert len(server.requests) == 3
    assert server.connections == 1


def test_a_forked_process_has_a_session_of_its_own() -> None:
    reused = http.Reused()
    parents = reused()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 dislikes a fork beside threads
        child = os.fork()
    if child == 0:
        os._exit(0 if reused() is not parents else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert reused() is parents


def test_cookies_are_not_kept(server: Echo) -> None:
    server.plan(Answer(headers={"Set-Cookie": "a=1; Path=/"}))
    session = http.session()
    session.get(server.url)
    session.get(server.url)
    assert "cookie" not in server.requests[1].headers


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("1e12", 86_400.0),
        ("Tue, 24 Nov 2026 10:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("nan", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999999", None),
        ("99999999999999999999 Oct 2015 07:28:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    now = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    assert http.retry_after({"Retry-After": value}, now) == seconds


@pytest.mark.parametrize("value", ["soon", "", "Wed, 21 Oct 2015 07:28:00 +99999999999999999999"])
def test_a_clock_that_cannot_be_read_is_none(value: str) -> None:
    assert http.said_at({"Date": value}) is None


def test_the_limit_counts_what_a_packed_body_unfolds_to(server: Echo) -> None:
    packed = Answer(body=gzip.compress(b"x" * 100_000), headers={"Content-Encoding": "gzip"})
    server.plan(packed, packed)
    with pytest.raises(http.BodyTooLarge):
        http.session(max_body=10_000).get(server.url)
    assert len(http.session().get(server.url).content) == 100_000


def test_a_body_that_is_not_packed_as_it_says_is_an_error_of_the_call(server: Echo) -> None:
    server.plan(Answer(body=b"plain", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(requests.RequestException) as caught:
        http.session().get(server.url)
    assert isinstance(failure(caught.value), Unknown)


def test_half_a_body_is_an_error_of_the_call() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def cut() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        thread = threading.Thread(target=cut, daemon=True)
        thread.start()
        with pytest.raises(requests.RequestException) as caught:
            http.session().get(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(5)
    assert isinstance(failure(caught.value), Unknown)
