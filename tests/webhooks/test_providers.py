"""The way out: what may be called, and how little a receiver can do to us."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.webhooks import providers
from app.webhooks.providers import ANSWER_BYTES, Sender, address_problems
from tests.fakes.loopback import Answer, Drop, Stall
from tests.fakes.ports import free_port
from tests.webhooks.conftest import Receiver

LOCAL = ("127.0.0.1",)
PRIVATE = [
    "127.0.0.1",
    "169.254.169.254",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "100.64.0.1",
    "0.0.0.0",
    "0x7f.1",
    "2130706433",
    "localhost",
    "[fd00::1]",
    "[fe80::1]",
    "[64:ff9b::7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[fec0::1]",
]


@pytest.fixture
def server() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request and then does with the connection what it likes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            try:
                talk(connection)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name resolve to these addresses; gives the list of names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def fake(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name[-1:].isdigit() or ":" in name:
            return real(host, port, *args, **kwargs)
        asked.append(name)
        return [found for address in addresses for found in real(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return asked


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_in_any_spelling_are_neither_saved_nor_called(host: str) -> None:
    found = address_problems(f"https://{host}/hook", ())
    assert [item.code for item in found] == ["private_address"]
    for scheme in ("http", "https"):
        assert Sender().post(f"{scheme}://{host}:9/hook", b"{}", {}).error == "private_address"


def test_a_name_that_leads_to_a_private_address_is_refused_at_save_and_at_the_call(
    monkeypatch: pytest.MonkeyPatch, server: Receiver
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    port = server.url.rpartition(":")[2]
    assert [item.code for item in address_problems("https://rebound.example.com/", ())] == ["private_address"]
    assert Sender().post(f"http://rebound.example.com:{port}/", b"{}", {}).error == "private_address"
    assert server.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_turns_private_between_check_and_connection_is_connected_to_where_it_was_checked(
    monkeypatch: pytest.MonkeyPatch, server: Receiver, scheme: str
) -> None:
    """DNS rebinding: the first answer is public, every later one is our own network's."""
    port = int(server.url.rpartition(":")[2])
    real, asked, connected = socket.getaddrinfo, [], []

    def rebinding(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name == "rebound.example.com":
            asked.append(name)
            name = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return real(name, *args, **kwargs)

    def connect(_self: socket.socket, address: Any) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket.socket, "connect", connect)
    outcome = Sender().post(f"{scheme}://rebound.example.com:{port}/", b"{}", {})
    assert outcome.error == "connect"
    assert set(connected) == {"93.184.216.34"}
    assert server.requests == []


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "93.184.216.34", "10.0.0.1")
    assert [item.code for item in address_problems("https://mixed.example.com/", ())] == ["private_address"]


def test_a_public_name_is_fine_and_an_unknown_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "93.184.216.34")
    assert address_problems("https://public.example.com:8443/hook?key=1", ()) == []

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert [item.code for item in address_problems("https://nobody.example.com/", ())] == ["unknown_host"]
    assert Sender().post("https://nobody.example.com/", b"{}", {}).error == "dns"


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://example.com/", "https://", "https://[", "https://a:b/", "javascript:alert(1)"],
)
def test_what_is_no_address_is_called_so(url: str) -> None:
    assert [item.code for item in address_problems(url, ())] == ["invalid_url"]


def test_a_trusted_host_may_be_private_and_without_tls(server: Receiver) -> None:
    assert address_problems(f"{server.url}/hook", LOCAL) == []
    assert Sender(LOCAL).post(f"{server.url}/hook", b"{}", {}).status == 200
    assert Sender(("elsewhere",)).post(f"{server.url}/hook", b"{}", {}).error == "private_address"


def test_a_redirect_does_not_lead_past_the_guard(server: Receiver) -> None:
    server.plan(Answer(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"}))
    outcome = Sender(LOCAL).post(server.url, b"{}", {})
    assert (outcome.status, outcome.error) == (307, "redirect")
    assert len(server.requests) == 1


def test_the_environments_proxy_is_not_asked(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, server.url)
    assert Sender().post("http://127.0.0.1:9/", b"{}", {}).error == "private_address"
    assert server.requests == []


@pytest.mark.parametrize(
    ("plan", "status", "error", "wait"),
    [
        (Answer(status=204, body=b""), 204, None, None),
        (Answer(status=400), 400, "http", None),
        (Answer(status=410), 410, "gone", None),
        (Answer(status=429, headers={"Retry-After": "7"}), 429, "http", 7.0),
        (Answer(status=503, headers={"Retry-After": "99999999"}), 503, "http", 86_400.0),
        (Answer(status=500, headers={"Retry-After": "7"}), 500, "http", None),
        (Drop(), None, "no_answer", None),
    ],
)
def test_answers_mean_what_the_standard_says(
    server: Receiver, plan: Any, status: int | None, error: str | None, wait: float | None
) -> None:
    server.plan(plan)
    outcome = Sender(LOCAL).post(server.url, b"{}", {})
    assert (outcome.status, outcome.error, outcome.retry_after) == (status, error, wait)


def test_a_closed_port_is_said_to_be_one() -> None:
    assert Sender(LOCAL).post(f"http://127.0.0.1:{free_port()}/", b"{}", {}).error == "connect"


def test_a_receiver_without_proper_tls_is_refused(server: Receiver) -> None:
    assert Sender(LOCAL).post(server.url.replace("http:", "https:"), b"{}", {}).error == "tls"


def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    sent: list[int] = []

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while True:
            sent.append(connection.send(b"x" * 65536))

    with raw_server(endless) as url:
        outcome = Sender(LOCAL).post(url, b"{}", {})
    assert (outcome.status, outcome.error) == (200, None)
    assert len(outcome.answer) == ANSWER_BYTES
    assert sum(sent) < 50_000_000  # what fits into the sockets' buffers, not 10 GB


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["in its head", "in its body"])
@pytest.mark.timeout(20)
def test_an_answer_that_drips_is_cut(head: bytes) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(head or b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not stop.wait(0.02):
            connection.sendall(b"x")

    with raw_server(drip) as url:
        started = time.monotonic()
        outcome = Sender(LOCAL).post(url, b"{}", {}, total=0.5)
        took = time.monotonic() - started
        stop.set()
    assert took < 10
    if head:
        assert (outcome.status, outcome.error) == (200, None)  # it was taken; the rest does not matter
    else:
        assert (outcome.status, outcome.error) == (None, "timeout")


def test_a_receiver_that_never_answers_is_given_up(server: Receiver) -> None:
    server.plan(Stall())
    assert Sender(LOCAL).post(server.url, b"{}", {}, total=0.3).error == "timeout"


def test_connections_are_kept_between_calls_also_after_errors(server: Receiver) -> None:
    sender = Sender(LOCAL)
    server.plan(Answer(status=200), Answer(status=500), Answer(status=302))
    for _ in range(6):
        sender.post(server.url, b"{}", {})
    assert server.connections == 1
    assert providers.PER_HOST >= 2
