"""Mails leave once, are tried again when that is safe, and say what became of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.email import commands, jobs, queries
from app.email.models import Attempt, EmailOutbox, Message
from app.email.providers import Result
from app.kit import db
from app.kit.errors import Conflict
from tests.fakes.smtp_server import SmtpScript

Queue = Callable[..., Message]
Drain = Callable[[], None]


def fresh(message: Message) -> Message:
    db.db.session.rollback()  # a read transaction would go on seeing the past
    db.db.session.expire_all()
    return queries.get_message(message.id)


def outcomes(message: Message) -> list[str]:
    return [attempt.outcome for attempt in reversed(queries.attempts_of(message.id))]


def events() -> list[tuple[str, Any]]:
    rows = db.db.session.scalars(select(EmailOutbox).order_by(EmailOutbox.id)).all()
    return [(row.name, row.data) for row in rows]


def change(message: Message, **values: object) -> None:
    with db.transaction() as session:
        session.execute(update(Message).where(Message.id == message.id).values(**values))


def make_due(message: Message) -> None:
    change(message, next_attempt_at=db.utcnow() - timedelta(seconds=1))


def test_without_a_mail_server_mails_stay_in_the_outbox_readable(queue: Queue, drain: Drain) -> None:
    message = queue(html="<p>Hello <b>Ann</b></p>", text=None)

    drain()

    stored = fresh(message)
    assert (stored.status, stored.provider, stored.text) == ("sent", "outbox", "Hello Ann")
    assert stored.sent_at is not None
    assert [name for name, _ in events()] == ["email.sent"]


def test_what_is_stored_is_what_arrives(queue: Queue, mail_server: SmtpScript, drain: Drain) -> None:
    message = queue(subject="¿Qué tal, Ñandú? 👋", text="Línea\n" * 50)

    drain()

    (sender, recipient, mail) = mail_server.received[0]
    assert (sender, recipient) == ("ventas@example.com", "ann@example.com")
    assert mail["Subject"] == "¿Qué tal, Ñandú? 👋"
    assert mail["Message-ID"] == f"<{message.id}@example.com>"
    assert mail.get_content().split() == fresh(message).text.split()
    assert fresh(message).provider_message_id == "Q1"


def test_a_batch_of_mails_goes_over_one_connection(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    for number in range(60):
        queue(to=f"ann{number}@example.com")

    drain()

    assert sorted(mail_server.recipients()) == sorted(f"ann{number}@example.com" for number in range(60))
    assert mail_server.connections == 1


def test_a_temporary_refusal_is_tried_again_later_with_the_same_message_id(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    mail_server.data.append("451 4.3.0 come back later")
    message = queue()
    before = db.utcnow()

    drain()
    deferred = fresh(message)
    assert (deferred.status, deferred.attempts, deferred.error_code) == ("deferred", 1, "451")
    assert deferred.next_attempt_at is not None
    assert timedelta(seconds=20) < deferred.next_attempt_at - before < timedelta(seconds=60)

    make_due(message)
    drain()
    assert fresh(message).status == "sent"
    assert outcomes(message) == ["deferred", "sent"]
    assert [mail["Message-ID"] for _, _, mail in mail_server.received] == [f"<{message.id}@example.com>"]


def test_pauses_between_tries_grow_and_end_after_a_day(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    message = queue()
    pauses = []
    for _ in range(6):
        mail_server.rcpt.append("450 4.2.1 greylisted")
        make_due(message)
        drain()
        pauses.append((fresh(message).next_attempt_at - db.utcnow()).total_seconds())  # type: ignore[operator]

    for pause, step in zip(pauses, (30, 120, 600, 1800, 7200, 21_600), strict=True):
        assert 0.75 * step <= pause <= 1.25 * step

    mail_server.rcpt.append("450 4.2.1 greylisted")
    change(message, next_attempt_at=db.utcnow(), give_up_at=db.utcnow() + timedelta(hours=1))
    drain()
    assert fresh(message).status == "failed"
    assert events()[-1] == (
        "email.failed",
        {"message_id": message.id, "reason": "450", "lead_id": None},
    )


def test_a_refused_recipient_fails_at_once_and_the_others_arrive(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    mail_server.rcpt.append("550 5.1.1 <bad@example.com>: no such user")
    bad = queue(to="bad@example.com")
    good = queue(to="good@example.com")

    drain()

    assert (fresh(bad).status, fresh(good).status) == ("failed", "sent")
    assert "bad@example.com" not in (fresh(bad).last_error or "")
    assert mail_server.recipients() == ["good@example.com"]


def test_an_odd_character_in_an_answer_is_left_out_and_the_answer_counts(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    mail_server.rcpt.append("550 5.1.1 no\x00such user")
    message = queue()

    drain()

    assert (fresh(message).status, fresh(message).last_error) == ("failed", "5.1.1 nosuch user")


def test_when_nobody_knows_whether_it_arrived_it_is_not_repeated_by_itself(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    mail_server.data.append("drop")
    message = queue()

    drain()
    drain()

    assert fresh(message).status == "unknown"
    assert not jobs.has_due()
    assert len(mail_server.received) == 1

    with db.transaction():
        commands.retry_email(message.id, by="ann")
    drain()
    assert fresh(message).status == "sent"
    assert len({mail["Message-ID"] for _, _, mail in mail_server.received}) == 1
    assert outcomes(message) == ["unknown", "retry", "sent"]


def test_a_wrong_account_burns_no_tries_and_waits_for_a_person(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    mail_server.mail.append("553 5.7.1 sender not allowed")
    first, second = queue(), queue()

    drain()

    for message in (first, second):
        assert (fresh(message).status, fresh(message).attempts) == ("deferred", 0)
    assert fresh(first).error_code == "553"
    assert mail_server.received == []


def test_a_missing_sender_is_named(app: Flask, queue: Queue, mail_server: SmtpScript, drain: Drain) -> None:
    app.config["MAIL_DEFAULT_SENDER"] = None  # put back by the fixture
    message = queue()

    drain()

    assert "MAIL_DEFAULT_SENDER" in (fresh(message).last_error or "")
    assert mail_server.received == []


def test_a_server_that_is_down_defers_all_and_opens_the_breaker(
    app: Flask, queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    app.config["MAIL_PORT"] = 1  # put back by the fixture; nothing listens there
    messages = [queue() for _ in range(3)]
    for _ in range(5):
        for message in messages:
            make_due(message)
        drain()
    assert [fresh(message).attempts for message in messages] == [5, 5, 5]

    for message in messages:
        make_due(message)
    drain()
    assert [fresh(message).attempts for message in messages] == [
        5,
        5,
        5,
    ]  # the breaker refused; nothing counted
    assert {fresh(message).status for message in messages} == {"deferred"}


def claim_as_a_worker_that_dies(*, handed_over: bool) -> str:
    """Claim the one due message, perhaps hand it over, and let the lease run out; its id."""
    with db.transaction():
        (claimed,) = commands.claim_due(10)
    if handed_over:
        with db.transaction():
            commands.note_handing_over([claimed], provider="smtp")
    with db.transaction() as session:
        session.execute(update(Message).values(claimed_until=db.utcnow() - timedelta(seconds=1)))
    return claimed.letter.ref


def test_a_worker_killed_before_handing_over_loses_nothing(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    message = queue()
    claim_as_a_worker_that_dies(handed_over=False)
    assert jobs.has_due()

    drain()

    assert fresh(message).status == "sent"
    assert len(mail_server.received) == 1


def test_a_worker_killed_after_handing_over_sends_nothing_twice(
    queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    message = queue()
    claim_as_a_worker_that_dies(handed_over=True)

    drain()

    assert (fresh(message).status, fresh(message).error_code) == ("unknown", "interrupted")
    assert mail_server.received == []
    assert outcomes(message) == ["unknown"]


def test_a_claim_that_another_worker_took_over_may_not_be_used(queue: Queue) -> None:
    queue()
    with db.transaction():
        (mine,) = commands.claim_due(10)
    with db.transaction() as session:
        session.execute(update(Message).values(claimed_until=db.utcnow() - timedelta(seconds=1)))
    with db.transaction():
        commands.take_back()
        (theirs,) = commands.claim_due(10)

    with db.transaction():
        assert commands.note_handing_over([mine], provider="smtp") == {}
    with db.transaction():
        assert commands.note_handing_over([theirs], provider="smtp").keys() == {theirs.letter.ref}


def test_messages_that_another_worker_took_over_are_left_to_it(
    app: Flask, queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    messages = [queue(to=f"ann{number}@example.com") for number in range(15)]
    stolen = messages[12]

    def steal() -> None:  # another process, while the first group is being sent
        with app.app_context():
            change(stolen, claimed_until=db.utcnow() + timedelta(seconds=60))

    mail_server.on_data = steal
    drain()

    assert fresh(stolen).status == "sending"
    assert len(mail_server.received) == 14


def test_a_result_that_comes_after_the_lease_still_counts(queue: Queue) -> None:
    message = queue()
    claim_as_a_worker_that_dies(handed_over=True)
    with db.transaction():
        commands.take_back()
    assert fresh(message).status == "unknown"

    with db.transaction():
        commands.record([Result(ref=message.id)], provider="smtp", claims={})

    assert fresh(message).status == "sent"


def test_a_waiting_mail_can_be_stopped_and_a_sent_one_cannot(queue: Queue, drain: Drain) -> None:
    stopped, sent = queue(), queue()
    with db.transaction():
        commands.cancel_email(stopped.id, by="ann")
    drain()

    assert (fresh(stopped).status, fresh(sent).status) == ("cancelled", "sent")
    for refused in (commands.cancel_email, commands.retry_email):
        with pytest.raises(Conflict), db.transaction():
            refused(sent.id)


def test_the_same_dedupe_key_is_sent_once(queue: Queue, drain: Drain) -> None:
    first = queue(dedupe_key="order:1")
    again = queue(dedupe_key="order:1", subject="Something else")
    drain()

    assert first.id == again.id
    assert [message.subject for message in queries.list_messages()] == ["Hello"]
    assert db.db.session.query(Attempt).count() == 1
