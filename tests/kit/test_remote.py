"""Asking a neighbour: in process and over HTTP alike, and nobody else can ask in its name."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.kit import db, remote
from app.kit.errors import Permanent, RateLimited, Temporary, Unavailable, Unknown
from app.kit.resilience import BreakerOpen
from app.leads.models import Lead
from config import Config
from tests.conftest import Databases
from tests.fakes.loopback import Answer, Drop, LoopbackServer, Received, Stall
from tests.fakes.ports import free_port
from tests.journeys.processes import Program, await_url, commands

LEAD = {"name": "Ana Muñoz", "email": "ana@example.com"}


def ask(client: FlaskClient, headers: dict[str, str], method: str = "POST", path: str = "/leads") -> Any:
    """A request as it would come over the wire."""
    body = json.dumps(LEAD).encode() if method == "POST" else b""
    return client.open(
        path, method=method, data=body, headers={"Content-Type": "application/json", **headers}
    )


def signed(service: str = "leads", method: str = "POST", path: str = "/leads") -> dict[str, str]:
    """The headers of a neighbour's call."""
    return remote.sign(service, method, path, json.dumps(LEAD).encode() if method == "POST" else b"")


def test_a_neighbour_in_the_same_process_is_asked_through_its_own_doors(app: Flask) -> None:
    made = remote.call("leads", "/leads", LEAD)
    assert remote.call("leads", f"/leads/{made['id']}", method="GET")["name"] == "Ana Muñoz"


def test_a_call_does_not_commit_what_the_caller_has_begun(app: Flask) -> None:
    with pytest.raises(RuntimeError), db.transaction() as session:
        session.add(Lead(name="Half done", stage_key="new"))
        remote.call("leads", "/leads", method="GET")
        raise RuntimeError
    assert db.db.session.scalars(select(Lead).where(Lead.name == "Half done")).first() is None


def test_a_signed_call_is_accepted_once(app: Flask, client: FlaskClient) -> None:
    headers = signed()
    assert ask(client, headers).status_code == 201
    again = ask(client, headers)
    assert again.status_code == 401
    assert "made already" in again.json["detail"]


def test_a_question_may_be_asked_again(app: Flask, client: FlaskClient) -> None:
    headers = signed(method="GET")
    assert [ask(client, headers, "GET").status_code for _ in range(2)] == [200, 200]


def test_without_redis_a_signed_call_is_still_accepted(
    app: Flask, client: FlaskClient, monkeypatch: Any
) -> None:
    from app.kit.redis_client import connect

    monkeypatch.setitem(app.extensions, "embudo_redis", connect("unix:///nowhere/redis.sock"))
    assert ask(client, signed()).status_code == 201


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({remote.SIGNATURE: "0" * 64}, "SECRET_KEY"),
        ({remote.SIGNATURE: "ñ"}, "SECRET_KEY"),
        ({remote.NONCE: "another"}, "SECRET_KEY"),
        ({remote.TIME: "1"}, "SECRET_KEY"),
        ({remote.TIME: "soon"}, "SECRET_KEY"),
        ({remote.ASKED: "email"}, "SECRET_KEY"),
    ],
)
def test_a_call_that_was_tampered_with_is_refused(
    app: Flask, client: FlaskClient, change: dict[str, str], says: str
) -> None:
    answer = ask(client, {**signed(), **change})
    assert answer.status_code == 401
    assert says in answer.json["detail"]


def test_another_body_path_or_method_needs_another_signature(app: Flask, client: FlaskClient) -> None:
    headers = remote.sign("leads", "POST", "/leads", b"{}")
    assert ask(client, headers).status_code == 401
    assert ask(client, signed(path="/stages")).status_code == 401
    assert (
        ask(client, signed(method="GET", path="/leads?limit=1"), "GET", "/leads?limit=2").status_code == 401
    )


@pytest.mark.parametrize(("seconds", "word"), [(-120, "ago"), (120, "ahead")])
def test_clocks_that_differ_are_named(
    app: Flask, client: FlaskClient, monkeypatch: Any, seconds: int, word: str
) -> None:
    now = time.time()
    monkeypatch.setattr(remote.time, "time", lambda: now + seconds)
    headers = signed()
    monkeypatch.setattr(remote.time, "time", lambda: now)
    answer = ask(client, headers)
    assert answer.status_code == 401
    assert word in answer.json["detail"]
    assert "clocks" in answer.json["detail"]


def test_a_service_that_runs_elsewhere_without_an_address_is_named(app: Flask, monkeypatch: Any) -> None:
    monkeypatch.setitem(app.extensions, "embudo_services", ("leads",))
    with pytest.raises(Unavailable, match="EMAIL_URL"):
        remote.call("email", "/email", method="GET")


class Neighbour(LoopbackServer):
    """Answers that there is nothing."""

    def handle(self, request: Received) -> Answer:
        return Answer(body={"items": []})


@pytest.fixture
def elsewhere(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Neighbour]:
    """The e-mail service runs elsewhere."""
    monkeypatch.setitem(app.extensions, "embudo_services", ("leads", "whatsapp"))
    with Neighbour() as server:
        monkeypatch.setitem(app.config, "SERVICE_URLS", {"email": server.url})
        yield server


def test_a_question_that_failed_is_asked_once_more_and_nothing_else_is(elsewhere: Neighbour) -> None:
    elsewhere.plan(Answer(status=503), Answer(body={"items": []}), Answer(status=503))
    assert remote.call("email", "/email", method="GET") == {"items": []}
    with pytest.raises(Temporary):
        remote.call("email", "/email", {"to": "x"})
    assert len(elsewhere.requests) == 3
    assert len({item.headers[remote.NONCE.lower()] for item in elsewhere.requests}) == 3


def test_a_neighbour_that_keeps_failing_is_left_alone_for_a_while(elsewhere: Neighbour) -> None:
    elsewhere.plan(*[Answer(status=500)] * 20)
    for _ in range(5):
        with pytest.raises(Temporary):
            remote.call("email", "/email", {})
    with pytest.raises(BreakerOpen):
        remote.call("email", "/email", {})
    assert len(elsewhere.requests) == 5


def test_a_refusal_is_no_failure_of_the_neighbour(elsewhere: Neighbour) -> None:
    elsewhere.plan(*[Answer(status=422)] * 8)
    for _ in range(8):
        with pytest.raises(Permanent):
            remote.call("email", "/email", {})


def test_a_neighbour_that_wants_fewer_calls_is_not_asked_again_at_once(elsewhere: Neighbour) -> None:
    elsewhere.plan(Answer(status=429, headers={"Retry-After": "7"}))
    with pytest.raises(RateLimited) as told:
        remote.call("email", "/email", method="GET")
    assert told.value.retry_after == 7
    assert len(elsewhere.requests) == 1


def test_a_call_whose_answer_was_lost_may_have_been_heard(elsewhere: Neighbour) -> None:
    elsewhere.plan(Drop())
    with pytest.raises(Unknown):
        remote.call("email", "/email", {})


def test_a_neighbour_that_does_not_answer_in_time_costs_no_more_than_said(elsewhere: Neighbour) -> None:
    elsewhere.plan(Stall(), Stall())
    with pytest.raises(Unknown):
        remote.call("email", "/email", method="GET", read=0.2)
    assert len(elsewhere.requests) == 2
    elsewhere.free()


@pytest.mark.slow
def test_two_processes_speak_as_one_does(
    app: Flask, config: Config, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, urls = free_port(), databases.urls()
    chosen = {"PLATFORM_DATABASE_URL": urls["platform"], "LEADS_DATABASE_URL": urls["leads"]}
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SERVICES": "leads",
        "SECRET_KEY": config.secret_key,
        "REDIS_URL": str(config.redis_url),
        "EMBUDO_INSTANCE": str(tmp_path),
        "WEB_CONCURRENCY": "1",
        **({"DATABASE_URL": urls["leads"]} if urls["leads"] == urls["platform"] else chosen),
    }
    program = Program(commands(port)["web"], env=env, log=tmp_path / "log")
    program.start()
    try:
        await_url(f"http://127.0.0.1:{port}/readyz", program.log)
        monkeypatch.setitem(app.extensions, "embudo_services", ("email",))
        monkeypatch.setitem(app.config, "SERVICE_URLS", {"leads": f"http://127.0.0.1:{port}"})
        made = remote.call("leads", "/leads", LEAD)
        assert remote.call("leads", f"/leads/{made['id']}", method="GET")["name"] == "Ana Muñoz"
        found = remote.call("leads", "/leads?q=Ana%20Mu%C3%B1oz&limit=5", method="GET")
        assert [item["id"] for item in found["items"]] == [made["id"]]
        with pytest.raises(Permanent) as refused:
            remote.call("leads", f"/leads/{db.new_id()}", method="GET")
        assert refused.value.code == "404"
    finally:
        program.stop()
    with pytest.raises(Temporary):
        remote.call("leads", "/leads", method="GET")
