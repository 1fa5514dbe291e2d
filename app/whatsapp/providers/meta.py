"""WhatsApp through Meta's Cloud API: JSON webhooks signed over the raw bytes, messages by the Graph API.

Facts: Meta's pages "Messages", "Interactive reply buttons / list messages", "Business-scoped user ids" (28
May 2026) and "Error codes" (15 May 2026: build on code, not on title or HTTP status).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import requests

from app.contracts.problems import N_
from app.kit import http
from app.kit.errors import Misconfigured, Permanent, ProviderError, RateLimited, Temporary, Unknown
from app.whatsapp.providers import meta_inbound, wording
from app.whatsapp.providers.base import (
    Accepted,
    Choice,
    CredentialField,
    Credentials,
    Hook,
    InboundMessage,
    Limits,
    Outgoing,
    Raw,
    Recipient,
    StatusUpdate,
)

GRAPH_URL = "https://graph.facebook.com"
VERSION = "v26.0"  # current since 29 July 2026
SIGNATURE_HEADER = "X-Hub-Signature-256"
CHALLENGE_CHARS = 200  # Meta's is about 10 digits; nothing long is echoed

BUTTON_ID = 256
ROW_ID = 200
ROW_TITLE = 24
ROW_DESCRIPTION = 72
MENU_TITLE = 20
MAX_ROWS = 10  # of a list, all sections together

TOO_FAST = frozenset({
    "4",  # calls of the app
    "80007",  # calls of the business account
    "130429",  # messages per second of the number
    "131048",  # number restricted for spam
    "131056",  # too many to this user: 1 per 6 s
    "133016",  # registrations of the number
})  # fmt: skip
THEIR_TROUBLE = frozenset({
    "1",  # API unknown
    "2",  # API service down or overloaded
    "131000",  # something went wrong
    "131016",  # service unavailable
    "131053",  # media upload
    "131057",  # number in maintenance, e.g. while its throughput is raised
    "133004",  # server unavailable
})  # fmt: skip
OUR_ACCOUNT = frozenset({
    "0",  # not authenticated
    "3",  # capability or permission
    "10",  # permission
    "33",  # the number was deleted
    "190",  # access token expired
    "368",  # account restricted for policy violations
    "131005",  # access denied
    "131031",  # account locked
    "131037",  # display name not approved
    "131042",  # payment
    "131045",  # number not registered
    "133010",  # number not registered
})  # fmt: skip
PERMISSIONS = range(200, 300)  # each a missing permission
# Everything else is Permanent, e.g. 131026 undeliverable, 131047 window closed, 131050 stopped by the user,
# 131009 bad parameter, 132xxx templates.


class MetaSender:
    """Sender for Meta's Cloud API."""

    FIELDS: tuple[CredentialField, ...] = (
        CredentialField(name="phone_number_id", label=N_("Phone number ID"), variable="META_PHONE_NUMBER_ID"),
        CredentialField(
            name="access_token", label=N_("Access token"), variable="META_ACCESS_TOKEN", secret=True
        ),
        CredentialField(name="app_secret", label=N_("App secret"), variable="META_APP_SECRET", secret=True),
        CredentialField(
            name="verify_token",
            label=N_("Verify token (you choose it)"),
            variable="META_VERIFY_TOKEN",
            secret=True,
        ),
        CredentialField(
            name="graph_url",
            label=N_("API address"),
            variable="META_GRAPH_URL",
            required=False,
            default=GRAPH_URL,
        ),
        CredentialField(name="version", label=N_("Graph API version"), required=False, default=VERSION),
    )
    limits = Limits(text=4096, text_with_choices=1024, buttons=3, choices=MAX_ROWS, label=20)
    hook: Hook | None = Hook(
        media_types=("application/json",),
        signature=SIGNATURE_HEADER,
        signs_url=False,
        about="Of Meta: HMAC-SHA-256 of the bytes",
        schema={"type": "object"},
        example={"object": "whatsapp_business_account", "entry": []},
    )

    def __init__(self, session: http.Reused | None = None) -> None:
        self._session = session or http.Reused()

    def address(self, credentials: Credentials) -> str | None:
        """The phone_number_id."""
        return credentials.get("phone_number_id", "").strip() or None

    def account_of(self, raw: Raw) -> str | None:
        """The phone_number_id of the first change; one app secret signs them all."""
        payload = meta_inbound.document(raw.body)
        return next((a for a in map(meta_inbound.account, meta_inbound.values(payload)) if a), None)

    def verify(self, raw: Raw, credentials: Credentials) -> bool:
        """HMAC-SHA256 of the raw bytes by the app secret; the JSON parsed and written again would not
        match."""
        secret = credentials.get("app_secret", "").encode()
        given = raw.headers.get(SIGNATURE_HEADER.lower(), "")
        if not secret or not given.startswith("sha256="):
            return False
        expected = "sha256=" + hmac.new(secret, raw.body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape"))

    def unreadable(self, raw: Raw) -> str | None:
        """Anything but a JSON object."""
        return meta_inbound.fault_of(raw.body)

    def parse(self, raw: Raw) -> list[InboundMessage | StatusUpdate]:
        """Messages and statuses of every change."""
        found: list[InboundMessage | StatusUpdate] = []
        for value in meta_inbound.values(meta_inbound.document(raw.body)):
            found.extend(meta_inbound.messages(value))
            found.extend(meta_inbound.statuses(value, _retryable))
        return found

    def split(self, text: str, choices: Sequence[Choice] = ()) -> list[str]:
        """Parts of at most 4096; above buttons or a list at most 1024."""
        if not choices:
            return wording.split(text, self.limits.text)
        if _interactive_fits(choices):
            return wording.split(text, self.limits.text, self.limits.text_with_choices)
        return wording.split_numbered(text, choices, self.limits.text)

    def send(self, outgoing: Outgoing, credentials: Credentials) -> Accepted:
        """POST {graph_url}/{version}/{phone_number_id}/messages.

        Up to 3 choices are buttons, up to 10 a list, more (or ids too long for Meta) numbered lines. An
        error with a code was answered by the API itself, so nothing was sent; a 5xx without one, a read
        time-out or a broken connection is Unknown, and the status webhook brings our reference back.
        """
        missing = [n for n in ("phone_number_id", "access_token") if not credentials.get(n, "").strip()]
        if missing:
            raise Misconfigured(f"Meta needs {', '.join(missing)}.", code="credentials")
        body = wording.clean(self._body(outgoing))
        address = f"{_address(credentials)}/messages"
        error: ProviderError
        try:
            answer = self._session().post(
                address,
                data=json.dumps(body, ensure_ascii=False).encode(),
                headers={
                    "Authorization": f"Bearer {credentials['access_token'].strip()}",
                    "Content-Type": "application/json",
                },
            )
            provider_id = _message_id(answer)
            if provider_id:
                return Accepted(provider_id=provider_id, status="queued")
            error = _refusal(answer, outgoing, credentials)
        except requests.RequestException as broken:
            error = http.failure(broken, "Meta")
        except UnicodeEncodeError:  # a header takes Latin-1 only
            error = Misconfigured("The access token has characters that no token has.", code="credentials")
        # Raised out here so that no traceback shows an exception that may quote number and text.
        raise error

    def check(self, credentials: Credentials) -> http.Standing:
        """GET {graph_url}/{version}/{phone_number_id}: whether the token opens the number, and how the number does.

        Fields: developers.facebook.com, WhatsApp Business phone number (status, quality_rating).
        """
        missing = [n for n in ("phone_number_id", "access_token") if not credentials.get(n, "").strip()]
        if missing:
            raise Misconfigured(f"Meta needs {', '.join(missing)}.", code="credentials")
        error: ProviderError
        try:
            answer = self._session().get(
                _address(credentials),
                params={"fields": "id,status,quality_rating"},
                headers={"Authorization": f"Bearer {credentials['access_token'].strip()}"},
            )
            told = _json(answer)
            if answer.status_code == 200 and told.get("id"):
                connected = told.get("status", "CONNECTED") == "CONNECTED"
                poor = told.get("quality_rating") == "RED"
                faults = (
                    *(() if connected else ("number_not_connected",)),
                    *(("quality_low",) if poor else ()),
                )
                return http.Standing(at=http.said_at(answer.headers), faults=faults)
            error = _refusal(answer, Outgoing(reference="", to=Recipient(user_id=""), text=""), credentials)
        except requests.RequestException as broken:
            error = http.failure(broken, "Meta")
        except UnicodeEncodeError:  # a header takes Latin-1 only
            error = Misconfigured("The access token has characters that no token has.", code="credentials")
        raise error

    def _body(self, outgoing: Outgoing) -> dict[str, Any]:
        to = outgoing.to
        body: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "biz_opaque_callback_data": outgoing.reference,
        }
        if to.phone or to.user_id.isdigit():
            body["to"] = (to.phone or to.user_id).removeprefix("+")
        else:
            body["recipient"] = to.user_id
        interactive = bool(outgoing.choices) and _interactive_fits(outgoing.choices)
        text = outgoing.text if interactive else wording.with_numbers(outgoing.text, outgoing.choices)
        limit = self.limits.text_with_choices if interactive else self.limits.text
        if not text.strip():
            raise Permanent("The message has no text.", code="empty")
        if wording.units(text) > limit:
            raise Permanent(f"The message is longer than {limit} characters.", code="too_long")
        if interactive:
            return body | {"type": "interactive", "interactive": _interactive(outgoing)}
        return body | {"type": "text", "text": {"body": text, "preview_url": "://" in text}}


def _address(credentials: Credentials) -> str:
    """Of the phone number in the Graph API."""
    return "/".join((
        (credentials.get("graph_url", "").strip() or GRAPH_URL).rstrip("/"),
        quote(credentials.get("version", "").strip() or VERSION, safe="."),
        quote(credentials["phone_number_id"].strip(), safe=""),
    ))  # fmt: skip


def handshake(args: Mapping[str, str], verify_token: str) -> str | None:
    """The challenge to answer (bare, text/plain) to Meta's GET when a webhook is set up; None is a 403."""
    given = args.get("hub.verify_token", "").encode("utf-8", "replace")
    challenge = args.get("hub.challenge", "")
    expected = verify_token.encode("utf-8", "replace")
    if not expected or not hmac.compare_digest(given, expected):
        return None
    if args.get("hub.mode") != "subscribe" or not 0 < len(challenge) <= CHALLENGE_CHARS:
        return None
    return challenge


def _interactive_fits(choices: Sequence[Choice]) -> bool:
    longest = BUTTON_ID if len(choices) <= MetaSender.limits.buttons else ROW_ID
    ids = {choice.id for choice in choices}
    return (
        len(choices) <= MAX_ROWS
        and len(ids) == len(choices)
        and all(0 < wording.units(i) <= longest for i in ids)
    )


def _interactive(outgoing: Outgoing) -> dict[str, Any]:
    choices = outgoing.choices
    body = {"text": outgoing.text}
    labels = [choice.label for choice in choices]
    if len(choices) <= MetaSender.limits.buttons:
        buttons = [
            {"type": "reply", "reply": {"id": choice.id, "title": title}}
            for choice, title in zip(choices, wording.titles(labels, MetaSender.limits.label), strict=True)
        ]
        return {"type": "button", "body": body, "action": {"buttons": buttons}}
    rows = []
    for choice, title in zip(choices, wording.titles(labels, ROW_TITLE), strict=True):
        row = {"id": choice.id, "title": title}
        if title != choice.label.strip():  # what was cut can be read below
            row["description"] = wording.cut(choice.label, ROW_DESCRIPTION)
        rows.append({k: v for k, v in row.items() if v})
    menu = wording.cut(outgoing.menu, MENU_TITLE)
    return {"type": "list", "body": body, "action": {"button": menu, "sections": [{"rows": rows}]}}


def _json(answer: requests.Response) -> dict[str, Any]:
    return meta_inbound.document(answer.content)


def _message_id(answer: requests.Response) -> str | None:
    sent = _json(answer).get("messages")
    if answer.status_code not in (200, 201) or not isinstance(sent, list) or not sent:
        return None
    first = sent[0].get("id") if isinstance(sent[0], dict) else None
    return first if isinstance(first, str) and first else None


def _refusal(answer: requests.Response, outgoing: Outgoing, credentials: Credentials) -> ProviderError:
    """Meta's error as one of ours."""
    status = answer.status_code
    if status < 300:
        return Unknown("Meta accepted the message without telling its id.", code="no_id")
    told = _json(answer).get("error")
    told = told if isinstance(told, dict) else {}
    code = str(told.get("code", "")) or None
    data = told.get("error_data")
    sentence = (data.get("details") if isinstance(data, dict) else None) or told.get("message") or ""
    to = outgoing.to
    private = (outgoing.text, to.phone, to.user_id, *credentials.values())
    detail = wording.scrub(str(sentence), *private) or "Meta refused the message."
    shown = code or str(status)
    if code in TOO_FAST or status == 429:
        return RateLimited(detail, code=shown, retry_after=http.retry_after(answer.headers))
    if code in THEIR_TROUBLE or status == 408:
        return Temporary(detail, code=shown)
    if _is_ours(code) or (code == "100" and str(told.get("error_subcode", "")) == "33"):
        return Misconfigured(detail, code=shown)  # 100/33: no such phone_number_id for this token
    if code is None and status == 503:
        return Temporary(detail, code=shown)
    if code is None and status >= 500:
        return Unknown(detail, code=shown)
    if status in (401, 403) or (code is None and (status == 404 or status < 400)):
        return Misconfigured(detail, code=shown)
    return Permanent(detail, code=shown)


def _is_ours(code: str | None) -> bool:
    return code is not None and (code in OUR_ACCOUNT or (code.isdigit() and int(code) in PERMISSIONS))


def _retryable(code: str | None) -> bool:
    return code is not None and code in TOO_FAST | THEIR_TROUBLE
