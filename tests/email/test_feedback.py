"""What providers tell: believed only when signed, kept once, applied in any order."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from app.email import commands, queries
from app.email.models import EmailOutbox, Happening, Message, Notice
from app.email.providers import sns
from app.kit import db
from app.kit.errors import Temporary
from tests.email.test_delivery import change, claim_as_a_worker_that_dies, fresh
from tests.fakes.sendgrid_server import EventWebhook
from tests.fakes.sns import CERTIFICATE_URL, SUBSCRIBE_URL, TOPIC, SnsTopic, bounce, ses_event

Queue = Callable[..., Message]
Drain = Callable[[], None]

SENDGRID, SES = "/email/events/sendgrid", "/email/events/ses"


@pytest.fixture
def sendgrid(app: Flask, monkeypatch: pytest.MonkeyPatch) -> EventWebhook:
    made = EventWebhook()
    monkeypatch.setitem(app.config, "SENDGRID_WEBHOOK_KEY", made.key)
    return made


@pytest.fixture
def topic(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[SnsTopic]:
    made = SnsTopic()
    monkeypatch.setitem(app.config, "SES_TOPIC_ARNS", f"arn:aws:sns:eu-west-1:1:other, {TOPIC}")
    monkeypatch.setitem(app.extensions, "embudo_sns_fetch", made.fetch)
    sns._certificates.clear()
    yield made
    sns._certificates.clear()


@pytest.fixture
def sent(queue: Queue, drain: Drain) -> Message:
    message = queue(lead_id="0198f000-0000-7000-8000-00000000aaaa")
    drain()
    assert fresh(message).status == "sent"
    return message


def told(name: str) -> list[dict[str, Any]]:
    db.db.session.rollback()
    rows = db.db.session.scalars(select(EmailOutbox).where(EmailOutbox.name == name).order_by(EmailOutbox.id))
    return [row.data for row in rows]


def count(model: Any) -> int:
    db.db.session.rollback()
    return int(db.db.session.scalar(select(func.count()).select_from(model)) or 0)


def suppressed() -> list[tuple[str, str, str]]:
    db.db.session.rollback()
    return [(row.address, row.scope, row.reason) for row in queries.list_suppressions()]


# SendGrid: who is believed


def test_a_signed_event_is_kept_answered_at_once_and_applied_by_a_job(
    client: FlaskClient, sendgrid: EventWebhook, sent: Message, drain: Drain
) -> None:
    answer = client.post(
        SENDGRID, **sendgrid.request(sendgrid.event("delivered", sent.id, response="250 OK"))
    )

    assert answer.status_code == 204
    assert (count(Notice), count(Happening)) == (1, 0)
    drain()
    assert fresh(sent).delivery == "delivered"
    (happening,) = queries.happenings_of(sent.id)
    assert (happening.kind, happening.provider, happening.detail) == ("delivered", "sendgrid", "250 OK")
    assert told("email.delivered") == [{"message_id": sent.id, "lead_id": sent.lead_id, "template": None}]


def forged(webhook: EventWebhook, good: dict[str, Any]) -> dict[str, dict[str, Any]]:
    headers = good["headers"]
    signature, stamp = "X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"
    return {
        "changed body": good | {"data": good["data"] + b" "},
        "changed time": good | {"headers": headers | {stamp: "1"}},
        "no signature": good | {"headers": {k: v for k, v in headers.items() if k != signature}},
        "no time": good | {"headers": {k: v for k, v in headers.items() if k != stamp}},
        "no base64": good | {"headers": headers | {signature: "%%%"}},
        "no signature inside": good | {"headers": headers | {signature: b64encode(b"x" * 70).decode()}},
        "another key": EventWebhook().sign(good["data"]),
    }


@pytest.mark.parametrize(
    "how",
    [
        "changed body",
        "changed time",
        "no signature",
        "no time",
        "no base64",
        "no signature inside",
        "another key",
    ],
)
def test_what_sendgrid_did_not_sign_is_not_kept(
    client: FlaskClient, sendgrid: EventWebhook, how: str
) -> None:
    good = sendgrid.request(sendgrid.event("delivered", db.new_id()))

    answer = client.post(SENDGRID, **forged(sendgrid, good)[how])

    assert (answer.status_code, answer.mimetype) == (403, "application/problem+json")
    assert count(Notice) == 0


@pytest.mark.parametrize("key", [None, "", "no key", b64encode(b"x" * 91).decode()])
def test_without_a_usable_key_nothing_is_believed(
    app: Flask,
    client: FlaskClient,
    sendgrid: EventWebhook,
    monkeypatch: pytest.MonkeyPatch,
    key: str | None,
) -> None:
    monkeypatch.setitem(app.config, "SENDGRID_WEBHOOK_KEY", key)

    assert client.post(SENDGRID, **sendgrid.request()).status_code == 403


def test_unicode_bodies_are_verified_as_bytes(
    client: FlaskClient, sendgrid: EventWebhook, sent: Message, drain: Drain
) -> None:
    body = json.dumps([sendgrid.event("delivered", sent.id, response="Añadido 👋")], ensure_ascii=False)

    assert client.post(SENDGRID, **sendgrid.sign(body.encode())).status_code == 204
    drain()
    assert fresh(sent).delivery == "delivered"
    assert queries.happenings_of(sent.id)[0].detail == "Añadido 👋"


@pytest.mark.parametrize("body", [b"", b"{}", b'"x"', b"\xff\xfe"])
def test_a_signed_body_that_is_no_list_is_refused(
    client: FlaskClient, sendgrid: EventWebhook, body: bytes
) -> None:
    assert client.post(SENDGRID, **sendgrid.sign(body)).status_code == 400
    assert count(Notice) == 0


@pytest.mark.parametrize("body", [b"[", b"[" * 100_000, b"[1, null, {}, []]", b'[{"event": {}}]'])
def test_a_signed_list_that_cannot_be_understood_harms_nothing(
    client: FlaskClient, sendgrid: EventWebhook, drain: Drain, body: bytes
) -> None:
    assert client.post(SENDGRID, **sendgrid.sign(body)).status_code == 204
    drain()
    assert count(Happening) == 0


def test_a_body_of_ten_megabytes_is_not_read(client: FlaskClient, sendgrid: EventWebhook) -> None:
    assert client.post(SENDGRID, **sendgrid.sign(b"[" + b" " * 10_000_000 + b"]")).status_code == 413


def test_a_list_that_cannot_be_read_is_tried_again_and_then_left_for_a_person(
    client: FlaskClient, sendgrid: EventWebhook, drain: Drain
) -> None:
    client.post(SENDGRID, **sendgrid.sign(b"["))
    for _ in range(8):
        drain()
        with db.transaction() as session:
            session.execute(
                update(Notice)
                .where(Notice.next_attempt_at.is_not(None))
                .values(next_attempt_at=db.utcnow() - timedelta(seconds=1))
            )

    assert queries.count_unread_notices() == 1
    assert not queries.has_notices()


# SendGrid: what it says


def test_the_same_webhook_and_the_same_event_in_another_count_once(
    client: FlaskClient, sendgrid: EventWebhook, sent: Message, drain: Drain
) -> None:
    event = sendgrid.event("delivered", sent.id)
    same = sendgrid.request(event)
    for request in (same, same, sendgrid.request(event, sendgrid.event("open", sent.id))):
        assert client.post(SENDGRID, **request).status_code == 204
    drain()

    assert count(Notice) == 2
    assert sorted(row.kind for row in queries.happenings_of(sent.id)) == ["delivered", "opened"]
    assert len(told("email.delivered")) == 1


def test_events_in_any_order_end_the_same(
    client: FlaskClient, sendgrid: EventWebhook, sent: Message, drain: Drain
) -> None:
    for kind in ("bounce", "delivered", "deferred", "processed"):
        client.post(SENDGRID, **sendgrid.request(sendgrid.event(kind, sent.id)))
        drain()

    assert fresh(sent).delivery == "bounced"
    assert told("email.delivered") == []
    assert len(told("email.bounced")) == 1


@pytest.mark.parametrize(
    ("more", "permanent", "reason"),
    [
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, True, "invalid"),
        ({"event": "bounce", "type": "bounce", "bounce_classification": "Invalid Address"}, True, "invalid"),
        ({"event": "bounce", "type": "blocked"}, False, "blocked"),
        ({"event": "bounce", "type": "bounce", "bounce_classification": "Technical"}, False, "other"),
        ({"event": "bounce", "type": "bounce", "bounce_classification": "Content"}, False, "blocked"),
        ({"event": "bounce", "type": "bounce", "status": "4.2.2"}, False, "timed_out"),
    ],
)
def test_only_an_address_that_does_not_exist_is_suppressed(
    client: FlaskClient,
    sendgrid: EventWebhook,
    sent: Message,
    drain: Drain,
    more: dict[str, Any],
    permanent: bool,
    reason: str,
) -> None:
    words = "550 5.1.1 <ann@example.com>: no such user"
    client.post(SENDGRID, **sendgrid.request(sendgrid.event("", sent.id, reason=words) | more))
    drain()

    assert [(data["permanent"], data["reason"]) for data in told("email.bounced")] == [(permanent, reason)]
    assert suppressed() == ([("ann@example.com", "all", "bounced")] if permanent else [])
    assert "ann@" not in (queries.happenings_of(sent.id)[0].detail or "")


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("Bounced Address", [("ann@example.com", "all", "bounced")]),
        ("Invalid", [("ann@example.com", "all", "bounced")]),
        ("Spam Reporting Address", [("ann@example.com", "all", "complained")]),
        ("Unsubscribed Address", [("ann@example.com", "marketing", "unsubscribed")]),
        ("Spam Content", []),
        ("Invalid SMTPAPI header", []),
    ],
)
def test_a_mail_that_sendgrid_dropped_has_failed(
    client: FlaskClient, sendgrid: EventWebhook, sent: Message, drain: Drain, why: str, expected: Any
) -> None:
    client.post(SENDGRID, **sendgrid.request(sendgrid.event("dropped", sent.id, reason=why)))
    drain()

    assert (fresh(sent).status, fresh(sent).delivery) == ("failed", "rejected")
    assert len(told("email.failed")) == 1
    assert suppressed() == expected


def test_a_complaint_ends_all_mail_and_unsubscribing_only_marketing(
    client: FlaskClient, sendgrid: EventWebhook, queue: Queue, drain: Drain
) -> None:
    angry, tired = queue(to="angry@example.com"), queue(to="tired@example.com")
    drain()
    client.post(
        SENDGRID,
        **sendgrid.request(
            sendgrid.event("spamreport", angry.id), sendgrid.event("group_unsubscribe", tired.id)
        ),
    )
    drain()

    assert sorted(suppressed()) == [
        ("angry@example.com", "all", "complained"),
        ("tired@example.com", "marketing", "unsubscribed"),
    ]
    assert (len(told("email.complained")), len(told("email.unsubscribed"))) == (1, 1)


def test_an_event_settles_a_mail_of_which_nobody_knew(
    client: FlaskClient, sendgrid: EventWebhook, queue: Queue, drain: Drain
) -> None:
    message = queue()
    change(message, status="unknown", next_attempt_at=None)
    client.post(SENDGRID, **sendgrid.request(sendgrid.event("delivered", message.id)))
    drain()

    assert (fresh(message).status, fresh(message).delivery) == ("sent", "delivered")
    assert len(told("email.sent")) == 1


def test_an_event_that_comes_before_a_dead_workers_mail_is_taken_back_settles_it_too(
    client: FlaskClient, sendgrid: EventWebhook, queue: Queue, drain: Drain
) -> None:
    message = queue()
    claim_as_a_worker_that_dies(handed_over=True)
    change(message, claimed_until=db.utcnow() + timedelta(seconds=60))
    client.post(SENDGRID, **sendgrid.request(sendgrid.event("delivered", message.id)))
    drain()
    assert fresh(message).status == "sending"

    change(message, claimed_until=db.utcnow() - timedelta(seconds=1))
    drain()
    assert fresh(message).status == "sent"


def test_what_was_told_of_a_former_try_says_nothing_of_the_next(
    client: FlaskClient, sendgrid: EventWebhook, queue: Queue, sent: Message, drain: Drain
) -> None:
    change(sent, provider_message_id="former")
    client.post(SENDGRID, **sendgrid.request(sendgrid.event("dropped", sent.id, reason="Spam Content")))
    drain()
    with db.transaction():
        commands.retry_email(sent.id)
    assert (fresh(sent).delivery, fresh(sent).provider_message_id) == (None, None)

    claim_as_a_worker_that_dies(handed_over=True)
    drain()
    assert fresh(sent).status == "unknown"

    client.post(SENDGRID, **sendgrid.request(sendgrid.event("delivered", sent.id)))
    drain()
    assert (fresh(sent).status, fresh(sent).delivery) == ("sent", "delivered")


def test_events_of_strangers_are_left_alone(
    client: FlaskClient, sendgrid: EventWebhook, drain: Drain
) -> None:
    without = sendgrid.event("delivered", "x")
    del without["embudo_message_id"]
    client.post(
        SENDGRID,
        **sendgrid.request(
            without,
            sendgrid.event("delivered", "no id"),
            sendgrid.event("delivered", db.new_id()),
            sendgrid.event("delivered", db.new_id(), timestamp="soon"),
            sendgrid.event("delivered", db.new_id(), timestamp=1e30),
        ),
    )
    drain()

    assert count(Happening) == 0
    assert queries.count_unread_notices() == 0


@pytest.mark.parametrize("odd", ["\\u0000", "\\ud83d"])
def test_odd_characters_in_an_event_are_left_out(
    client: FlaskClient, sendgrid: EventWebhook, sent: Message, drain: Drain, odd: str
) -> None:
    url, key = "https://example.com/?q=ODD", "key-ODD"
    events = [
        sendgrid.event("click", sent.id, url=url, sg_event_id=key),
        sendgrid.event("bounce", sent.id, reason="550 5.7.1 no ODD mail", status="5.7.1"),
    ]
    client.post(SENDGRID, **sendgrid.sign(json.dumps(events).replace("ODD", odd).encode()))
    drain()

    assert fresh(sent).delivery == "bounced"
    kept = {one.kind: one for one in queries.happenings_of(sent.id)}
    clicked, bounced = kept["clicked"], kept["bounced"]
    assert (clicked.url, clicked.event_key) == ("https://example.com/?q=", "key-")
    assert bounced.detail == "550 5.7.1 no mail"


# SES


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_notification_of_our_topic_is_believed_with_either_signature(
    client: FlaskClient, topic: SnsTopic, sent: Message, drain: Drain, version: str
) -> None:
    event = ses_event("Delivery", sent.id, smtpResponse="250 2.6.0 Message received")
    for subject in ({}, {"Subject": "Amazon SES Email Event Notification"}):
        answer = client.post(SES, **topic.notification(event, version=version, **subject))
        assert answer.status_code == 204
    drain()

    assert fresh(sent).delivery == "delivered"
    assert topic.fetched == [CERTIFICATE_URL]  # asked once, then known


def test_a_notice_on_which_its_reading_breaks_is_noted_and_stops_no_other(
    client: FlaskClient, topic: SnsTopic, sent: Message, drain: Drain
) -> None:
    client.post(SES, **topic.notification(ses_event("Delivery", None, ses_id="half an emoji: \ud83d")))
    client.post(SES, **topic.notification(ses_event("Delivery", sent.id)))
    drain()

    assert fresh(sent).delivery == "delivered"
    odd, good = db.db.session.scalars(select(Notice).order_by(Notice.received_at)).all()
    assert (odd.attempts, odd.claimed_until, odd.last_error) == (1, None, "UnicodeEncodeError")
    assert good.next_attempt_at is None


FORGERIES: dict[str, Callable[[SnsTopic, dict[str, Any]], dict[str, Any]]] = {
    "another topic": lambda topic, event: topic.notification(event, TopicArn="arn:aws:sns:eu-west-1:9:evil"),
    "another certificate": lambda _topic, event: SnsTopic().notification(event),
    "certificate elsewhere": lambda topic, event: topic.notification(
        event, SigningCertURL="https://evil.example/SimpleNotificationService-1.pem"
    ),
    "certificate on a look-alike": lambda topic, event: topic.notification(
        event,
        SigningCertURL="https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem",
    ),
    "certificate without TLS": lambda topic, event: topic.notification(
        event, SigningCertURL=CERTIFICATE_URL.replace("https", "http")
    ),
    "certificate in a bucket": lambda topic, event: topic.notification(
        event, SigningCertURL="https://s3.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"
    ),
    "certificate that is none": lambda topic, event: topic.notification(
        event, SigningCertURL=CERTIFICATE_URL.replace("0123", "9999")
    ),
    "unknown version": lambda topic, event: (
        topic.notification(event) | changed(topic, event, "SignatureVersion", "3")
    ),
    "changed message": lambda topic, event: changed(topic, event, "Message", "{}"),
    "no signature": lambda topic, event: changed(topic, event, "Signature", None),
    "another type in the header": lambda topic, event: (
        topic.notification(event) | {"headers": {"x-amz-sns-message-type": "SubscriptionConfirmation"}}
    ),
    "no JSON": lambda _topic, _event: {"data": b"hello"},
    "not of SNS": lambda _topic, _event: {"data": b'{"Type": "Order"}'},
    "a list for its type": lambda _topic, _event: {"data": b'{"Type": []}'},
    "a list for its version": lambda topic, event: changed(topic, event, "SignatureVersion", []),
    "fields of other types": lambda topic, event: changed(topic, event, "MessageId", 7),
    "confirmation elsewhere": lambda topic, _event: topic.confirmation(
        SubscribeURL="https://169.254.169.254/?x"
    ),
}


def changed(topic: SnsTopic, event: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    request = topic.notification(event)
    return request | {"data": json.dumps(json.loads(request["data"]) | {name: value}).encode()}


@pytest.mark.parametrize("how", FORGERIES)
def test_what_our_topic_did_not_sign_is_not_kept(
    client: FlaskClient, topic: SnsTopic, sent: Message, how: str
) -> None:
    request = FORGERIES[how](topic, ses_event("Delivery", sent.id))

    answer = client.post(SES, **request)

    assert (answer.status_code, answer.mimetype) == (403, "application/problem+json")
    assert count(Notice) == 0
    assert set(topic.fetched) <= {CERTIFICATE_URL, CERTIFICATE_URL.replace("0123", "9999")}


def test_an_expired_certificate_signs_nothing(
    app: Flask, client: FlaskClient, topic: SnsTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SnsTopic(valid_days=-1)
    monkeypatch.setitem(app.extensions, "embudo_sns_fetch", old.fetch)

    assert client.post(SES, **old.notification({})).status_code == 403


def test_a_certificate_that_cannot_be_fetched_now_makes_sns_come_again(
    app: Flask, client: FlaskClient, topic: SnsTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(url: str) -> bytes:
        raise Temporary("no")

    monkeypatch.setitem(app.extensions, "embudo_sns_fetch", unreachable)

    assert client.post(SES, **topic.notification({})).status_code == 503


def test_no_transaction_is_open_while_amazon_is_asked_for_a_certificate(
    app: Flask, client: FlaskClient, topic: SnsTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_then: list[bool] = []

    def fetch(url: str) -> bytes:
        open_then.append(db.db.session().in_transaction())
        return topic.fetch(url)

    monkeypatch.setitem(app.extensions, "embudo_sns_fetch", fetch)

    assert client.post(SES, **topic.notification({})).status_code == 204
    assert open_then == [False]


def test_without_topics_nothing_is_believed(
    app: Flask, client: FlaskClient, topic: SnsTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "SES_TOPIC_ARNS", "")

    assert client.post(SES, **topic.notification({})).status_code == 403


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_subscription_of_our_topic_is_confirmed_once_by_the_job(
    client: FlaskClient, topic: SnsTopic, drain: Drain, version: str
) -> None:
    request = topic.confirmation(version=version)
    for _ in range(2):
        assert client.post(SES, **request).status_code == 204
    assert topic.fetched == [CERTIFICATE_URL]

    drain()

    assert topic.fetched == [CERTIFICATE_URL, SUBSCRIBE_URL]


def test_a_subscription_of_another_topic_is_never_confirmed(
    client: FlaskClient, topic: SnsTopic, drain: Drain
) -> None:
    assert client.post(SES, **topic.confirmation(TopicArn="arn:aws:sns:eu-west-1:9:evil")).status_code == 403
    drain()

    assert topic.fetched == []


@pytest.mark.parametrize(
    ("event", "delivery", "address"),
    [
        (lambda id_: bounce(id_), "bounced", [("ann@example.com", "all", "bounced")]),
        (lambda id_: bounce(id_, permanent=False), "bounced", []),
        (lambda id_: ses_event("Complaint", id_), "complained", [("ann@example.com", "all", "complained")]),
        (lambda id_: ses_event("DeliveryDelay", id_, delayType="MailboxFull"), "deferred", []),
        (lambda id_: ses_event("Reject", id_, reason="Bad content"), "rejected", []),
        (lambda id_: ses_event("Rendering Failure", id_, errorMessage="…"), "rejected", []),
        (lambda id_: ses_event("Open", id_), "opened", []),
        (lambda id_: ses_event("Click", id_, link="https://example.com/a"), "clicked", []),
        (lambda id_: ses_event("Send", id_), None, []),
        (lambda id_: ses_event("Subscription", id_), None, []),
    ],
)
def test_each_event_of_ses_is_understood(
    client: FlaskClient,
    topic: SnsTopic,
    sent: Message,
    drain: Drain,
    event: Any,
    delivery: str | None,
    address: Any,
) -> None:
    client.post(SES, **topic.notification(event(sent.id)))
    drain()

    assert fresh(sent).delivery == delivery
    assert suppressed() == address
    assert queries.count_unread_notices() == 0


def test_a_plain_notification_finds_its_mail_by_the_providers_id_also_when_it_comes_early(
    client: FlaskClient, topic: SnsTopic, sent: Message, drain: Drain
) -> None:
    event = ses_event("Delivery", None, ses_id="ses-77")
    event["notificationType"] = event.pop("eventType")
    client.post(SES, **topic.notification(event))
    drain()
    assert fresh(sent).delivery is None
    assert count(Notice) == 1

    change(sent, provider="ses", provider_message_id="ses-77")
    with db.transaction() as session:
        session.execute(update(Notice).values(next_attempt_at=db.utcnow() - timedelta(seconds=1)))
    drain()
    assert fresh(sent).delivery == "delivered"


def test_a_greeting_of_the_topic_is_no_event(client: FlaskClient, topic: SnsTopic, drain: Drain) -> None:
    hello = "Successfully validated SNS topic for Amazon SES event publishing."
    client.post(SES, **topic.notification(None, Message=hello))
    client.post(SES, **topic.notification({"something": "else"}))
    drain()

    assert queries.count_unread_notices() == 0
    assert not queries.has_notices()


def test_notices_are_forgotten_after_a_month(
    client: FlaskClient, sendgrid: EventWebhook, sent: Message, drain: Drain
) -> None:
    client.post(SENDGRID, **sendgrid.request(sendgrid.event("delivered", sent.id)))
    drain()
    with db.transaction() as session:
        session.execute(update(Notice).values(received_at=db.utcnow() - timedelta(days=31)))
        commands.claim_notices()

    assert count(Notice) == 0
    assert count(Happening) == 1
