"""Twilio's messages resource on loopback, as strict as the real one: authentication, form encoding,
required fields.

Also makes Twilio's webhooks, signed by the official SDK. `python -m tests.fakes.twilio_server --port N`
runs it alone, for any account SID and token.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from twilio.request_validator import RequestValidator

from tests.fakes.loopback import Answer, LoopbackServer, Received, serve

ACCOUNT_SID = "AC" + "0f" * 16
AUTH_TOKEN = "a-token-of-twilio-for-tests"  # not a secret: it opens only the server below
SENDER = "whatsapp:+14155238886"

_PATH = re.compile(r"^/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})/Messages\.json$")
_ACCOUNT = re.compile(r"^/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})\.json$")
_TO = re.compile(r"^whatsapp:(\+[1-9]\d{3,14}|[A-Z]{2}\.[A-Za-z0-9.]{1,128})$")


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A message Twilio queued."""

    sid: str
    to: str
    text: str
    callback: str | None


class TwilioServer(LoopbackServer):
    """POST /2010-04-01/Accounts/{sid}/Messages.json. sid None: any credentials are right."""

    def __init__(
        self,
        port: int = 0,
        on_request: Callable[[Received, int | None], None] | None = None,
        *,
        sid: str | None = ACCOUNT_SID,
        token: str = AUTH_TOKEN,
        sender: str | None = SENDER,
    ) -> None:
        super().__init__(port, on_request)
        self.accepted: list[Taken] = []
        self.account_status = "active"
        self.headers: dict[str, str] = {}
        self._sid, self._token, self._sender = sid, token, sender
        self._numbers = itertools.count(1)

    def handle(self, request: Received) -> Answer:
        """201 with the message resource, or Twilio's error."""
        account = _ACCOUNT.match(request.path)
        if account and request.method == "GET":
            if not self._authentic(request, account[1]):
                return error(401, 20003, "Authenticate")
            body = {
                "sid": account[1],
                "status": self.account_status,
                "type": "Full",
                "friendly_name": "Embudo",
            }
            return Answer(body=body, headers=self.headers)
        path = _PATH.match(request.path)
        if not path or request.method != "POST":
            return error(404, 20404, f"The requested resource {request.path} was not found")
        if not self._authentic(request, path[1]):
            return error(401, 20003, "Authenticate")
        if request.headers.get("content-type", "").split(";")[0] != "application/x-www-form-urlencoded":
            return error(400, 21604, "A 'To' phone number is required.")  # Twilio reads no other body
        form = request.form
        refused = self._refused(form)
        if refused:
            return refused
        sid = f"SM{next(self._numbers):032x}"
        self.accepted.append(
            Taken(sid=sid, to=form["To"], text=form["Body"], callback=form.get("StatusCallback"))
        )
        return Answer(status=201, body=resource(path[1], sid, form))

    def _authentic(self, request: Received, account: str) -> bool:
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        if kind != "Basic" or not user or not password:
            return False
        return self._sid is None or (user == account == self._sid and password == self._token)

    def _refused(self, form: Mapping[str, str]) -> Answer | None:
        to, sender, body = form.get("To"), form.get("From"), form.get("Body")
        if not to:
            return error(400, 21604, "A 'To' phone number is required.")
        if not sender and not form.get("MessagingServiceSid"):
            return error(400, 21603, "A 'From' phone number is required.")
        if not body:
            return error(400, 21602, "Message body is required.")
        if not _TO.match(to):
            return error(400, 21211, f"The 'To' number {to} is not a valid phone number.")
        if sender and self._sender and sender != self._sender:
            return error(400, 63007, "Twilio could not find a Channel with the specified From address")
        if len(body.encode("utf-16-le")) // 2 > 1600:
            return error(400, 21617, "The concatenated message body exceeds the 1600 character limit")
        callback = form.get("StatusCallback")
        if callback is not None and urlsplit(callback).scheme not in ("http", "https"):
            return error(400, 21609, f"The StatusCallback URL {callback} is not a valid URL.")
        return None


def resource(account: str, sid: str, form: Mapping[str, str]) -> dict[str, Any]:
    """The message resource as Twilio answers it."""
    base = f"/2010-04-01/Accounts/{account}/Messages/{sid}"
    return {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": form["Body"],
        "date_created": "Tue, 24 Nov 2026 10:00:00 +0000",
        "date_sent": None,
        "date_updated": "Tue, 24 Nov 2026 10:00:00 +0000",
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": form.get("From"),
        "messaging_service_sid": form.get("MessagingServiceSid"),
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": None,
        "sid": sid,
        "status": "queued",
        "subresource_uris": {"media": f"{base}/Media.json"},
        "to": form["To"],
        "uri": f"{base}.json",
    }


def error(status: int, code: int | None, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An error as Twilio writes it; code None for the bare page of its front end."""
    if code is None:
        return Answer(status=status, body=message.encode(), headers={"Content-Type": "text/html"})
    more = f"https://www.twilio.com/docs/errors/{code}"
    body = {"code": code, "message": message, "more_info": more, "status": status}
    return Answer(status=status, body=body, headers=headers or {})


def signed_twilio_form(
    url: str, params: Mapping[str, str], token: str = AUTH_TOKEN
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a webhook to url, signed by the official SDK."""
    signature = RequestValidator(token).compute_signature(url, dict(params))
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "X-Twilio-Signature": signature,
    }
    return urlencode(params).encode(), headers


def message_form(sid: str, sender: str, text: str, **more: str) -> dict[str, str]:
    """The fields of an inbound message. sender: +E.164 or a business-scoped id."""
    form = {
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "ProfileName": "Íñigo Núñez",
        "MessageType": "text",
        "SmsSid": sid,
        "SmsStatus": "received",
        "Body": text,
        "To": SENDER,
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": sid,
        "AccountSid": ACCOUNT_SID,
        "From": f"whatsapp:{sender}",
        "ApiVersion": "2010-04-01",
    }
    if sender.startswith("+"):
        form["WaId"] = sender[1:]
    return form | more


def status_form(sid: str, status: str, recipient: str, **more: str) -> dict[str, str]:
    """The fields of a status callback. recipient: +E.164."""
    return {
        "ChannelPrefix": "whatsapp",
        "ApiVersion": "2010-04-01",
        "MessageStatus": status,
        "SmsSid": sid,
        "SmsStatus": status,
        "ChannelInstallSid": "XE" + "0" * 32,
        "To": f"whatsapp:{recipient}",
        "From": SENDER,
        "MessageSid": sid,
        "AccountSid": ACCOUNT_SID,
        "ChannelToAddress": recipient,
    } | more


if __name__ == "__main__":
    serve(lambda port, tell: TwilioServer(port, tell, sid=None, sender=None))
