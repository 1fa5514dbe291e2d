"""The doctor finds what is wrong, says what to do, and neither sends, writes nor tells secrets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.admin.language import compile_catalogues
from app.kit import db, health, migrate
from app.kit.cli import doctor_
from app.kit.doctor import Check, Finding, examine, fault, ok, storage
from app.whatsapp.commands import channels
from tests.conftest import Doctor
from tests.fakes import meta_server, sendgrid_server, twilio_server
from tests.fakes.loopback import Answer, LoopbackServer, Received, Stall
from tests.fakes.meta_server import MetaServer
from tests.fakes.ports import free_port
from tests.fakes.sendgrid_server import SendGridServer
from tests.fakes.smtp_server import PASSWORD, USERNAME, smtp_server
from tests.fakes.twilio_server import TwilioServer


@pytest.fixture
def twilio_channel(app: Flask) -> Iterator[TwilioServer]:
    """A Twilio account that an active channel uses."""
    with TwilioServer() as server:
        add_twilio(server.url)
        yield server


def add_twilio(url: str, token: str = twilio_server.AUTH_TOKEN, name: str = "Ventas") -> None:
    with db.own_context(), db.transaction():
        channels.add_channel(
            name=name,
            provider="twilio",
            credentials={
                "account_sid": twilio_server.ACCOUNT_SID,
                "auth_token": token,
                "whatsapp_from": f"+1415523{len(name):04d}",
                "api_url": url,
            },
        )


def about(findings: list[dict[str, str]], check: str) -> list[tuple[str, str]]:
    return [(item["level"], item["what"]) for item in findings if item["check"] == check]


# --- providers ---------------------------------------------------------------------------------------------------------


def test_good_credentials_are_ok_and_nothing_is_sent(doctor: Doctor, twilio_channel: TwilioServer) -> None:
    _, findings = doctor()
    assert about(findings, "whatsapp twilio Ventas") == [("ok", "Twilio accepts the credentials.")]
    assert {request.method for request in twilio_channel.requests} == {"GET"}
    assert any(item["what"].endswith("http://localhost/message") for item in findings), "the address to paste"


def test_a_wrong_token_is_a_problem_and_is_not_repeated(app: Flask, doctor: Doctor) -> None:
    with TwilioServer() as server:
        add_twilio(server.url, token="a-wrong-token-that-nobody-may-read")
        code, findings = doctor()
    assert about(findings, "whatsapp twilio Ventas") == [
        ("problem", "Twilio refuses the credentials or the account (20003).")
    ]
    assert code == 1
    shown = json.dumps(findings)
    assert "a-wrong-token" not in shown and twilio_server.ACCOUNT_SID not in shown and "+1415" not in shown


def test_an_account_that_is_suspended_is_a_problem(doctor: Doctor, twilio_channel: TwilioServer) -> None:
    twilio_channel.account_status = "suspended"
    assert ("problem", "The account is suspended or closed.") in about(doctor()[1], "whatsapp twilio Ventas")


def test_a_host_that_is_not_there_is_told_apart_from_a_wrong_token(app: Flask, doctor: Doctor) -> None:
    add_twilio(f"http://127.0.0.1:{free_port()}")
    assert about(doctor()[1], "whatsapp twilio Ventas") == [("problem", "Twilio cannot be reached.")]


def test_a_clock_that_is_off_is_told_with_its_seconds(doctor: Doctor, twilio_channel: TwilioServer) -> None:
    twilio_channel.headers = {"Date": format_datetime(db.utcnow() + timedelta(minutes=10), usegmt=True)}
    levels = about(doctor()[1], "whatsapp twilio Ventas")
    assert [level for level, what in levels if "behind Twilio" in what] == ["problem"]
    twilio_channel.headers = {"Date": format_datetime(db.utcnow() - timedelta(minutes=1), usegmt=True)}
    levels = about(doctor()[1], "whatsapp twilio Ventas")
    assert [level for level, what in levels if "ahead of Twilio" in what] == ["warning"]


def test_offline_calls_nobody(doctor: Doctor, twilio_channel: TwilioServer) -> None:
    _, findings = doctor("--offline")
    assert twilio_channel.requests == []
    assert about(findings, "whatsapp twilio Ventas") == [] == about(findings, "public address answers")


@pytest.mark.parametrize(
    ("token", "status", "expected"),
    [
        (meta_server.ACCESS_TOKEN, "CONNECTED", "ok"),
        (meta_server.ACCESS_TOKEN, "RESTRICTED", "problem"),
        ("another-token", "CONNECTED", "problem"),
    ],
)
def test_a_number_at_meta_is_asked_for(
    app: Flask, doctor: Doctor, token: str, status: str, expected: str
) -> None:
    with MetaServer() as server:
        server.status = status
        with db.own_context(), db.transaction():
            channels.add_channel(
                name="Meta",
                provider="meta",
                credentials={
                    "phone_number_id": meta_server.PHONE_NUMBER_ID,
                    "access_token": token,
                    "app_secret": meta_server.APP_SECRET,
                    "verify_token": meta_server.VERIFY_TOKEN,
                    "graph_url": server.url,
                },
            )
        assert about(doctor()[1], "whatsapp meta Meta")[0][0] == expected


@pytest.mark.parametrize(
    ("key", "scopes", "expected"),
    [
        (sendgrid_server.API_KEY, ["mail.send"], "ok"),
        (sendgrid_server.API_KEY, ["stats.read"], "problem"),
        ("SG.another", ["mail.send"], "problem"),
    ],
)
def test_a_key_of_sendgrid_must_be_known_and_may_send(
    app: Flask, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, key: str, scopes: list[str], expected: str
) -> None:
    with SendGridServer() as server:
        server.scopes = scopes
        monkeypatch.setitem(app.config, "SENDGRID_API_KEY", key)
        monkeypatch.setitem(app.config, "SENDGRID_API_URL", server.url)
        assert about(doctor()[1], "email sendgrid")[0][0] == expected
        assert server.accepted == []


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # which is one of the findings
@pytest.mark.parametrize(("password", "expected"), [(PASSWORD, "ok"), ("wrong horse", "problem")])
def test_a_mail_server_is_logged_in_to_and_gets_no_mail(
    app: Flask, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, password: str, expected: str
) -> None:
    with smtp_server(auth=True) as script:
        for name, value in {
            "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": script.port, "MAIL_USERNAME": USERNAME, "MAIL_PASSWORD": password,
        }.items():  # fmt: skip
            monkeypatch.setitem(app.config, name, value)
        findings = doctor()[1]
        assert about(findings, "email smtp")[0][0] == expected
        assert ("problem", "The password travels to the mail server in the open.") in about(findings, "email")
        assert script.received == [] and script.asked == []


# --- what we stand on --------------------------------------------------------------------------------------------------


def test_a_missing_migration_names_its_database(app: Flask, doctor: Doctor) -> None:
    with db.engine_of("leads").begin() as connection:
        connection.execute(
            text("UPDATE alembic_version_leads SET version_num = :first"),
            {"first": migrate.known("leads")[0]},
        )
    code, findings = doctor("--offline")
    assert ("problem", "Migrations are missing: leads.") in [
        (item["level"], item["what"]) for item in findings if item["check"].startswith("database")
    ]
    assert code == 1


def test_without_databases_it_says_what_to_run_and_makes_none(tmp_path: Path, config: Any) -> None:
    from app import create_app

    folder = tmp_path / "fresh"
    folder.mkdir()
    urls = {bind: f"sqlite:///{folder}/{bind}.sqlite" for bind in config.databases}
    fresh = create_app(replace(config, databases=urls, instance_dir=folder), role="cli")
    result = fresh.test_cli_runner().invoke(doctor_, ["--json", "--offline", "--language", "en"])
    assert result.exit_code == 1
    remedies = {
        item["remedy"]
        for item in json.loads(result.stdout)["findings"]
        if item["check"].startswith("database")
    }
    assert remedies == {"Run: flask ops setup"}
    assert list(folder.iterdir()) == []
    db.dispose_engines(fresh)


def test_nobody_at_work_is_a_problem_for_each_queue_and_relay(doctor: Doctor) -> None:
    _, findings = doctor("--offline")
    assert len([level for level, _ in about(findings, "workers") if level == "problem"]) == 5
    assert [level for level, _ in about(findings, "relay")] == ["problem"] * 4


def test_redis_that_forgets_what_it_holds_is_a_problem() -> None:
    def at(**info: Any) -> list[str]:
        return [item.level for item in storage._persistence(info, "REDIS_URL")]

    assert at(aof_enabled=1) == []
    assert at(aof_enabled=0) == ["warning"]
    assert at(aof_enabled=1, aof_last_write_status="err") == ["problem"]


def test_redis_may_not_evict(app: Flask, doctor: Doctor) -> None:
    from app.kit.redis_client import redis

    redis().config_set("maxmemory-policy", "allkeys-lru")
    try:
        findings = doctor("--offline")[1]
    finally:
        redis().config_set("maxmemory-policy", "noeviction")
    assert any(level == "problem" and "allkeys-lru" in what for level, what in about(findings, "redis"))


def test_a_key_that_can_be_guessed_is_a_problem(
    app: Flask, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "SECRET_KEY", "kX9_changeme_changeme_0123")
    assert about(doctor("--offline")[1], "secret")[0][0] == "problem"
    monkeypatch.setitem(app.config, "SECRET_KEY", "b1Qw_7GzR4u9Yp2LmX8vTk3NcE6dJh5s")
    assert [level for level, _ in about(doctor("--offline")[1], "secret")] == ["ok"]


class Web(LoopbackServer):
    """What answers at PUBLIC_URL."""

    mark = ""

    def handle(self, request: Received) -> Answer:
        return Answer(body={"status": "ok"}, headers={health.MARK_HEADER: self.mark})


def test_the_public_address_must_lead_here(
    app: Flask, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Web() as web:
        monkeypatch.setitem(app.config, "PUBLIC_URL", web.url)
        assert about(doctor()[1], "public address answers")[0][0] == "problem", "somebody else answers"
        web.mark = health.mark()
        assert about(doctor()[1], "public address answers")[0][0] == "ok"
        web.plan(Answer(status=301, headers={"Location": "https://elsewhere.example"}))
        assert "redirects" in about(doctor()[1], "public address answers")[0][1]
    assert about(doctor()[1], "public address answers")[0][0] == "problem", "nobody answers"


def test_the_web_carries_the_mark(app: Flask) -> None:
    assert app.test_client().get("/healthz").headers[health.MARK_HEADER] == health.mark()


# --- how it is asked ---------------------------------------------------------------------------------------------------


def test_a_slow_and_a_broken_check_hide_no_other(app: Flask) -> None:
    never = threading.Event()

    def slow() -> Iterator[Finding]:
        yield ok("said before it hung")
        never.wait(30)
        yield ok("never said")

    def broken() -> Iterator[Finding]:
        yield fault("found before it broke", "", "")
        raise KeyError("a secret")

    checks = [
        Check(name="slow", run=slow, seconds=0.3),
        Check(name="broken", run=broken),
        Check(name="fine", run=lambda: [ok("fine")]),
    ]
    reports = examine(app, checks, language="en")
    never.set()
    assert {report.check: [item.what for item in report.findings] for report in reports} == {
        "slow": ["said before it hung", "No answer in time."],
        "broken": ["found before it broke", "The check itself failed (KeyError)."],
        "fine": ["fine"],
    }


def test_a_provider_that_never_answers_is_given_up(
    app: Flask, doctor: Doctor, twilio_channel: TwilioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.kit.doctor.findings.CHECK_SECONDS", 1.0)
    monkeypatch.setattr(Check, "__init__", _hasty(Check.__init__))
    twilio_channel.plan(Stall())
    with TwilioServer() as other:
        add_twilio(other.url, name="Soporte")
        findings = doctor()[1]
    assert about(findings, "whatsapp twilio Ventas") == [("problem", "No answer in time.")]
    assert about(findings, "whatsapp twilio Soporte")[0][0] == "ok"


def _hasty(make: Any) -> Any:
    def init(self: Check, **fields: Any) -> None:
        make(self, **{**fields, "seconds": 2.0})

    return init


def test_checks_run_at_the_same_time(app: Flask) -> None:
    together = threading.Barrier(3)

    def wait() -> list[Finding]:
        together.wait(20)  # breaks when the three do not run at once
        return [ok("met")]

    reports = examine(app, [Check(name=str(n), run=wait, seconds=25) for n in range(3)], language="en")
    assert [item.what for report in reports for item in report.findings] == ["met"] * 3


def test_it_speaks_the_language_of_the_shell(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_catalogues()
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "es_MX.UTF-8")
    runner = app.test_cli_runner()
    assert "problemas" in runner.invoke(doctor_, ["--offline"]).stdout
    assert "problems" in runner.invoke(doctor_, ["--offline", "--language", "en"]).stdout
