"""Mail through SendGrid's v3 API, spoken as plain HTTP: its Python library is stale and has no time-outs.

Facts: docs.sendgrid.com/api-reference/mail-send (fields, limits, errors), …/how-to-use-the-sendgrid-v3-api/rate-limits.
SendGrid has no idempotency key, so an answer that never came leaves a message unknown; its events, which bring
back our id, settle it.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from typing import Any

import requests

from app.email.mime import Letter, build
from app.email.providers import REFERENCE, Result, without_addresses
from app.kit.errors import Misconfigured, Permanent, ProviderError, RateLimited, Temporary, Unknown
from app.kit.http import Reused, Standing, failure, retry_after, said_at

API_URL = "https://api.sendgrid.com"
"""For accounts in the European Union: https://api.eu.sendgrid.com."""

PATH = "/v3/mail/send"

_AMBIGUOUS = frozenset({502, 504})
"""A gateway's own answers: what stands behind it may have taken the message."""

_session = Reused()


@dataclass(frozen=True, kw_only=True)
class SendGridSettings:
    """api_key: with the permission “Mail Send”. url: base address."""

    api_key: str = field(repr=False)
    url: str = API_URL

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SendGridSettings:
        """Read SENDGRID_API_KEY and SENDGRID_API_URL."""
        return cls(
            api_key=str(config["SENDGRID_API_KEY"]),
            url=str(config.get("SENDGRID_API_URL") or API_URL).rstrip("/"),
        )


class SendGridSender:
    """One request per letter, over kept connections."""

    name = "sendgrid"

    def __init__(self, settings: SendGridSettings) -> None:
        self._settings = settings

    def open(self) -> None:
        """Connections are made when needed."""

    def send(self, batch: Iterable[Letter], handing_over: Callable[[str], None]) -> Iterator[Result]:
        """Send each letter; see MailSender.send."""
        for letter in batch:
            yield self._send_one(letter, handing_over)

    def rate(self) -> float | None:
        """SendGrid publishes no figure."""
        return None

    def check(self) -> Standing:
        """GET /v3/scopes: whether the key is known and may send (docs.sendgrid.com/api-reference/api-key-permissions)."""
        error: ProviderError
        try:
            answer = _session().get(
                self._settings.url + "/v3/scopes",
                headers={"Authorization": f"Bearer {self._settings.api_key}"},
            )
            if answer.status_code == 200:
                may_send = "mail.send" in (answer.json().get("scopes") or ())
                return Standing(at=said_at(answer.headers), faults=() if may_send else ("may_not_send",))
            error = _refused("", answer).error or Unknown("SendGrid refused.", code=str(answer.status_code))
        except requests.exceptions.JSONDecodeError:
            error = Unknown("SendGrid's answer could not be read.", code="unreadable")
        except requests.RequestException as broken:
            error = failure(broken, "SendGrid")
        raise error

    def close(self) -> None:
        """The process keeps its connections."""

    def _send_one(self, letter: Letter, handing_over: Callable[[str], None]) -> Result:
        try:
            document = request_of(letter)
        except ValueError as error:
            return Result(ref=letter.ref, error=Permanent(str(error), code="bad_message"))
        handing_over(letter.ref)
        try:
            answer = _session().post(
                self._settings.url + PATH,
                json=document,
                headers={"Authorization": f"Bearer {self._settings.api_key}"},
            )
        except requests.RequestException as error:
            trouble = failure(error, "SendGrid")
            return Result(ref=letter.ref, error=trouble, at_provider=True)
        if answer.status_code == 202:
            return Result(ref=letter.ref, provider_message_id=answer.headers.get("X-Message-Id"))
        return _refused(letter.ref, answer)


def request_of(letter: Letter) -> dict[str, Any]:
    """The body of the request. Raises ValueError for what cannot be a mail."""
    build(letter)  # refuses line breaks in headers and addresses that are none, as every way out does
    name, address = parseaddr(letter.sender)
    content = [{"type": "text/plain", "value": letter.text}] if letter.text.strip() else []
    if letter.html:
        content.append({"type": "text/html", "value": letter.html})
    if not content:
        raise ValueError("neither text nor HTML")
    sender = {"email": address}
    if plain_name := _ascii_name(name):
        sender["name"] = plain_name
    document: dict[str, Any] = {
        "personalizations": [{"to": [{"email": letter.to}], "custom_args": {REFERENCE: letter.ref}}],
        "from": sender,
        "subject": letter.subject,
        "content": content,
        "headers": {"Message-ID": letter.message_id, **letter.headers},
    }
    if letter.reply_to:
        document["reply_to"] = {"email": parseaddr(letter.reply_to)[1]}
    return document


def _ascii_name(name: str) -> str:
    """SendGrid takes no Unicode in `from`: Ñandú becomes Nandu; what has no ASCII form is left out."""
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[;,<>\"]", " ", folded).split())


def _refused(ref: str, answer: requests.Response) -> Result:
    status, code = answer.status_code, str(answer.status_code)
    errors = _errors(answer)
    text = without_addresses("; ".join(item["message"] for item in errors)) or f"SendGrid answered {status}."
    error: ProviderError
    if status == 429:
        error = RateLimited(text, code=code, retry_after=_reset(answer.headers))
        return Result(ref=ref, error=error, at_provider=True)
    if status in _AMBIGUOUS:
        return Result(ref=ref, error=Unknown(text, code=code), at_provider=True)
    if status >= 500:
        return Result(ref=ref, error=Temporary(text, code=code), at_provider=True)
    if status in (400, 413):
        fields = [item["field"] for item in errors]
        if any(name == "from" or name.startswith("from.") for name in fields):
            return Result(ref=ref, error=Misconfigured(text, code="sender"), at_provider=True)
        about_recipient = any(name.startswith("personalizations.0.to") for name in fields)
        return Result(ref=ref, error=Permanent(text, code="recipient" if about_recipient else code))
    # 401 and 403: the key, an unverified sender, no credits left. 404, 405, redirects: the address is no SendGrid.
    return Result(ref=ref, error=Misconfigured(text, code=f"sendgrid_{status}"), at_provider=True)


def _errors(answer: requests.Response) -> list[dict[str, str]]:
    try:
        found = answer.json()["errors"]
        return [
            {"message": str(item.get("message") or ""), "field": str(item.get("field") or "")}
            for item in found[:5]
        ]
    except (ValueError, LookupError, TypeError, AttributeError):
        return []


def _reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until SendGrid counts anew: Retry-After, else X-RateLimit-Reset (Unix time)."""
    seconds = retry_after(headers)
    reset = headers.get("X-RateLimit-Reset", "")
    if seconds is None and reset.isascii() and reset.isdecimal():
        seconds = max(0.0, min(int(reset) - time.time(), 3600.0))
    return seconds
