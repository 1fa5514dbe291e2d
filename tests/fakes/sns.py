"""An Amazon SNS topic that signs what it posts, with a certificate that only its own fetch function can get."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
SUBSCRIBE_URL = (
    "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
    "&TopicArn=arn:aws:sns:eu-west-1:123456789012:mail&Token=2336412f37f"
)


class SnsTopic:
    """Makes the requests that SNS would post, and answers its addresses. fetched: which were asked."""

    def __init__(self, *, valid_days: int = 30) -> None:
        self.fetched: list[str] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._numbers = itertools.count(1)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60))
            .not_valid_after(now + timedelta(days=valid_days))
            .sign(self._key, hashes.SHA256())
        )

    def fetch(self, url: str) -> bytes:
        """What stands in for the network."""
        self.fetched.append(url)
        if url == CERTIFICATE_URL:
            return self._certificate.public_bytes(Encoding.PEM)
        return b"<ConfirmSubscriptionResponse/>"

    def notification(self, message: Any, *, version: str = "1", **changes: Any) -> dict[str, Any]:
        """A post of an event of SES; changes replace fields before signing."""
        return self._post("Notification", version, {"Message": json.dumps(message)} | changes)

    def confirmation(self, *, version: str = "1", **changes: Any) -> dict[str, Any]:
        """A post that asks whether we want the topic."""
        fields = {
            "Message": "You have chosen to subscribe …",
            "Token": "2336412f37f",
            "SubscribeURL": SUBSCRIBE_URL,
        }
        return self._post("SubscriptionConfirmation", version, fields | changes)

    def _post(self, kind: str, version: str, fields: dict[str, Any]) -> dict[str, Any]:
        envelope = {
            "Type": kind,
            "MessageId": f"22b80b92-fdea-4c2c-8f9d-{next(self._numbers):012}",
            "TopicArn": TOPIC,
            "Timestamp": "2030-01-31T12:00:00.000Z",
            "SignatureVersion": version,
            "SigningCertURL": CERTIFICATE_URL,
            **fields,
        }
        names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        if kind == "Notification":
            names = [name for name in names if name not in ("SubscribeURL", "Token")]
        signed = "".join(f"{name}\n{envelope[name]}\n" for name in names if name in envelope).encode()
        algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 (so is version 1)
        signature = self._key.sign(signed, padding.PKCS1v15(), algorithm)
        envelope["Signature"] = base64.b64encode(signature).decode()
        return {
            "data": json.dumps(envelope).encode(),
            "headers": {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": kind},
        }


def ses_event(kind: str, message_id: str | None, *, ses_id: str = "ses-1", **about: Any) -> dict[str, Any]:
    """An event of SES as event publishing writes it; message_id None: without our tag, as plain notifications are."""
    key = {"DeliveryDelay": "deliveryDelay", "Rendering Failure": "failure"}.get(kind, kind.lower())
    tags = {"embudo_message_id": [message_id]} if message_id else {}
    return {
        "eventType": kind,
        "mail": {
            "timestamp": "2030-01-31T12:00:00.000Z",
            "source": "ventas@example.com",
            "messageId": ses_id,
            "destination": ["ann@example.com"],
            "tags": {"ses:configuration-set": ["mail"], **tags},
        },
        key: {"timestamp": "2030-01-31T12:00:05.000Z", **about},
    }


def bounce(message_id: str | None, *, permanent: bool = True, **more: Any) -> dict[str, Any]:
    """A bounce, hard or soft."""
    details = {
        "bounceType": "Permanent" if permanent else "Transient",
        "bounceSubType": "General",
        "bouncedRecipients": [
            {
                "emailAddress": "ann@example.com",
                "action": "failed",
                "status": "5.1.1" if permanent else "4.2.2",
                "diagnosticCode": "smtp; 550 5.1.1 <ann@example.com>: no"
                if permanent
                else "smtp; 452 4.2.2 full",
            }
        ],
    }
    return ses_event("Bounce", message_id, **details, **more)
