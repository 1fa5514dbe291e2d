"""What Prometheus is told: to whom, with which labels, and what is left when a part is broken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from app.kit import db, metrics, telemetry
from app.kit.metrics import state
from app.kit.redis_client import connect, redis
from app.kit.resilience import breaker
from config import Config, ConfigError

TOKEN = "a token of the tests"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def told(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """Scrapes: name of a metric → its samples as (labels, value)."""
    monkeypatch.setitem(app.config, "METRICS_TOKEN", TOKEN)

    def scrape() -> dict[str, Any]:
        app.extensions["embudo_metrics"].forget()
        answer = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        return {
            family.name + ("_total" if family.type == "counter" else ""): [
                (sample.labels, sample.value) for sample in family.samples
            ]
            for family in text_string_to_metric_families(answer.text)
        }

    return scrape


# --- to whom ---------------------------------------------------------------------------------------------------------


def test_without_a_token_set_there_is_nothing(client: FlaskClient) -> None:
    answer = client.get("/metrics", headers={"Authorization": "Bearer "})
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "header", ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Bearer ñ"]
)
def test_nothing_is_told_without_the_token(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    monkeypatch.setitem(app.config, "METRICS_TOKEN", TOKEN)
    answer = client.get("/metrics", headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert b"embudo_" not in answer.data


def test_an_api_key_and_a_session_are_no_token(
    app: Flask, admin: FlaskClient, api: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "METRICS_TOKEN", TOKEN)
    assert admin.get("/metrics").status_code == 401
    assert api().get("/metrics").status_code == 401


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"METRICS_TOKEN": "short"}, "METRICS_TOKEN must be"),
        ({"METRICS_TOKEN": "sixteen letters and a space"}, "METRICS_TOKEN must be"),
        ({"METRICS_PORT": "9109"}, "METRICS_PORT is set without METRICS_TOKEN"),
        ({"METRICS_PORT": "0", "METRICS_TOKEN": "x" * 16}, "METRICS_PORT must be a whole number"),
        ({"METRICS_DIR": __file__}, "METRICS_DIR must be a folder"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Config.from_env({"EMBUDO_INSTANCE": str(tmp_path), **environ})


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_come_from_rules_and_known_methods_never_from_what_somebody_types(
    client: FlaskClient, told: Callable[[], dict[str, Any]]
) -> None:
    for number in range(20):
        client.get(f"/nothing/{number}")
        client.get(f"/leads/{db.new_id()}")
        client.open("/nothing", method=f"WORD{number}")
    seen = [labels for labels, _ in told()["embudo_http_requests_total"]]
    assert {"method": "GET", "route": "/leads/<lead_id>", "status": "401"} in seen
    assert {"method": "GET", "route": "(none)", "status": "404"} in seen
    assert {"method": "(other)", "route": "(none)", "status": "404"} in seen
    assert not [labels for labels in seen if re.search(r"\d", labels["route"]) or "WORD" in labels["method"]]


def test_a_failure_is_counted_by_what_it_means() -> None:
    from app.kit.errors import Misconfigured, RateLimited, Temporary, Unknown

    errors = (None, Temporary("x"), RateLimited("x"), Misconfigured("x"), Unknown("x"), ValueError("x"))
    assert [telemetry.outcome_of(error) for error in errors] == [
        "ok", "temporary", "rate_limited", "misconfigured", "unknown", "bug",
    ]  # fmt: skip


def test_rows_of_one_name_become_series_of_their_own() -> None:
    names = metrics.distinct([("id-00000001", "Sales"), ("id-00000002", "Sales"), ("id-00000003", "Other")])
    assert sorted(names.values()) == ["Other", "Sales (00000001)", "Sales (00000002)"]


# --- state -----------------------------------------------------------------------------------------------------------


def value(found: dict[str, Any], name: str, **labels: str) -> float:
    return float(next(number for seen, number in found[name] if labels.items() <= seen.items()))


def add_waiting(count: int) -> None:
    """Events that nobody confirms, mails and webhook deliveries that are due."""
    from app.contracts.events import EmailSent
    from app.email.models import Message
    from app.kit import outbox

    with db.transaction() as session:
        for number in range(count):
            outbox.publish(EmailSent(message_id=db.new_id(), lead_id=None, template=None))
            session.add(
                Message(
                    to=f"a{number}@example.com", to_ascii=f"a{number}@example.com", subject="s", text="t",
                    next_attempt_at=db.utcnow() - timedelta(seconds=90),
                )
            )  # fmt: skip


def test_what_waits_is_told_with_its_age(told: Callable[[], dict[str, Any]]) -> None:
    before = told()
    assert value(before, "embudo_due_rows", service="email", work="send") == 0
    assert value(before, "embudo_relay_heartbeat_age_seconds", service="email") == float("inf")
    assert value(before, "embudo_queue_workers", queue="email") == 0
    add_waiting(3)
    found = told()
    assert value(found, "embudo_due_rows", service="email", work="send") == 3
    assert 90 <= value(found, "embudo_due_oldest_age_seconds", service="email", work="send") < 200
    assert value(found, "embudo_email_messages_last_day", state="queued") == 3
    assert value(found, "embudo_metrics_scrape_errors") == 0


def test_a_mail_of_the_day_before_yesterday_is_not_counted(told: Callable[[], dict[str, Any]]) -> None:
    from app.email.models import Message

    old = db.first_id_at(db.utcnow() - timedelta(days=2))
    with db.transaction() as session:
        session.add(Message(id=old, to="a@example.com", to_ascii="a@example.com", subject="s", text="t"))
    assert told()["embudo_email_messages_last_day"] == []


def test_an_open_breaker_is_told(app: Flask, told: Callable[[], dict[str, Any]]) -> None:
    from app.kit.errors import Misconfigured

    app.config["MAIL_SERVER"] = "127.0.0.1"
    try:
        assert value(told(), "embudo_breaker_open", provider="mail: smtp") == 0
        with pytest.raises(Misconfigured), breaker("mail:smtp"):
            raise Misconfigured("no")
        assert value(told(), "embudo_breaker_open", provider="mail: smtp") == 1
    finally:
        app.config["MAIL_SERVER"] = None


def statements(app: Flask) -> Iterator[list[str]]:
    seen: list[str] = []
    engines = {db.engine_of(bind) for bind in ("platform", "whatsapp", "leads", "email", "webhooks")}

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def test_the_number_of_queries_does_not_grow_with_the_rows(
    app: Flask, told: Callable[[], dict[str, Any]]
) -> None:
    counts = []
    for _ in range(2):
        watch = statements(app)
        seen = next(watch)
        told()
        counts.append(len(seen))
        next(watch, None)
        add_waiting(25)
    assert counts[0] == counts[1] > 10


def test_a_broken_part_is_counted_and_hides_no_other(app: Flask, told: Callable[[], dict[str, Any]]) -> None:
    with db.engine_of("webhooks").begin() as connection:
        connection.execute(text("DROP TABLE webhooks_attempt"))
        connection.execute(text("DROP TABLE webhooks_delivery"))
    found = told()
    assert value(found, "embudo_metrics_scrape_errors") == 2  # due work, and the day's deliveries
    assert value(found, "embudo_outbox_pending", service="webhooks") == 0
    assert value(found, "embudo_due_rows", service="email", work="send") == 0


def test_a_database_that_is_gone_is_told_and_the_others_speak_on(
    app: Flask, told: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_options: Any) -> None:
        raise OperationalError("connect", {}, Exception("gone"))

    engine = db.engine_of("leads")
    engine.dispose()
    with monkeypatch.context() as patched:
        patched.setattr(engine.dialect, "connect", refuse)
        found = told()
    assert value(found, "embudo_database_up", bind="leads") == 0
    assert value(found, "embudo_metrics_scrape_errors") > 0
    assert value(found, "embudo_redis_up") == 1
    assert not [1 for labels, _ in found["embudo_outbox_pending"] if labels["service"] == "leads"]
    if engine is not db.engine_of("email"):  # one PostgreSQL for all is gone for all
        assert value(found, "embudo_outbox_pending", service="email") == 0


def test_redis_that_is_gone_is_told_and_the_databases_speak_on(
    app: Flask, told: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    living = redis()
    app.extensions["embudo_redis"] = connect(f"unix://{tmp_path}/nobody.sock")
    try:
        found = told()
    finally:
        app.extensions["embudo_redis"] = living
    assert value(found, "embudo_redis_up") == 0
    assert value(found, "embudo_database_up", bind="leads") == 1
    assert value(found, "embudo_outbox_pending", service="leads") == 0
    assert found["embudo_queue_depth"] == []


@pytest.mark.postgresql
def test_a_query_that_takes_too_long_is_broken_off(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "QUERY_MS", 50)

    def sleep() -> list[state.Sample]:
        db.db.session.execute(text("SELECT pg_sleep(20)"), bind_arguments={"bind": db.engine_of("leads")})
        return []

    with pytest.raises(OperationalError, match="statement timeout"):
        state._read(state.Part(name="slow", gauges=(), read=sleep, needs=("leads",)))


# --- the documentation -----------------------------------------------------------------------------------------------


def test_the_page_lists_what_is_told_with_its_labels_and_nothing_else(app: Flask) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    listed = {
        name: tuple(label.strip() for label in (labels or "").split(",") if label.strip())
        for name, labels in re.findall(r"^\| `(embudo_\w+)(?:\{([\w, ]+)\})?` \|", page, re.MULTILINE)
    }
    gauges = [state.DATABASE_UP, state.REDIS_UP, state.SCRAPE_ERRORS]
    gauges += [gauge for part in app.extensions["embudo_metrics"].parts for gauge in part.gauges]
    told = {gauge.name: gauge.labels for gauge in gauges}
    for counter in telemetry.COUNTED:
        ending = "_total" if type(counter).__name__ == "Counter" else ""
        told[counter._name + ending] = tuple(counter._labelnames)
    assert listed == told
