"""What `flask ops doctor` says of Airtable: whoami, the bases, the webhooks; each finding names what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime

import pytest
from flask import Flask

from app.kit import db
from app.leads.commands import airtable_settings as settings
from app.leads.providers.fake import LEADS_BASE, StandIn
from app.leads.providers.fake.answers import no_model
from tests.conftest import Doctor
from tests.fakes.loopback import Answer, Received
from tests.fakes.ports import free_port
from tests.leads.airtable.conftest import TOKEN, AirtableServer, connection, pull

WHERE = "/admin/airtable (Sales)"
FINE = ("ok", "Airtable accepts the credentials.", "")
AT_TOKENS = "at airtable.com/create/tokens"
NEEDS = {
    "schema.bases:read": r"/v0/meta/bases(/\w+/tables)?",
    "webhook:manage": r"/v0/bases/\w+/webhooks.*",
}
"""Scope → what Airtable refuses without it."""


class ScopedServer(AirtableServer):
    """A token that lacks scopes. told: what whoami says of the scopes, as it does for tokens by OAuth."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__(stand_in)
        self.lacks: set[str] = set()
        self.told: list[str] | None = None
        self.ahead = timedelta()

    def handle(self, request: Received) -> Answer:
        if any(re.fullmatch(NEEDS[scope], request.path) for scope in self.lacks):
            refused = no_model().answer()
            return Answer(status=refused.status, body=refused.payload)
        answer = super().handle(request)
        if request.path != "/v0/meta/whoami" or answer.status != 200:
            return answer
        body = json.loads(answer.payload) | ({} if self.told is None else {"scopes": self.told})
        return Answer(body=body, headers={"Date": format_datetime(db.utcnow() + self.ahead, usegmt=True)})


@pytest.fixture
def server(stand_in: StandIn) -> Iterator[ScopedServer]:
    with ScopedServer(stand_in) as running:
        yield running


def said(doctor: Doctor, name: str = "Sales", where: str = WHERE) -> list[tuple[str, str, str]]:
    """Level, finding and remedy of the connection's check."""
    found = [item for item in doctor()[1] if item["check"] == f"airtable {name}"]
    assert {item["where"] for item in found} == {where}
    return [(item["level"], item["what"], item["remedy"]) for item in found]


def test_a_token_that_opens_the_base_is_ok_and_nothing_is_written(
    doctor: Doctor, connect: Callable[..., str], server: ScopedServer
) -> None:
    connect()
    server.requests.clear()
    assert said(doctor) == [FINE]
    assert [(request.method, request.path) for request in server.requests] == [
        ("GET", "/v0/meta/whoami"),
        ("GET", "/v0/meta/bases"),
    ]


def test_a_wrong_token_is_a_problem_and_is_not_repeated(
    doctor: Doctor, connect: Callable[..., str], server: ScopedServer
) -> None:
    connection_id = connect()
    with db.own_context(), db.transaction():
        settings.change_connection(connection_id, {"token": "patAnother.that-nobody-may-read"})
    status, findings = doctor()
    (found,) = [item for item in findings if item["check"] == "airtable Sales"]
    assert found["what"] == "Airtable refuses the credentials or the account (AUTHENTICATION_REQUIRED)."
    assert found["remedy"] == "Check them in the console of Airtable and enter them again."
    assert status == 1
    shown = json.dumps(findings)
    assert "patAnother" not in shown and TOKEN not in shown


def test_a_scope_that_is_missing_is_named(
    doctor: Doctor, connect: Callable[..., str], server: ScopedServer
) -> None:
    connect()
    server.lacks = {"schema.bases:read"}
    ((level, what, remedy),) = said(doctor)
    assert (level, what) == ("problem", "The token lacks a scope: schema.bases:read")
    assert AT_TOKENS in remedy


def test_scopes_that_airtable_tells_are_believed(
    doctor: Doctor, connect: Callable[..., str], server: ScopedServer
) -> None:
    connect()
    server.told = ["data.records:read", "schema.bases:read"]
    ((level, what, _),) = said(doctor)
    assert (level, what) == ("problem", "The token lacks a scope: data.records:write")
    server.told = ["data.records:read", "data.records:write", "schema.bases:read", "webhook:manage"]
    assert said(doctor) == [FINE]


@pytest.mark.parametrize("permission", ["none", "read", "comment"])
def test_a_base_that_is_not_shared_for_writing_is_told(
    doctor: Doctor, connect: Callable[..., str], stand_in: StandIn, permission: str
) -> None:
    connect()
    with stand_in.store.transaction() as tables:
        tables.execute("UPDATE base SET permission = ? WHERE id = ?", (permission, LEADS_BASE))
    ((level, what, remedy),) = said(doctor)
    assert (level, what) == ("problem", "The token does not open the base, or not for writing.")
    assert AT_TOKENS in remedy and "as an editor" in remedy


def test_a_token_of_the_environment_that_opens_nothing_is_told(
    app: Flask, doctor: Doctor, server: ScopedServer, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "AIRTABLE_API_KEY", TOKEN)
    monkeypatch.setitem(app.config, "AIRTABLE_ENDPOINT_URL", server.url)
    assert said(doctor, "environment", "AIRTABLE_API_KEY") == [FINE]
    with stand_in.store.transaction() as tables:
        tables.execute("UPDATE base SET permission = 'none'")
    ((level, what, remedy),) = said(doctor, "environment", "AIRTABLE_API_KEY")
    assert (level, what) == ("warning", "The token opens no base.")
    assert AT_TOKENS in remedy


def test_webhooks_that_the_token_may_not_manage_are_told_where_they_are_wanted(
    app: Flask,
    doctor: Doctor,
    connect: Callable[..., str],
    server: ScopedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(webhook_wanted=True)
    server.lacks = {"webhook:manage"}
    assert said(doctor) == [FINE], "nobody could call us"
    monkeypatch.setitem(app.config, "PUBLIC_URL", "https://crm.acme.com")
    (level, what, remedy), fine = said(doctor)
    assert (level, fine) == ("warning", FINE)
    assert what == "The token may not manage webhooks, so changes in Airtable come in minutes later."
    assert "webhook:manage" in remedy
    server.lacks = set()
    assert said(doctor) == [FINE]


def test_a_clock_that_is_off_is_told(
    doctor: Doctor, connect: Callable[..., str], server: ScopedServer
) -> None:
    connect()
    server.ahead = timedelta(minutes=10)
    (level, what, _), fine = said(doctor)
    assert (level, fine) == ("problem", FINE)
    assert "behind Airtable" in what


def test_airtable_that_is_away_is_told_apart_from_a_wrong_token(
    app: Flask,
    doctor: Doctor,
    connect: Callable[..., str],
    server: ScopedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect()
    server.plan(Answer(status=503, body={"error": "SERVICE_UNAVAILABLE"}))
    assert [what for _, what, _ in said(doctor)] == ["Airtable gave no usable answer (503)."]
    monkeypatch.setitem(app.config, "AIRTABLE_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert [what for _, what, _ in said(doctor)] == ["Airtable cannot be reached."]


def test_a_connection_that_has_stopped_is_told_with_its_code(
    doctor: Doctor, connect: Callable[..., str], stand_in: StandIn
) -> None:
    connection_id = connect()
    with stand_in.store.transaction() as tables:
        tables.execute("UPDATE base SET permission = 'none'")
    pull(full=True)
    code = connection(connection_id).error_code
    assert connection(connection_id).state == "stopped" and code
    found = [item for item in doctor("--offline")[1] if item["check"] == "airtable"]
    assert [(item["level"], item["what"], item["where"]) for item in found] == [
        ("problem", f"The connection has stopped ({code}).", WHERE)
    ]
    assert found[0]["remedy"] == "Mend what that page names, then start it again there."
