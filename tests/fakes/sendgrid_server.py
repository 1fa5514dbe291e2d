"""SendGrid's mail/send on loopback, as strict as the documentation, and its event webhooks, really signed.

`python -m tests.fakes.sendgrid_server --port N` runs it alone; any key beginning with “SG.” is right then.
"""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.loopback import Answer, LoopbackServer, Received, serve

API_KEY = "SG.a-key-of-sendgrid-for-tests"  # not a secret: it opens only the server below
RESERVED = {
    "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding",
    "to", "from", "subject", "reply-to", "cc", "bcc",
}  # fmt: skip
"""Headers that SendGrid refuses (docs: mail send, headers)."""


class SendGridServer(LoopbackServer):
    """POST /v3/mail/send. key None: any key that looks like one."""

    def __init__(
        self,
        port: int = 0,
        on_request: Callable[[Received, int | None], None] | None = None,
        *,
        key: str | None = API_KEY,
    ) -> None:
        super().__init__(port, on_request)
        self.accepted: list[dict[str, Any]] = []
        self.scopes = ["mail.send"]
        self._key = key
        self._numbers = itertools.count(1)

    def handle(self, request: Received) -> Answer:
        """202 and nothing, or SendGrid's list of errors."""
        asks_scopes = request.method == "GET" and request.path == "/v3/scopes"
        if not asks_scopes and (request.method != "POST" or request.path != "/v3/mail/send"):
            return errors(404, "not found")
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or not key.startswith("SG.") or (self._key and key != self._key):
            return errors(401, "The provided authorization grant is invalid, expired, or revoked")
        if asks_scopes:
            return Answer(body={"scopes": self.scopes})
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            return errors(415, "Content-Type should be application/json.")
        try:
            document = json.loads(request.body)
        except ValueError:
            return errors(400, "Bad Request")
        refused = refusal(document)
        if refused:
            return refused
        self.accepted.append(document)
        headers = {"X-Message-Id": f"sg-{next(self._numbers)}", "Content-Type": "text/plain"}
        return Answer(status=202, body=b"", headers=headers)


def refusal(document: Any) -> Answer | None:
    """What SendGrid would not take of a request."""
    if not isinstance(document, dict):
        return errors(400, "Bad Request")
    people = document.get("personalizations")
    if not isinstance(people, list) or not 1 <= len(people) <= 1000:
        return errors(
            400, "The personalizations field is required and must have at least one.", "personalizations"
        )
    sender = document.get("from") or {}
    if not is_address(sender.get("email")) or not str(sender.get("name", "")).isascii():
        return errors(400, "The from address does not match a verified Sender Identity.", "from.email")
    for number, person in enumerate(people):
        for place, to in enumerate(person.get("to") or [{}]):
            field = f"personalizations.{number}.to.{place}"
            if not is_address(to.get("email")):
                return errors(400, "Does not contain a valid address.", f"{field}.email")
            if set(";,") & set(to.get("name", "")):
                return errors(400, "The name may not hold ; or ,.", f"{field}.name")
        arguments = person.get("custom_args", {})
        if not all(isinstance(value, str) for value in arguments.values()):
            return errors(400, "Invalid type. Expected: string.", "custom_args")
    if not document.get("subject"):
        return errors(400, "The subject is required.", "subject")
    content = document.get("content") or []
    if not content or any(not part.get("value") for part in content):
        return errors(
            400, "The content value must be a string at least one character in length.", "content.0.value"
        )
    if [part["type"] for part in content] not in (["text/plain"], ["text/html"], ["text/plain", "text/html"]):
        return errors(400, "If present, text/plain must be first, followed by text/html.", "content")
    for name, value in (document.get("headers") or {}).items():
        if name.lower() in RESERVED or not isinstance(value, str) or "\n" in value:
            return errors(400, "The header is reserved.", f"headers.{name}")
    return None


def is_address(text: Any) -> bool:
    """Whether SendGrid takes it: ASCII, one @."""
    return isinstance(text, str) and text.isascii() and text.count("@") == 1 and " " not in text


def errors(status: int, message: str, field: str | None = None) -> Answer:
    """SendGrid's error document."""
    return Answer(status=status, body={"errors": [{"message": message, "field": field, "help": None}]})


class EventWebhook:
    """Signs batches of events as SendGrid does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._numbers = itertools.count(1)

    @property
    def key(self) -> str:
        """The verification key as SendGrid's page shows it."""
        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(public).decode()

    def event(self, kind: str, message_id: str, **more: Any) -> dict[str, Any]:
        """One event of a message, with an id of its own."""
        return {
            "email": "ann@example.com",
            "timestamp": int(time.time()),
            "smtp-id": f"<{message_id}@example.com>",
            "event": kind,
            "sg_event_id": f"event-{next(self._numbers)}",
            "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
            "embudo_message_id": message_id,
            **more,
        }

    def request(self, *events: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments for a test client's post()."""
        return self.sign(json.dumps(list(events), ensure_ascii=False).encode())

    def sign(self, body: bytes, timestamp: str | None = None) -> dict[str, Any]:
        """The same for any body."""
        timestamp = timestamp or str(int(time.time()))
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "data": body,
            "headers": {
                "Content-Type": "application/json",
                "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
                "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
            },
        }


if __name__ == "__main__":
    serve(lambda port, tell: SendGridServer(port, tell, key=None))
