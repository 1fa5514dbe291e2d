"""Amazon SES tells by Amazon SNS: is it Amazon, is it our topic, and what does it say.

Facts: docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html and
…/ses/latest/dg/event-publishing-retrieving-sns-contents.html. Anybody can have Amazon sign something with a topic
of their own, so a good signature is not enough: the topic must be one of ours, and addresses that the message
names are asked only when they are Amazon's.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from app.email.providers import REFERENCE, without_addresses
from app.email.providers import feedback as words
from app.email.providers.feedback import Told, Unreadable
from app.kit.http import Reused, failure

NOTIFICATION = "Notification"
CONFIRMATION = "SubscriptionConfirmation"
FAREWELL = "UnsubscribeConfirmation"

CERTIFICATE_BYTES = 20_000
"""Amazon's certificates have two thousand."""

CERTIFICATE_SECONDS = 86_400.0
CERTIFICATES_KEPT = 16
"""Amazon uses one at a time per region."""

_HOST = r"sns\.[a-z]{2}(?:-[a-z]+)+-\d\.amazonaws\.com(?:\.cn)?"
_CERTIFICATE_URL = re.compile(rf"https://{_HOST}/SimpleNotificationService-[A-Za-z0-9]+\.pem")
_SUBSCRIBE_URL = re.compile(rf"https://{_HOST}/\?[!-~]+")

_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    FAREWELL: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""Fields under the signature, in its order; a notification may lack a subject."""

_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {"1": hashes.SHA1, "2": hashes.SHA256}

_KINDS = {
    "Delivery": words.DELIVERED,
    "DeliveryDelay": words.DEFERRED,
    "Bounce": words.BOUNCED,
    "Complaint": words.COMPLAINED,
    "Reject": words.REJECTED,
    "Rendering Failure": words.REJECTED,
    "Open": words.OPENED,
    "Click": words.CLICKED,
}
_OBJECTS = {"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}
_CONTENT = frozenset({"MessageTooLarge", "ContentRejected", "AttachmentRejected"})
_NO_SUCH = re.compile(r"\b5\.(?:1\.(?:1|2|3|6|10)|4\.4)\b")
"""Mailbox or domain unknown, also where SES calls the bounce transient."""

Fetch = Callable[[str], bytes]
"""Gets the body of an address; raises Temporary or Unknown."""

_certificates: dict[str, tuple[float, x509.Certificate]] = {}
_lock = threading.Lock()
_session = Reused(max_body=CERTIFICATE_BYTES)


class Refused(ValueError):
    """The request is not from Amazon, or not from a topic of ours; the message says which."""


def fetch(url: str) -> bytes:
    """The body of an address of Amazon's, within the limits of all our calls. Raises ProviderError."""
    try:
        answer = _session().get(url)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise failure(error, "Amazon SNS") from error
    return answer.content


def verify(
    body: bytes, message_type: str | None, topics: Iterable[str], fetch_: Fetch = fetch
) -> dict[str, Any]:
    """The envelope, once it is certain that a topic of ours sent it.

    message_type: the header x-amz-sns-message-type. Raises Refused, or what fetch_ raises.
    """
    envelope = _envelope(body)
    kind = envelope["Type"]
    if message_type is not None and message_type != kind:
        raise Refused("The header and the body name different types.")
    if envelope["TopicArn"] not in set(topics):
        raise Refused("The topic is not one of SES_TOPIC_ARNS.")
    if kind == CONFIRMATION and not _SUBSCRIBE_URL.fullmatch(envelope["SubscribeURL"]):
        raise Refused("SubscribeURL is no address of Amazon SNS.")
    version = str(envelope.get("SignatureVersion"))
    if version not in _HASHES:
        raise Refused("The signature's version is unknown.")
    certificate = _certificate(str(envelope.get("SigningCertURL") or ""), fetch_)
    key = certificate.public_key()
    names = [name for name in _SIGNED[kind] if name in envelope]
    signed = "".join(f"{name}\n{envelope[name]}\n" for name in names).encode()
    try:
        if not isinstance(key, rsa.RSAPublicKey):
            raise Refused("The certificate has no RSA key.")
        signature = base64.b64decode(str(envelope.get("Signature") or ""), validate=True)
        key.verify(signature, signed, padding.PKCS1v15(), _HASHES[version]())
    except (InvalidSignature, binascii.Error) as error:
        raise Refused("The signature is wrong.") from error
    return envelope


def confirm(body: bytes, fetch_: Fetch = fetch) -> None:
    """Tell SNS that we want the topic. body: a confirmation that was verified when it came. Raises ProviderError."""
    url = _envelope(body)["SubscribeURL"]
    if not _SUBSCRIBE_URL.fullmatch(url):
        raise Unreadable("SubscribeURL is no address of Amazon SNS")
    fetch_(url)


def kind_of(body: bytes) -> str:
    """NOTIFICATION, CONFIRMATION or FAREWELL. Raises Refused."""
    return str(_envelope(body)["Type"])


def parse(body: bytes) -> list[Told]:
    """The event in a notification. Raises Unreadable when it is none."""
    try:
        envelope = _envelope(body)
        if envelope["Type"] != NOTIFICATION:
            return []
        told = json.loads(envelope["Message"])
        name = told.get("eventType") or told.get("notificationType")
        return _read(envelope["MessageId"], str(name), told) if name in _KINDS else []
    except Refused as error:
        raise Unreadable(str(error)) from error
    except (ValueError, RecursionError) as error:
        # A topic also says hello: “Successfully validated SNS topic for Amazon SES event publishing.”
        if envelope["Message"].startswith("Successfully validated"):
            return []
        raise Unreadable("the notification holds no JSON") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise Unreadable("the notification is not one of SES") from error


def _envelope(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused("The body is not JSON.") from error
    if not isinstance(found, dict) or not isinstance(found.get("Type"), str) or found["Type"] not in _SIGNED:
        raise Refused("The body is not a message of Amazon SNS.")
    for name in _SIGNED[found["Type"]]:
        if not isinstance(found.get(name, "" if name == "Subject" else None), str):
            raise Refused(f"The message has no {name}.")
    return found


def _certificate(url: str, fetch_: Fetch) -> x509.Certificate:
    if not _CERTIFICATE_URL.fullmatch(url):
        raise Refused("SigningCertURL is no address of Amazon SNS.")
    with _lock:
        until, known = _certificates.get(url, (0.0, None))
    if known is None or until < time.monotonic():
        try:
            known = x509.load_pem_x509_certificate(fetch_(url))
        except ValueError as error:
            raise Refused("SigningCertURL holds no certificate.") from error
        with _lock:
            if len(_certificates) >= CERTIFICATES_KEPT:
                _certificates.clear()
            _certificates[url] = (time.monotonic() + CERTIFICATE_SECONDS, known)
    now = datetime.now(UTC)
    if not known.not_valid_before_utc <= now <= known.not_valid_after_utc:
        raise Refused("The certificate is out of date.")
    return known


def _read(sns_id: str, name: str, told: Mapping[str, Any]) -> list[Told]:
    mail = told["mail"]
    about = told.get(_OBJECTS.get(name, name.lower())) or {}
    references = (mail.get("tags") or {}).get(REFERENCE) or []
    kind = _KINDS[name]
    reason, permanent = _why(name, about)
    return [
        Told(
            kind=kind,
            event_key=f"{sns_id}:{kind}"[:160],
            at=_moment(about.get("timestamp") or mail.get("timestamp")),
            message_id=str(references[0]) if references else None,
            provider_message_id=str(mail["messageId"]),
            reason=reason,
            detail=without_addresses(_words(about)),
            url=str(about["link"])[:2000] if kind == words.CLICKED and about.get("link") else None,
            permanent=permanent,
        )
    ]


def _why(name: str, about: Mapping[str, Any]) -> tuple[str | None, bool]:
    if name in ("Reject", "Rendering Failure"):
        return (words.SPAM if name == "Reject" else words.OTHER), False
    if name != "Bounce":
        return None, False
    kind, subtype = about.get("bounceType"), about.get("bounceSubType")
    if kind == "Permanent" or _NO_SUCH.search(_words(about)):
        return words.INVALID, True
    if subtype in _CONTENT:
        return words.BLOCKED, False
    return (words.TIMED_OUT if kind == "Transient" else words.OTHER), False


def _words(about: Mapping[str, Any]) -> str:
    """What the recipient's server said."""
    for item in (about.get("bouncedRecipients") or about.get("delayedRecipients") or [])[:1]:
        return " ".join(str(item[key]) for key in ("status", "diagnosticCode") if item.get(key))
    for key in ("smtpResponse", "reason", "errorMessage", "complaintFeedbackType", "delayType"):
        if about.get(key):
            return str(about[key])
    return ""


def _moment(text: Any) -> datetime:
    found = datetime.fromisoformat(str(text))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
