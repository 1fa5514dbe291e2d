"""Signatures as the specification and the receivers' library want them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.webhooks import signing

# The vector of the specification's own libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
MOMENT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'
EXPECTED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_vector_of_the_specification() -> None:
    assert signing.signature([SECRET], MESSAGE, MOMENT, BODY) == EXPECTED
    made = signing.headers([SECRET], MESSAGE, MOMENT, BODY)
    assert made["webhook-timestamp"] == "1614265330"
    assert made["webhook-id"] == MESSAGE
    assert made["webhook-signature"] == EXPECTED


def test_the_time_zone_of_the_moment_does_not_matter_and_a_naive_one_is_refused() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5)))
    assert signing.signature([SECRET], MESSAGE, elsewhere, BODY) == EXPECTED
    with pytest.raises(ValueError, match="naive"):
        signing.signature([SECRET], MESSAGE, MOMENT.replace(tzinfo=None), BODY)


def test_while_rotating_both_secrets_verify() -> None:
    old, new = signing.new_secret(), signing.new_secret()
    made = signing.headers([new, old], "msg_1", datetime.now(UTC), BODY)
    assert len(made["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        Webhook(secret).verify(BODY, made)
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(BODY, made)


def test_secrets_are_long_and_never_the_same() -> None:
    one, other = signing.new_secret(), signing.new_secret()
    assert one != other
    assert one.startswith("whsec_")
    assert len(one) >= len("whsec_") + 43


def test_the_envelope_has_type_timestamp_and_data_and_nothing_else() -> None:
    body = signing.envelope("lead.created", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), {"name": "Ñandú"})
    assert orjson.loads(body) == {
        "type": "lead.created",
        "timestamp": "2026-01-02T03:04:05Z",
        "data": {"name": "Ñandú"},
    }
    assert "Ñandú".encode() in body


def test_a_message_id_holds_no_dot_and_differs_by_endpoint() -> None:
    one = signing.message_id("0190-a", "0190-b")
    assert "." not in one
    assert one != signing.message_id("0190-a", "0190-c")
