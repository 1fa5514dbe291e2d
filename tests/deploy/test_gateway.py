"""The gateway's configuration on a real NGINX: who answers what, what is passed on, and what happens when nobody does."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from tests.fakes.gateway import Gateway, program
from tests.fakes.loopback import Answer, LoopbackServer, Received
from tests.fakes.ports import free_port

pytestmark = pytest.mark.gateway

SERVICES = ("whatsapp", "leads", "email", "webhooks")


class Upstream(LoopbackServer):
    """Says which service it stands for."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def handle(self, request: Received) -> Answer:
        return Answer(
            body={"service": self.service}, headers={"X-Request-Id": request.headers["x-request-id"]}
        )


@dataclass
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    port: int, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
) -> Got:
    """A request as it stands, without a client that tidies it up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(
            method, path, body=body, headers=headers or {}, encode_chunked=hasattr(body, "__next__")
        )
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Got(answer.status, found, answer.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def upstreams() -> Iterator[dict[str, Upstream]]:
    """One stand-in per service."""
    made = {name: Upstream(name) for name in SERVICES}
    for one in made.values():
        one.__enter__()
    yield made
    for one in made.values():
        one.__exit__()


@pytest.fixture(scope="module")
def nginx(upstreams: dict[str, Upstream]) -> Iterator[Gateway]:
    """The gateway before them."""
    with Gateway({name: [f"127.0.0.1:{one.port}"] for name, one in upstreams.items()}) as made:
        yield made


# --- who answers what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/message", "whatsapp"), ("/start", "whatsapp"), ("/status/7", "whatsapp"), ("/admin/flows/list/", "whatsapp"),
        ("/leads", "leads"), ("/leads/7", "leads"), ("/leads?stage=new", "leads"), ("/admin/leads/show/7", "leads"),
        ("/email", "email"), ("/templates", "email"), ("/admin/email-templates/list/", "email"),
        ("/webhooks/7", "webhooks"), ("/admin/dead-letters/webhooks/", "webhooks"),
        ("/", "leads"), ("/login/", "leads"), ("/static/admin/theme.css", "leads"), ("/leadsome", "leads"),
        ("/messages", "leads"), ("/openapi/email.json", "email"), ("/openapi.json", "leads"),
    ],
)  # fmt: skip
def test_a_path_is_answered_by_its_service(nginx: Gateway, path: str, service: str) -> None:
    assert ask(nginx.port, path).json == {"service": service}


def test_each_service_tells_its_own_interface(nginx: Gateway, upstreams: dict[str, Upstream]) -> None:
    ask(nginx.port, "/openapi/email.json")
    assert upstreams["email"].requests[-1].path == "/openapi.json"


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/internal/x", "/readyz"]
)
def test_what_is_of_use_inside_only_is_not_there(
    nginx: Gateway, upstreams: dict[str, Upstream], path: str
) -> None:
    before = sum(len(one.requests) for one in upstreams.values())
    got = ask(nginx.port, path)
    assert (got.status, got.headers["content-type"]) == (404, "application/problem+json")
    assert sum(len(one.requests) for one in upstreams.values()) == before


def test_the_gateway_says_itself_that_it_lives(nginx: Gateway) -> None:
    assert ask(nginx.port, "/gateway/healthz").json == {"status": "ok"}


def test_health_is_the_applications_which_recognises_itself_by_it(
    nginx: Gateway, upstreams: dict[str, Upstream]
) -> None:
    assert ask(nginx.port, "/healthz").json == {"service": "leads"}


# --- what is passed on ---------------------------------------------------------------------------------------------------


def test_a_webhooks_bytes_and_path_arrive_as_they_were_sent(
    nginx: Gateway, upstreams: dict[str, Upstream]
) -> None:
    body = (
        b'{"text":"\xc3\xb1and\\u00fa  \\/ \xf0\x9f\xa6\xa4"}\r\n\x00\xff' * 3000
    )  # also larger than a buffer
    got = ask(nginx.port, "/message?b=2&a=%C3%B1%2F+", "POST", body, {"X-Hub-Signature-256": "sha256=00"})
    assert got.status == 200
    arrived = upstreams["whatsapp"].requests[-1]
    assert arrived.body == body
    assert arrived.query == "b=2&a=%C3%B1%2F+"
    assert arrived.headers["x-hub-signature-256"] == "sha256=00"


def test_a_body_in_chunks_arrives_whole_and_with_its_length(
    nginx: Gateway, upstreams: dict[str, Upstream]
) -> None:
    ask(nginx.port, "/message", "POST", iter([b"ab", b"cd"]), {"Transfer-Encoding": "chunked"})
    arrived = upstreams["whatsapp"].requests[-1]
    assert (arrived.body, arrived.headers["content-length"]) == (b"abcd", "4")
    assert "transfer-encoding" not in arrived.headers


def test_what_a_client_claims_about_itself_ends_at_the_gateway(
    nginx: Gateway, upstreams: dict[str, Upstream]
) -> None:
    lies = {
        "X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "X-Forwarded-Proto": "https", "Forwarded": "for=6.6.6.6",
        "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Port": "666",
        "Proxy": "http://evil", "X-HTTP-Method-Override": "DELETE", "Connection": "keep-alive, X-Real-IP",
        "Upgrade": "h2c", "TE": "trailers", "X-Embudo-Signature": "0", "X-Embudo-Time": "1", "X-Embudo-Nonce": "1",
        "X-Embudo-Service": "leads", "Authorization": "Bearer emb_x",
    }  # fmt: skip
    ask(nginx.port, "/leads", headers=lies)
    arrived = upstreams["leads"].requests[-1].headers
    assert arrived["x-forwarded-for"] == arrived["x-real-ip"] == "127.0.0.1"
    assert arrived["x-forwarded-proto"] == "http"
    assert arrived["x-forwarded-host"] == arrived["host"] == f"127.0.0.1:{nginx.port}"
    assert arrived["authorization"] == "Bearer emb_x"
    gone = {
        "forwarded", "x-forwarded-prefix", "x-forwarded-port", "proxy", "x-http-method-override", "upgrade", "te",
        "x-embudo-signature", "x-embudo-time", "x-embudo-nonce", "x-embudo-service", "connection",
    }  # fmt: skip
    assert not gone & arrived.keys()


def test_a_request_id_is_taken_over_passed_on_told_and_logged(
    nginx: Gateway, upstreams: dict[str, Upstream]
) -> None:
    got = ask(nginx.port, "/leads/7?email=ana@example.com", headers={"X-Request-Id": "abc-123.DEF_4"})
    assert got.headers["x-request-id"] == "abc-123.DEF_4"
    assert upstreams["leads"].requests[-1].headers["x-request-id"] == "abc-123.DEF_4"
    line = nginx.log("abc-123.DEF_4")
    assert (line["method"], line["path"], line["status"], line["service"]) == ("GET", "/leads", 200, "leads")
    assert line["network"] == "127.0.0.0"


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "with space", 'quo"te123', "ñandú-1234"])
def test_a_request_without_a_proper_id_gets_one(
    nginx: Gateway, upstreams: dict[str, Upstream], given: str
) -> None:
    got = ask(
        nginx.port, "/leads", headers={"X-Request-Id": given.encode().decode("latin-1")} if given else {}
    )
    made = got.headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    assert upstreams["leads"].requests[-1].headers["x-request-id"] == made


def test_the_log_holds_no_query_no_id_and_no_whole_address(nginx: Gateway) -> None:
    ask(
        nginx.port, "/email/ana@example.com/t0ken?token=geheim",
        headers={"X-Request-Id": "log-me-please", "Authorization": "Bearer emb_geheim", "Referer": "http://x/?geheim"},
    )  # fmt: skip
    nginx.log("log-me-please")
    text = (nginx.folder / "access.log").read_text() + nginx.said()
    for secret in ("geheim", "t0ken", "ana@example.com", "127.0.0.1:" + str(nginx.port)):
        assert secret not in text


# --- limits --------------------------------------------------------------------------------------------------------------


def test_a_body_beyond_the_limit_is_refused_as_a_problem(
    nginx: Gateway, upstreams: dict[str, Upstream]
) -> None:
    before = len(upstreams["leads"].requests)
    got = ask(nginx.port, "/leads", "POST", headers={"Content-Length": str(17 * 2**20)})
    assert (got.status, got.json["status"]) == (413, 413)
    assert len(upstreams["leads"].requests) == before


@pytest.mark.parametrize(
    ("setting", "path", "headers", "burst"),
    [
        ("GATEWAY_RATE_LOGIN", "/login/", {}, 10),
        ("GATEWAY_RATE_KEY", "/leads", {"Authorization": "Bearer emb_1"}, 100),
        ("GATEWAY_RATE_ADDRESS", "/leads", {}, 200),
    ],
)
def test_who_asks_too_often_is_told_to_wait(
    upstreams: dict[str, Upstream], setting: str, path: str, headers: dict[str, str], burst: int
) -> None:
    addresses = {name: [f"127.0.0.1:{one.port}"] for name, one in upstreams.items()}
    with Gateway(addresses, **{setting: "1r/m"}) as slow:
        got = [ask(slow.port, path, headers=headers) for _ in range(burst + 3)]
        assert [answer.status for answer in got] == [200] * (burst + 1) + [429] * 2
        assert got[-1].headers["retry-after"] == "1"
        assert got[-1].json["status"] == 429
        assert got[-1].json["request_id"] == got[-1].headers["x-request-id"]
        if headers:
            assert ask(slow.port, path, headers={"Authorization": "Bearer emb_2"}).status == 200
        assert ask(slow.port, "/message", "POST", b"{}").status == 200, "providers have a limit of their own"


# --- when an upstream is gone --------------------------------------------------------------------------------------------


def test_one_of_two_may_die(upstreams: dict[str, Upstream]) -> None:
    addresses = {name: [f"127.0.0.1:{one.port}"] for name, one in upstreams.items()}
    addresses["leads"].insert(0, f"127.0.0.1:{free_port()}")
    with Gateway(addresses) as made:
        assert [ask(made.port, "/leads").status for _ in range(20)] == [200] * 20
        assert [ask(made.port, "/leads", "POST", b"{}").status for _ in range(20)] == [200] * 20


def test_when_all_of_a_service_are_dead_a_problem_says_so_and_the_others_answer(
    upstreams: dict[str, Upstream],
) -> None:
    addresses = {name: [f"127.0.0.1:{one.port}"] for name, one in upstreams.items()}
    addresses["email"] = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    addresses["leads"] = [f"127.0.0.1:{free_port()}"]
    with Gateway(addresses) as made:
        got = ask(made.port, "/email", headers={"X-Request-Id": "dead-email"})
        assert (got.status, got.headers["content-type"]) == (503, "application/problem+json")
        assert got.headers["retry-after"] == "5"
        assert got.json["request_id"] == got.headers["x-request-id"] == "dead-email"
        assert ask(made.port, "/message").status == 200
        assert ask(made.port, "/").json["service"] in {"whatsapp", "webhooks"}, (
            "another shows the platform's pages"
        )


def test_a_post_whose_answer_was_lost_is_not_sent_to_another(upstreams: dict[str, Upstream]) -> None:
    with _Cutting() as first, _Cutting() as second:
        addresses = {name: [f"127.0.0.1:{one.port}"] for name, one in upstreams.items()}
        addresses["email"] = [f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"]
        with Gateway(addresses) as made:
            assert ask(made.port, "/email", "POST", b"{}").status == 503
            assert len(first.requests) + len(second.requests) == 1
            assert ask(made.port, "/email").status == 503
            assert len(first.requests) + len(second.requests) == 3, "a GET was asked of both"


class _Cutting(LoopbackServer):
    """Reads the request and hangs up."""

    def handle(self, request: Received) -> Answer:
        raise ConnectionResetError


# --- the files -----------------------------------------------------------------------------------------------------------


def test_the_command_prints_a_configuration_that_nginx_accepts(session_app: Flask, nginx: Gateway) -> None:
    temp = nginx.folder / "printed"
    temp.mkdir()
    runner = session_app.test_cli_runner(env={"GATEWAY_TEMP": str(temp), "GATEWAY_LOG": str(temp / "log")})
    result = runner.invoke(args=["ops", "gateway"])
    assert result.exit_code == 0, result.output
    (temp / "nginx.conf").write_text(result.output)
    done = subprocess.run(
        [program(), "-t", "-c", str(temp / "nginx.conf")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(temp)
