"""Mails wait while no way out that somebody wants can be used; only where nobody set one up do they stay here as sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.email import commands, jobs, metrics, queries
from app.email.models import Message
from app.kit import db
from tests.conftest import Doctor
from tests.email.test_delivery import change, events, fresh, outcomes
from tests.fakes.sendgrid_server import API_KEY
from tests.fakes.smtp_server import SmtpScript

Queue = Callable[..., Message]
Drain = Callable[[], None]

ANOTHER_SECRET = "another secret that is long enough too"


def overdue() -> tuple[float, float]:
    """What the metrics say of mails that are due: how many, and for how many seconds the oldest has been."""
    (part,) = [part for part in metrics.PARTS if part.name == "due work of email"]
    values = {(gauge.name, labels[1]): value for gauge, labels, value in part.read()}
    return values["embudo_due_rows", "send"], values["embudo_due_oldest_age_seconds", "send"]


def change_provider(name: str, **changes: object) -> None:
    with db.transaction():
        commands.change_provider(name, changes)


def assert_waits(message: Message) -> None:
    """It has not left, says why, and nobody was told that it was sent."""
    stored = fresh(message)
    assert (stored.status, stored.error_code, stored.attempts) == ("deferred", "no_way", 0)
    assert (stored.provider, stored.sent_at) == (None, None)
    assert events() == []


def test_mails_wait_while_the_only_provider_is_switched_off_and_leave_once_when_it_is_on(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    change_provider("smtp", enabled=False)
    messages = [queue(to=f"ann{number}@example.com") for number in range(3)]
    drain()
    drain()
    for message in messages:
        assert_waits(message)
        assert outcomes(message) == []  # nothing was tried
    assert mail_server.received == []

    change_provider("smtp", enabled=True)
    drain()
    drain()
    assert [(fresh(message).status, fresh(message).error_code) for message in messages] == [
        ("sent", None)
    ] * 3
    assert sorted(mail_server.recipients()) == [f"ann{number}@example.com" for number in range(3)]
    assert [name for name, _ in events()] == ["email.sent"] * 3


def test_mails_wait_while_what_was_typed_into_the_admin_cannot_be_read(
    app: Flask, queue: Queue, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_provider("sendgrid", settings={"SENDGRID_API_KEY": API_KEY})
    monkeypatch.setitem(app.config, "SECRET_KEY", ANOTHER_SECRET)
    message = queue()
    drain()

    assert_waits(message)


def test_mails_wait_while_what_was_typed_into_the_admin_is_not_all(queue: Queue, drain: Drain) -> None:
    change_provider("sendgrid", settings={"MAIL_DEFAULT_SENDER": "ventas@example.com"})
    message = queue()
    drain()

    assert_waits(message)


def test_mails_wait_for_a_provider_that_is_named_and_lacks_its_settings(
    app: Flask, queue: Queue, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "MAIL_PROVIDERS", ("ses",))
    message = queue()
    drain()

    assert_waits(message)


def test_a_provider_that_is_off_and_was_never_set_up_keeps_no_mail_waiting(
    queue: Queue, drain: Drain
) -> None:
    change_provider("smtp", enabled=False)
    message = queue()
    drain()

    assert (fresh(message).status, fresh(message).provider) == ("sent", "outbox")


def test_more_mails_than_one_batch_wait(queue: Queue, mail_server: SmtpScript, drain: Drain) -> None:
    change_provider("smtp", enabled=False)
    with db.transaction():
        for number in range(250):
            commands.queue_email(commands.Order(to=f"a{number}@example.com", subject="Hello", text="Hello"))
    drain()

    assert queries.count_by_status() == {"deferred": 250}


def test_a_mail_that_waits_is_overdue_work(queue: Queue, mail_server: SmtpScript, drain: Drain) -> None:
    change_provider("smtp", enabled=False)
    message = queue()
    change(message, next_attempt_at=db.utcnow() - timedelta(minutes=20))
    drain()

    count, age = overdue()
    assert (count, age >= 1200) == (1, True)
    assert not jobs.has_due()  # but nothing can be done for it, so the relay does not ring

    change_provider("smtp", enabled=True)
    assert jobs.has_due()


def test_waiting_for_a_way_out_ends_after_a_day_and_the_mail_can_be_sent_by_hand(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    change_provider("smtp", enabled=False)
    message = queue()
    change(message, give_up_at=db.utcnow() - timedelta(seconds=1))
    drain()

    stored = fresh(message)
    assert (stored.status, stored.error_code, stored.next_attempt_at) == ("failed", "no_way", None)
    assert outcomes(message) == ["failed"]
    assert [(name, data["reason"]) for name, data in events()] == [("email.failed", "no_way")]

    change_provider("smtp", enabled=True)
    with db.transaction():
        commands.retry_email(message.id)
    drain()
    assert fresh(message).status == "sent"


def test_a_mail_that_waits_can_be_stopped(queue: Queue, mail_server: SmtpScript, drain: Drain) -> None:
    change_provider("smtp", enabled=False)
    message = queue()
    drain()
    with db.transaction():
        commands.cancel_email(message.id)
    change_provider("smtp", enabled=True)
    drain()

    assert fresh(message).status == "cancelled"
    assert mail_server.received == []


def test_the_pages_say_that_mails_wait(
    admin: FlaskClient, queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    admin.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"
    change_provider("smtp", enabled=False)
    message = queue()
    drain()

    sentence = "No way out for mail can be used, so mails wait."
    for path in ("/admin/outbox/list/", f"/admin/outbox/show/{message.id}", "/admin/mail-providers/"):
        page = admin.get(path).text
        assert sentence in page
        assert "mails are kept here" not in page
    assert (
        "No mail provider can be used. It leaves when one is switched on and set up."
        in admin.get(f"/admin/outbox/show/{message.id}").text
    )
    health = {item["label"]: item for item in admin.get("/home/live").json["health"]}
    assert (health["E-mail"]["level"], health["E-mail"]["text"]) == (
        "error",
        "No mail provider can be used; mails wait.",
    )


def test_the_doctor_says_that_mails_wait(doctor: Doctor, mail_server: SmtpScript) -> None:
    change_provider("smtp", enabled=False)
    status, findings = doctor()
    found = [item for item in findings if item["check"] == "email"]

    assert [(item["level"], item["what"], item["where"]) for item in found] == [
        ("problem", "No way out can be used; mails wait.", "/admin/mail-providers")
    ]
    assert status == 1
