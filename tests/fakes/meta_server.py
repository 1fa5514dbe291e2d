"""Meta's Graph API for messages on loopback, as strict as the real one about token, shape and lengths.

Also makes Meta's webhooks and signs them. `python -m tests.fakes.meta_server --port N` runs it alone, for
any token and phone number id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakes.loopback import Answer, LoopbackServer, Received, serve

PHONE_NUMBER_ID = "106540352242922"
ACCESS_TOKEN = "a-token-of-meta-for-tests"  # not a secret: it opens only the server below
APP_SECRET = "an-app-secret-of-meta-for-tests"  # as above
VERIFY_TOKEN = "a-verify-token-for-tests"  # as above

_PATH = re.compile(r"^/v\d+\.\d+/(\d+)/messages$")
_NUMBER = re.compile(r"^/v\d+\.\d+/(\d+)$")
_KEYS = {
    "messaging_product",
    "recipient_type",
    "to",
    "recipient",
    "type",
    "text",
    "interactive",
    "context",
    "biz_opaque_callback_data",
}


class _Wrong(Exception):
    """A body Meta refuses: (code, details)."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A message Meta accepted; choices are the titles shown."""

    id: str
    to: str
    text: str
    choices: tuple[str, ...]
    reference: str | None


class MetaServer(LoopbackServer):
    """POST /v26.0/{phone number id}/messages. token None: any credentials are right."""

    def __init__(
        self,
        port: int = 0,
        on_request: Callable[[Received, int | None], None] | None = None,
        *,
        token: str | None = ACCESS_TOKEN,
        phone_number_id: str | None = PHONE_NUMBER_ID,
    ) -> None:
        super().__init__(port, on_request)
        self.accepted: list[Taken] = []
        self.status, self.quality = "CONNECTED", "GREEN"
        self._token, self._number = token, phone_number_id
        self._numbers = itertools.count(1)

    def handle(self, request: Received) -> Answer:
        """200 with the message's id, or Meta's error."""
        path = _PATH.match(request.path)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or not token or (self._token is not None and token != self._token):
            return error(401, 190, "Invalid OAuth access token - Cannot parse access token")
        if (number := _NUMBER.match(request.path)) and request.method == "GET" and number[1] == self._number:
            return Answer(body={"id": number[1], "status": self.status, "quality_rating": self.quality})
        if not path or request.method != "POST" or (self._number is not None and path[1] != self._number):
            message = "Unsupported post request. Object with ID does not exist"
            return error(400, 100, message, error_subcode=33)
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            return error(400, 100, "(#100) The parameter messaging_product is required.")
        try:
            taken = self._taken(json.loads(request.body))
        except _Wrong as wrong:
            code, details = wrong.args
            return error(400, code, f"(#{code}) {details}", details=details)
        except ValueError:
            return error(400, 100, "(#100) Invalid parameter")
        self.accepted.append(taken)
        key = "wa_id" if taken.to.isdigit() else "user_id"
        body = {
            "messaging_product": "whatsapp",
            "contacts": [{"input": taken.to, key: taken.to}],
            "messages": [{"id": taken.id}],
        }
        return Answer(body=body)

    def _taken(self, body: Any) -> Taken:
        _must(isinstance(body, dict), 100, "The body must be an object")
        _must(not set(body) - _KEYS, 100, f"Unexpected keys {sorted(set(body) - _KEYS)}")
        _must(body.get("messaging_product") == "whatsapp", 100, "messaging_product is required")
        _must(("to" in body) != ("recipient" in body), 100, "Either to or recipient is required")
        to = body.get("to", body.get("recipient"))
        _must(isinstance(to, str) and to != "", 131009, "The recipient must be a text")
        if "to" in body:
            _must(re.fullmatch(r"\d{4,15}", to), 131009, f"{to} is no phone number")
        else:
            _must(re.fullmatch(r"[A-Z]{2}\.[A-Za-z0-9.]+", to), 131009, f"{to} is no user id")
        reference = body.get("biz_opaque_callback_data")
        _must(reference is None or 0 < len(reference) <= 512, 131009, "biz_opaque_callback_data is too long")
        text, choices = _content(body)
        number = base64.b64encode(f"{next(self._numbers):08d}".encode()).decode()
        return Taken(id=f"wamid.{number}", to=to, text=text, choices=choices, reference=reference)


def _content(body: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    if body.get("type") == "text":
        text = body["text"]["body"] if isinstance(body.get("text"), dict) else None
        _must_fit("text.body", text, 4096)
        return str(text), ()
    _must(body.get("type") == "interactive", 100, "type must be one of text, interactive")
    interactive = body.get("interactive")
    _must(isinstance(interactive, dict), 100, "interactive is required")
    assert isinstance(interactive, dict)
    _must_fit("interactive.body.text", interactive.get("body", {}).get("text"), 1024)
    text, action = interactive["body"]["text"], interactive.get("action", {})
    if interactive.get("type") == "button":
        buttons = action.get("buttons", [])
        _must(1 <= len(buttons) <= 3, 131009, "Buttons: between 1 and 3")
        _must(all(b.get("type") == "reply" for b in buttons), 131009, "Buttons must be of type reply")
        return text, _titles([b["reply"] for b in buttons], title=20, longest_id=256)
    _must(interactive.get("type") == "list", 131009, "interactive.type must be button or list")
    _must_fit("action.button", action.get("button"), 20)
    rows = [row for section in action.get("sections", []) for row in section.get("rows", [])]
    _must(1 <= len(rows) <= 10, 131009, "Rows: between 1 and 10")
    for row in rows:
        _must(not set(row) - {"id", "title", "description"}, 131009, "Unexpected key in a row")
        if "description" in row:
            _must_fit("row description", row["description"], 72)
    return text, _titles(rows, title=24, longest_id=200)


def _titles(items: list[dict[str, Any]], *, title: int, longest_id: int) -> tuple[str, ...]:
    for item in items:
        _must_fit("title", item.get("title"), title)
        _must_fit("id", item.get("id"), longest_id)
    _must(len({i["title"] for i in items}) == len(items), 131009, "Titles must be unique")
    _must(len({i["id"] for i in items}) == len(items), 131009, "Ids must be unique")
    return tuple(i["title"] for i in items)


def _must(true: object, code: int, details: str) -> None:
    if not true:
        raise _Wrong(code, details)


def _must_fit(what: str, text: object, longest: int) -> None:
    _must(isinstance(text, str) and text.strip(), 131009, f"{what} is required")
    _must(len(str(text).encode("utf-16-le")) // 2 <= longest, 131009, f"{what} is longer than {longest}")


def error(
    status: int,
    code: int | None,
    message: str,
    *,
    details: str | None = None,
    error_subcode: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error as Meta writes it; code None for the bare page of its front end."""
    if code is None:
        return Answer(status=status, body=message.encode(), headers={"Content-Type": "text/html"})
    told: dict[str, Any] = {
        "message": message,
        "type": "OAuthException",
        "code": code,
        "fbtrace_id": "Az8or2yhqkZfEZ-_4Qn_Bam",
    }
    if details is not None:
        told["error_data"] = {"messaging_product": "whatsapp", "details": details}
    if error_subcode is not None:
        told["error_subcode"] = error_subcode
    return Answer(status=status, body={"error": told}, headers=headers or {})


def signed_meta(body: Any, secret: str = APP_SECRET) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a webhook. body: bytes as they are, else something for JSON, written as Meta
    does."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()  # Meta escapes non-ASCII
    signature = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    return raw, {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}


def webhook(
    *,
    messages: list[dict[str, Any]] | None = None,
    statuses: list[dict[str, Any]] | None = None,
    contacts: list[dict[str, Any]] | None = None,
    phone_number_id: str = PHONE_NUMBER_ID,
) -> dict[str, Any]:
    """Meta's envelope around messages or statuses."""
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "34910000000", "phone_number_id": phone_number_id},
    }
    parts = {"contacts": contacts, "messages": messages, "statuses": statuses}
    value |= {name: part for name, part in parts.items() if part}
    change = {"field": "messages", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [change]}]}


def message_webhook(
    id_: str, sender: str, text: str, /, *, name: str = "Íñigo Núñez", at: int = 1_795_000_000, **more: Any
) -> dict[str, Any]:
    """An inbound text. sender: the phone number's digits, or a business-scoped id (with a dot)."""
    scoped = "." in sender
    message = {"from_user_id" if scoped else "from": sender, "id": id_, "timestamp": str(at)}
    message |= {"type": "text", "text": {"body": text}} | more
    contact = {"profile": {"name": name}, "user_id" if scoped else "wa_id": sender}
    return webhook(messages=[message], contacts=[contact])


def status_webhook(
    id_: str,
    status: str,
    recipient: str,
    /,
    *,
    reference: str | None = None,
    at: int = 1_795_000_000,
    **more: Any,
) -> dict[str, Any]:
    """A status update of a message we sent."""
    told = {"id": id_, "status": status, "timestamp": str(at), "recipient_id": recipient} | more
    if reference is not None:
        told["biz_opaque_callback_data"] = reference
    return webhook(statuses=[told])


if __name__ == "__main__":
    serve(lambda port, tell: MetaServer(port, tell, token=None, phone_number_id=None))
