"""WhatsApp through Twilio: webhooks signed over URL and fields, messages through the official SDK.

Facts: twilio.com/docs (message resource, webhook security, error dictionary) and twilio 9.13's
RequestValidator.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import requests
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.request_validator import (
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
    get_signature_algorithm,
)
from twilio.rest import Client

from app.contracts.problems import N_
from app.kit import http
from app.kit.errors import Misconfigured, Permanent, ProviderError, RateLimited, Temporary, Unknown
from app.whatsapp.providers import twilio_inbound, wording
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
from app.whatsapp.providers.twilio_inbound import PREFIX, REFERENCE, THEIR_TROUBLE, TOO_FAST, plain

API_URL = "https://api.twilio.com"

# Codes from Twilio's error dictionary, as in twilio_inbound.
OUR_ACCOUNT = frozenset({
    "20003",  # wrong SID or token
    "20005",  # account not active
    "20006",  # access denied
    "20404",  # no such account
    "21212",  # From is no valid number
    "21603",  # From missing
    "21606",  # From does not belong to the account
    "21609",  # the status callback is no valid public URL
    "21660",  # From and account do not match
    "21701",  # no such messaging service
    "21703",  # messaging service without senders
    "21705",  # invalid messaging service
    "30002",  # account suspended
    "63007",  # no WhatsApp sender with this From
    "63020",  # Meta business manager restricts the account
    "63112",  # Meta disabled the sender or the business account
    "90010",  # account not active
})  # fmt: skip


class _Transport(HttpClient):
    """The SDK's HTTP client on our session, as its own has no time-out. Keeps the answer for its headers."""

    def __init__(self, session: requests.Session) -> None:
        super().__init__(logging.getLogger(__name__), is_async=False)
        self.session = session
        self.answer: requests.Response | None = None

    def request(
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        del timeout, allow_redirects  # the session decides both
        self.answer = self.session.request(
            method, uri, params=_texts(params), data=_texts(data), headers=headers, auth=auth
        )
        # Not .text: it would guess the encoding of JSON by statistics.
        text = self.answer.content.decode("utf-8", "replace")
        return Response(self.answer.status_code, text, self.answer.headers)


def _texts(values: dict[str, object] | None) -> dict[str, str | list[str]] | None:
    if values is None:
        return None
    return {k: [str(i) for i in v] if isinstance(v, list) else str(v) for k, v in values.items()}


class TwilioSender:
    """Sender for Twilio's Programmable Messaging."""

    FIELDS: tuple[CredentialField, ...] = (
        CredentialField(name="account_sid", label=N_("Account SID"), variable="TWILIO_ACCOUNT_SID"),
        CredentialField(name="auth_token", label=N_("Auth token"), variable="TWILIO_AUTH_TOKEN", secret=True),
        CredentialField(
            name="whatsapp_from", label=N_("WhatsApp sender (+34…)"), variable="TWILIO_WHATSAPP_FROM"
        ),
        CredentialField(
            name="messaging_service_sid", label=N_("Messaging service SID (optional)"), required=False
        ),
        CredentialField(
            name="signing_secret",
            label=N_("Webhook signing secret (optional)"),
            secret=True,
            required=False,
        ),
        CredentialField(
            name="api_url",
            label=N_("API address"),
            variable="TWILIO_API_URL",
            required=False,
            default=API_URL,
        ),
    )
    limits = Limits(text=1600, text_with_choices=1600, buttons=0, choices=0, label=wording.LINE_UNITS)
    hook: Hook | None = Hook(
        media_types=("application/x-www-form-urlencoded", "application/json"),
        signature=SIGNATURE_HEADER,
        signs_url=True,
        answer=('<?xml version="1.0" encoding="UTF-8"?><Response/>', "text/xml"),  # TwiML that says nothing
        about="Of Twilio: over the URL and the form",
        schema={
            "type": "object",
            "properties": {"MessageSid": {"type": "string"}, "Body": {"type": "string"}},
        },
        example={
            "MessageSid": "SM1",
            "From": "whatsapp:+34600000012",
            "To": "whatsapp:+34910000000",
            "Body": "hola",
        },
    )

    def __init__(self, session: http.Reused | None = None) -> None:
        self._session = session or http.Reused()

    def address(self, credentials: Credentials) -> str | None:
        """The sender's number in E.164, without `whatsapp:`."""
        return plain(credentials.get("whatsapp_from", "")) or None

    def account_of(self, raw: Raw) -> str | None:
        """To of an inbound message, From of a status update."""
        return twilio_inbound.account(twilio_inbound.form_of(raw)) or None

    def verify(self, raw: Raw, credentials: Credentials) -> bool:
        """By Twilio's RequestValidator: URL and sorted fields, or URL with bodySHA256 for a JSON body.

        With the settings header the shared key (signing_secret) signs, by HMAC-SHA256; else the auth token.
        """
        signature = raw.headers.get(SIGNATURE_HEADER.lower(), "")
        settings = raw.headers.get(SIGNATURE_SETTINGS_HEADER.lower(), "")
        secret = credentials.get("auth_token", "")
        if settings:
            secret = credentials.get("signing_secret") or secret
        if not signature or not secret:
            return False
        try:
            signed: twilio_inbound.Fields | str = twilio_inbound.fields(raw)
            if twilio_inbound.is_json(raw):
                if "bodySHA256" not in parse_qs(urlsplit(raw.url).query):
                    return False  # the SDK would check the URL alone, and any body would pass
                signed = raw.body.decode()
            elif raw.body and not signed:
                return False  # a body that is no form is covered by no signature
            valid = RequestValidator(secret).validate(
                raw.url, signed, signature, get_signature_algorithm(settings)
            )
        except ValueError:  # a URL, a body or a form that cannot be read
            return False
        return bool(valid)

    def unreadable(self, raw: Raw) -> str | None:
        """An empty form tells nothing."""
        return None if raw.body.strip() else "The form is empty."

    def parse(self, raw: Raw) -> list[InboundMessage | StatusUpdate]:
        """One message or one status update; [] when the form is neither."""
        return twilio_inbound.updates(raw)

    def split(self, text: str, choices: Sequence[Choice] = ()) -> list[str]:
        """Parts of at most 1600, the last one with room for the numbered choices."""
        if choices:
            return wording.split_numbered(text, choices, self.limits.text)
        return wording.split(text, self.limits.text)

    def send(self, outgoing: Outgoing, credentials: Credentials) -> Accepted:
        """POST …/Messages.json. Choices become numbered lines: buttons would need a registered template.

        What counts as what: refused connections, 429, 503 and codes that say so are Temporary; 500, 502 and
        504 without such a code, a read time-out and a broken connection are Unknown, because Twilio may
        have queued the message before its front end failed.
        """
        wanted = ["account_sid", "auth_token"]
        if not credentials.get("messaging_service_sid"):
            wanted.append("whatsapp_from")
        missing = [name for name in wanted if not credentials.get(name, "").strip()]
        if missing:
            raise Misconfigured(f"Twilio needs {', '.join(missing)}.", code="credentials")
        text = wording.clean(wording.with_numbers(outgoing.text, outgoing.choices))
        if not text.strip():
            raise Permanent("The message has no text.", code="empty")
        if wording.units(text) > self.limits.text:
            raise Permanent(f"The message is longer than {self.limits.text} characters.", code="too_long")

        transport = _Transport(self._session())
        client = _client(credentials, transport)
        error: ProviderError
        try:
            message = client.messages.create(
                to=_recipient(outgoing), body=text, **_options(outgoing, credentials)
            )
            if message.sid:
                return Accepted(
                    provider_id=message.sid, status="sent" if message.status == "sent" else "queued"
                )
            error = Unknown("Twilio accepted the message without telling its id.", code="no_id")
        except (TwilioRestException, TwilioServiceException) as refused:
            error = _refusal(refused, transport.answer, outgoing, credentials)
        except requests.RequestException as broken:
            error = http.failure(broken, "Twilio")
        except (TwilioException, ValueError, TypeError, AttributeError, KeyError) as unreadable:
            error = _unreadable(unreadable, transport.answer)
        # Raised out here so that no traceback shows the SDK's exception, which may quote number and text.
        raise error

    def check(self, credentials: Credentials) -> http.Standing:
        """GET the account: whether the token opens it, and whether it is active (docs: API, Account resource)."""
        missing = [name for name in ("account_sid", "auth_token") if not credentials.get(name, "").strip()]
        if missing:
            raise Misconfigured(f"Twilio needs {', '.join(missing)}.", code="credentials")
        transport = _Transport(self._session())
        error: ProviderError
        try:
            account = (
                _client(credentials, transport).api.v2010.accounts(credentials["account_sid"].strip()).fetch()
            )
            closed = ("account_closed",) if account.status != "active" else ()
            trial = ("account_on_trial",) if account.type == "Trial" else ()
            answer = transport.answer
            return http.Standing(
                at=http.said_at(answer.headers) if answer is not None else None, faults=closed + trial
            )
        except (TwilioRestException, TwilioServiceException) as refused:
            nobody = Outgoing(reference="", to=Recipient(user_id=""), text="")
            error = _refusal(refused, transport.answer, nobody, credentials)
        except requests.RequestException as broken:
            error = http.failure(broken, "Twilio")
        except (TwilioException, ValueError, TypeError, AttributeError, KeyError) as unreadable:
            error = _unreadable(unreadable, transport.answer)
        raise error


def _client(credentials: Credentials, transport: _Transport) -> Client:
    client = Client(
        credentials["account_sid"].strip(),
        credentials["auth_token"].strip(),
        http_client=transport,
        environment={"EMBUDO": "1"},  # not empty, or the SDK would let TWILIO_EDGE rewrite api_url
    )
    client.api.base_url = credentials.get("api_url", "").strip() or API_URL
    return client


def _options(outgoing: Outgoing, credentials: Credentials) -> dict[str, str]:
    options = {}
    if credentials.get("whatsapp_from", "").strip():
        options["from_"] = PREFIX + plain(credentials["whatsapp_from"])
    if credentials.get("messaging_service_sid", "").strip():
        options["messaging_service_sid"] = credentials["messaging_service_sid"].strip()
    if outgoing.callback_url:
        options["status_callback"] = _with_reference(outgoing.callback_url, outgoing.reference)
    return options


def _recipient(outgoing: Outgoing) -> str:
    """The number; without one the business-scoped id (CC.xxx), which Twilio takes in its place."""
    if outgoing.to.phone:
        return PREFIX + outgoing.to.phone
    user_id = outgoing.to.user_id
    return PREFIX + ("+" + user_id if twilio_inbound.is_number(user_id) else user_id)


def _with_reference(url: str, reference: str) -> str:
    """The URL with our message id in its query; Twilio signs and calls it as it is."""
    parts = urlsplit(url)
    query = "&".join(p for p in (parts.query, urlencode({REFERENCE: reference})) if p)
    return urlunsplit(parts._replace(query=query))


def _refusal(
    refused: TwilioRestException | TwilioServiceException,
    answer: requests.Response | None,
    outgoing: Outgoing,
    credentials: Credentials,
) -> ProviderError:
    """Twilio's error as one of ours, by its code where it gives one, else by the HTTP status."""
    status = answer.status_code if answer is not None else int(refused.status)
    code = str(refused.code or status)
    sentence = refused.msg if isinstance(refused, TwilioRestException) else refused.detail or refused.title
    sentence = str(sentence).removeprefix("Unable to create record: ")
    to = outgoing.to
    detail = wording.scrub(sentence, outgoing.text, to.phone, to.user_id, *credentials.values())
    detail = detail or "Twilio refused the message."
    if code in TOO_FAST or status == 429:
        wait = http.retry_after(answer.headers) if answer is not None else None
        return RateLimited(detail, code=code, retry_after=wait)
    if code in THEIR_TROUBLE or status in (408, 503):
        return Temporary(detail, code=code)
    if code in OUR_ACCOUNT or status in (401, 403, 404) or 300 <= status < 400:
        return Misconfigured(detail, code=code)
    if status >= 500:
        return Unknown(detail, code=code)
    return Permanent(detail, code=code)


def _unreadable(error: Exception, answer: requests.Response | None) -> ProviderError:
    if answer is None:  # the SDK or requests stumbled over a credential or the URL before anything was sent
        return Misconfigured(
            f"The request to Twilio could not be made ({type(error).__name__}).", code="request"
        )
    return Unknown("Twilio's answer could not be read.", code=str(answer.status_code))
