"""When a way out fails, the next takes over; nothing is lost, nothing leaves twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from app.email import commands, queries
from app.email.models import Message
from app.kit import db
from app.kit.redis_client import redis
from app.kit.resilience import breaker_open, paused
from tests.email.test_delivery import change, fresh, make_due, outcomes
from tests.fakes.loopback import Answer, Drop
from tests.fakes.sendgrid_server import API_KEY, SendGridServer, errors
from tests.fakes.smtp_server import SmtpScript

Queue = Callable[..., Message]
Drain = Callable[[], None]


@pytest.fixture
def sendgrid(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[SendGridServer]:
    """A SendGrid that the app is configured to use, after SMTP."""
    with SendGridServer() as server:
        for name, value in {
            "SENDGRID_API_KEY": API_KEY,
            "SENDGRID_API_URL": server.url,
            "MAIL_DEFAULT_SENDER": "Embudo <ventas@example.com>",
        }.items():
            monkeypatch.setitem(app.config, name, value)
        yield server


def by_sendgrid(server: SendGridServer) -> list[str]:
    """Our ids of the mails that SendGrid took, in order."""
    return [mail["personalizations"][0]["custom_args"]["embudo_message_id"] for mail in server.accepted]


def test_mail_leaves_by_the_first_way_that_is_configured(
    queue: Queue, mail_server: SmtpScript, sendgrid: SendGridServer, drain: Drain
) -> None:
    message = queue()
    drain()

    assert (fresh(message).status, fresh(message).provider) == ("sent", "smtp")
    assert sendgrid.accepted == []


def test_the_order_can_be_configured(
    app: Flask,
    queue: Queue,
    mail_server: SmtpScript,
    sendgrid: SendGridServer,
    drain: Drain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(app.config, "MAIL_PROVIDERS", ("sendgrid", "smtp"))
    message = queue()
    drain()

    assert fresh(message).provider == "sendgrid"
    assert mail_server.received == []


def test_the_administrators_order_comes_before_the_configured_one(
    app: Flask,
    queue: Queue,
    mail_server: SmtpScript,
    sendgrid: SendGridServer,
    drain: Drain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(app.config, "MAIL_PROVIDERS", ("sendgrid", "smtp"))
    with db.transaction():
        commands.order_providers(["smtp", "sendgrid"])
    first = queue()
    drain()
    with db.transaction():
        commands.change_provider("smtp", {"enabled": False})
    second = queue()
    drain()

    assert [fresh(message).provider for message in (first, second)] == ["smtp", "sendgrid"]


def test_a_way_that_is_not_named_in_the_configuration_is_not_used(
    app: Flask, queue: Queue, sendgrid: SendGridServer, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "MAIL_PROVIDERS", ("smtp",))
    message = queue()
    drain()

    assert (fresh(message).status, fresh(message).error_code) == ("deferred", "no_way")
    assert sendgrid.requests == []


def test_a_server_that_is_down_is_passed_over(
    app: Flask, queue: Queue, mail_server: SmtpScript, sendgrid: SendGridServer, drain: Drain
) -> None:
    app.config["MAIL_PORT"] = 1  # put back by the fixture; nothing listens there
    messages = [queue() for _ in range(3)]
    drain()

    assert [(fresh(message).provider, fresh(message).attempts) for message in messages] == [
        ("sendgrid", 1)
    ] * 3
    (smtp,) = [one for one in queries.all_ways(app.config) if one.name == "smtp"]
    assert smtp.error_code == "ConnectionRefusedError"


def test_an_open_breaker_is_passed_over_without_a_try(
    app: Flask, queue: Queue, mail_server: SmtpScript, sendgrid: SendGridServer, drain: Drain
) -> None:
    app.config["MAIL_PORT"] = 1
    for _ in range(5):
        queue()
        drain()
    assert breaker_open("mail:smtp")
    app.config["MAIL_PORT"] = mail_server.port
    message = queue()
    drain()

    assert fresh(message).provider == "sendgrid"
    assert mail_server.connections == 0


def test_an_account_that_is_refused_is_passed_over_and_rests(
    queue: Queue, mail_server: SmtpScript, sendgrid: SendGridServer, drain: Drain
) -> None:
    mail_server.mail.append("553 5.7.1 sender not allowed")
    first = queue()
    drain()
    second = queue()
    drain()

    assert [fresh(message).provider for message in (first, second)] == ["sendgrid", "sendgrid"]
    assert [fresh(message).attempts for message in (first, second)] == [1, 1]
    assert breaker_open("mail:smtp")
    assert mail_server.connections == 1


def test_a_connection_cut_before_the_message_fails_over_but_after_it_does_not(
    queue: Queue, mail_server: SmtpScript, sendgrid: SendGridServer, drain: Drain
) -> None:
    mail_server.rcpt += ["drop", "drop"]  # a new connection is tried once
    untouched = queue()
    drain()
    mail_server.data.append("drop")
    perhaps = queue()
    drain()

    assert (fresh(untouched).status, fresh(untouched).provider) == ("sent", "sendgrid")
    assert fresh(perhaps).status == "unknown"
    assert by_sendgrid(sendgrid) == [untouched.id]


def test_a_bad_recipient_is_bad_everywhere_and_gets_no_more_mail(
    queue: Queue, mail_server: SmtpScript, sendgrid: SendGridServer, drain: Drain
) -> None:
    mail_server.rcpt.append("550 5.1.1 <ann@example.com>: no such user")
    bad = queue(to="Ann@example.com")
    drain()
    again = queue(to="ann@example.com")
    drain()

    assert (fresh(bad).status, fresh(bad).provider) == ("failed", "smtp")
    assert (fresh(again).status, fresh(again).error_code) == ("suppressed", "suppressed_bounced")
    assert sendgrid.accepted == []


def test_a_refusal_for_what_we_wrote_suppresses_nobody(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    mail_server.rcpt.append("550 5.7.1 blocked for spam")
    queue()
    drain()

    assert queries.list_suppressions() == []


def test_a_greylisted_recipient_waits_for_the_same_way(
    queue: Queue, mail_server: SmtpScript, sendgrid: SendGridServer, drain: Drain
) -> None:
    mail_server.rcpt.append("450 4.2.1 greylisted")
    message = queue()
    drain()

    assert (fresh(message).status, fresh(message).attempts) == ("deferred", 1)
    assert sendgrid.accepted == []


def test_a_full_mailbox_keeps_nobody_elses_mail_and_counts_as_a_try(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    mail_server.rcpt.append("450 4.2.2 mailbox full, try again later")
    full = queue(to="full@example.com")
    others = [queue(to=f"ann{number}@example.com") for number in range(12)]
    drain()

    assert (fresh(full).status, fresh(full).attempts) == ("deferred", 1)
    assert {fresh(message).status for message in others} == {"sent"}
    assert not paused("mail:smtp")


def test_a_provider_that_finds_us_too_fast_rests_and_no_try_is_counted(
    queue: Queue, sendgrid: SendGridServer, drain: Drain
) -> None:
    sendgrid.plan(Answer(status=429, body={}, headers={"Retry-After": "300"}))
    messages = [queue() for _ in range(3)]
    drain()

    assert [(fresh(message).status, fresh(message).attempts) for message in messages] == [("deferred", 0)] * 3
    waits = [(fresh(message).next_attempt_at - db.utcnow()).total_seconds() for message in messages]  # type: ignore[operator]
    assert all(250 < wait <= 300 for wait in waits)
    assert len(sendgrid.requests) == 1
    assert paused("mail:sendgrid") > 250
    assert not breaker_open("mail:sendgrid")

    for message in messages:
        make_due(message)
    drain()
    assert {fresh(message).error_code for message in messages} == {"paused"}
    assert [outcomes(message) for message in messages] == [["deferred"]] * 3  # resting is no try

    redis().delete("embudo:pause:mail:sendgrid")
    for message in messages:
        make_due(message)
    drain()
    assert sorted(by_sendgrid(sendgrid)) == sorted(message.id for message in messages)


def test_a_provider_that_rests_is_replaced_meanwhile(
    queue: Queue, mail_server: SmtpScript, sendgrid: SendGridServer, drain: Drain
) -> None:
    mail_server.data.append("454 Throttling failure: Maximum sending rate exceeded.")
    messages = [queue() for _ in range(2)]
    drain()

    assert [fresh(message).provider for message in messages] == ["sendgrid", "sendgrid"]


def test_silence_after_the_request_leaves_mails_unknown_and_opens_the_breaker(
    queue: Queue, sendgrid: SendGridServer, drain: Drain
) -> None:
    sendgrid.plan(*[Drop(accepted=True)] * 5)
    for _ in range(5):
        queue()
        drain()

    assert {message.status for message in queries.list_messages()} == {"unknown"}
    assert breaker_open("mail:sendgrid")
    waiting = queue()
    drain()
    assert (fresh(waiting).status, fresh(waiting).attempts) == ("deferred", 0)
    assert len(sendgrid.requests) == 5


def test_after_three_lost_letters_the_rest_of_a_batch_does_not_follow(
    queue: Queue, sendgrid: SendGridServer, drain: Drain
) -> None:
    sendgrid.plan(*[errors(503, "unavailable")] * 3)
    for _ in range(20):
        queue()
    drain()

    assert len(sendgrid.requests) == 3
    assert {(message.status, message.attempts) for message in queries.list_messages()} == {("deferred", 1)}


def test_when_every_way_fails_the_one_that_may_come_back_soonest_decides(
    app: Flask, queue: Queue, mail_server: SmtpScript, sendgrid: SendGridServer, drain: Drain
) -> None:
    app.config["MAIL_PORT"] = 1
    sendgrid.plan(errors(401, "no key"))
    message = queue()
    drain()

    stored = fresh(message)
    assert (stored.status, stored.attempts, stored.error_code) == ("deferred", 1, "ConnectionRefusedError")
    assert {one.name: one.error_code for one in queries.usable_ways(app.config)} == {
        "smtp": "ConnectionRefusedError",
        "sendgrid": "sendgrid_401",
    }


def test_waiting_for_a_breaker_ends_after_a_day(queue: Queue, mail_server: SmtpScript, drain: Drain) -> None:
    redis().set("embudo:breaker:mail:smtp:opened", time.time())
    redis().set("embudo:breaker:mail:smtp:pause", "1")
    message = queue()
    change(message, give_up_at=db.utcnow() + timedelta(seconds=5))
    drain()

    assert (fresh(message).status, fresh(message).error_code) == ("failed", "breaker_open")


def test_a_rate_holds_back_what_is_above_it_and_counts_no_try(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    with db.transaction():
        commands.change_provider("smtp", {"rate": 0.05})  # one now, the next in 20 s
    messages = [queue() for _ in range(3)]
    drain()

    assert len(mail_server.received) == 1
    waiting = [fresh(message) for message in messages if fresh(message).status != "sent"]
    assert {(message.status, message.attempts, message.error_code) for message in waiting} == {
        ("deferred", 0, "rate")
    }
    assert not breaker_open("mail:smtp")
    assert [outcomes(message) for message in waiting] == [
        [],
        [],
    ]  # nothing was tried, there is nothing to tell


def test_settings_typed_into_the_admin_are_used_and_stored_encrypted(
    app: Flask, queue: Queue, drain: Drain
) -> None:
    with SendGridServer() as server:
        settings = {
            "SENDGRID_API_KEY": API_KEY,
            "SENDGRID_API_URL": server.url,
            "MAIL_DEFAULT_SENDER": "Otra <otra@example.com>",
        }
        with db.transaction():
            commands.change_provider("sendgrid", {"settings": settings})
        queue()
        drain()
        assert [mail["from"] for mail in server.accepted] == [{"email": "otra@example.com", "name": "Otra"}]

    with db.engine_of("email").connect() as connection:
        raw = connection.exec_driver_sql("SELECT settings FROM email_provider").scalar_one()
    assert API_KEY.encode() not in bytes(raw)


def test_settings_that_cannot_be_decrypted_close_one_way_only(
    app: Flask, queue: Queue, mail_server: SmtpScript, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.transaction():
        commands.change_provider("sendgrid", {"settings": {"SENDGRID_API_KEY": API_KEY}})
        commands.order_providers(["sendgrid", "smtp"])
    monkeypatch.setitem(app.config, "SECRET_KEY", "another secret that is long enough too")
    message = queue()
    drain()

    assert fresh(message).provider == "smtp"
    (sendgrid,) = [one for one in queries.all_ways(app.config) if one.name == "sendgrid"]
    assert sendgrid.undecryptable


def test_a_worker_that_dies_in_a_group_leaves_only_that_group_unknown(
    app: Flask, queue: Queue, mail_server: SmtpScript, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [queue(to=f"ann{number}@example.com") for number in range(25)]

    class Killed(BaseException):
        """What a worker never gets to handle."""

    seen: list[Any] = []
    record = commands.record

    def die_at_the_second_record(results: Any, **options: Any) -> None:
        seen.append(list(results))
        if len([one for one in seen if one]) >= 2:
            raise Killed
        record(results, **options)

    with monkeypatch.context() as dying:
        dying.setattr(commands, "record", die_at_the_second_record)
        dying.setattr(commands, "give_back", lambda _: None)
        with pytest.raises(Killed):
            drain()
    db.db.session.rollback()
    assert len(mail_server.received) == 20

    with db.transaction() as session:
        session.execute(update(Message).values(claimed_until=db.utcnow() - timedelta(seconds=1)))
    drain()

    statuses = [fresh(message).status for message in messages]
    assert (statuses.count("sent"), statuses.count("unknown")) == (15, 10)
    assert sorted(mail_server.recipients()) == sorted({*mail_server.recipients()})  # nobody got two


def test_a_stalling_provider_costs_its_time_out_and_no_mail(
    app: Flask, queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    app.config["MAIL_TIMEOUT"] = 0.3  # put back by the fixture
    mail_server.data.append("stall")
    stalled = queue()
    drain()
    after = queue()
    drain()

    assert (fresh(stalled).status, fresh(after).status) == ("unknown", "sent")
    assert outcomes(stalled) == ["unknown"]
