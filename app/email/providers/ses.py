"""Mail through Amazon SES (API v2), the same bytes as by SMTP, so that headers and parts are the same everywhere.

Facts: the service model in botocore (errors), docs.aws.amazon.com/ses/latest/dg/quotas.html and
…/manage-sending-quotas-errors.html (limits; SES sends no Retry-After). boto3 repeats nothing here: it cannot know
whether a message whose answer was lost has left.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.email.mime import Letter, build
from app.email.providers import REFERENCE, Result, without_addresses
from app.kit.errors import Misconfigured, Permanent, ProviderError, RateLimited, Temporary, Unknown
from app.kit.http import SIGNATURE_SECONDS, Standing, said_at

CONNECT_SECONDS, READ_SECONDS = 3, 10

QUOTA_SECONDS = 600.0
"""How long to rest when the day's quota is spent, as AWS advises; it is counted over the last 24 hours."""

RATE_SECONDS = 3600.0
"""How long the sending rate that SES told is believed."""

RATE_RETRY_SECONDS = 60.0
"""How long after a failed question SES is not asked for its rate again."""

_ACCOUNT = frozenset(
    {
        "AccountSuspendedException", "SendingPausedException", "MailFromDomainNotVerifiedException",
        "NotFoundException", "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId",
        "InvalidSignatureException", "SignatureDoesNotMatch", "ExpiredTokenException", "ExpiredToken",
        "MissingAuthenticationToken", "MissingAuthenticationTokenException", "OptInRequired",
    }
)  # fmt: skip
"""Errors that every message would meet until a person does something in AWS."""

_SIGNED_WRONG = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"})
"""What AWS calls a signature that does not fit: the secret is another one, or our clock is wrong."""

_TOO_FAST = frozenset(
    {"TooManyRequestsException", "ThrottlingException", "Throttling", "LimitExceededException"}
)

_clients: dict[SesSettings, Any] = {}
_rates: dict[SesSettings, tuple[float, float | None]] = {}
"""Until when no account is asked again, and what it told last."""
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class SesSettings:
    """region: such as eu-west-1. Without access_key_id, AWS's own ways to credentials are used."""

    region: str
    endpoint_url: str | None = None
    configuration_set: str | None = None
    access_key_id: str | None = field(repr=False, default=None)
    secret_access_key: str | None = field(repr=False, default=None)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SesSettings:
        """Read SES_REGION, SES_ENDPOINT_URL, SES_CONFIGURATION_SET and keys typed into the admin."""
        return cls(
            region=str(config["SES_REGION"]),
            endpoint_url=config.get("SES_ENDPOINT_URL") or None,
            configuration_set=config.get("SES_CONFIGURATION_SET") or None,
            access_key_id=config.get("SES_ACCESS_KEY_ID") or None,
            secret_access_key=config.get("SES_SECRET_ACCESS_KEY") or None,
        )


class SesSender:
    """One call per letter, over the client's kept connections."""

    name = "ses"

    def __init__(self, settings: SesSettings, client: Any = None) -> None:
        self._settings = settings
        self._client = client

    def open(self) -> None:
        """Make the client. Raises Misconfigured when the settings cannot be used."""
        if self._client is None:
            self._client = _client(self._settings)

    def send(self, batch: Iterable[Letter], handing_over: Callable[[str], None]) -> Iterator[Result]:
        """Send each letter; see MailSender.send."""
        self.open()
        for letter in batch:
            yield self._send_one(letter, handing_over)

    def rate(self) -> float | None:
        """The account's MaxSendRate, asked once an hour; when SES does not tell, the former one, or None."""
        until, rate = _rates.get(self._settings, (None, None))
        if until is None or time.monotonic() > until:
            told = self._ask_rate()
            rate = rate if told is None else told
            seconds = RATE_RETRY_SECONDS if told is None else RATE_SECONDS
            _rates[self._settings] = (time.monotonic() + seconds, rate)
        return rate if rate is not None and rate > 0 else None

    def close(self) -> None:
        """The process keeps its connections."""

    def check(self) -> Standing:
        """GetAccount: whether the keys are known, sending is on, and the account has left the sandbox."""
        from botocore.exceptions import BotoCoreError, ClientError

        self.open()
        error: ProviderError
        try:
            told = self._client.get_account()
            paused = () if told.get("SendingEnabled", True) else ("sending_paused",)
            sandbox = () if told.get("ProductionAccessEnabled", True) else ("sandbox",)
            review = ("under_review",) if told.get("EnforcementStatus") == "PROBATION" else ()
            at = said_at(told["ResponseMetadata"]["HTTPHeaders"])
            return Standing(at=at, faults=paused + sandbox + review)
        except ClientError as refused:
            code = str(refused.response.get("Error", {}).get("Code", ""))
            told = refused.response.get("ResponseMetadata", {})
            status = int(told.get("HTTPStatusCode", 0))
            if code in _SIGNED_WRONG and _clock_is_off(told.get("HTTPHeaders", {})):
                code = "clock"
            kind = Misconfigured if code in _ACCOUNT or status in (401, 403) else Unknown
            error = kind("SES refused the call.", code=code or str(status))
        except BotoCoreError as broken:
            error = _broken(broken)
        raise error

    def _ask_rate(self) -> float | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.open()
            return float(self._client.get_account()["SendQuota"]["MaxSendRate"])
        except (
            BotoCoreError,
            ClientError,
            ProviderError,
            KeyError,
            TypeError,
            ValueError,
            NotImplementedError,
        ):
            return None

    def _send_one(self, letter: Letter, handing_over: Callable[[str], None]) -> Result:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            data = build(letter)
        except ValueError as error:
            return Result(ref=letter.ref, error=Permanent(str(error), code="bad_message"))
        wanted: dict[str, Any] = {
            "FromEmailAddress": letter.sender_address,
            "Destination": {"ToAddresses": [letter.to]},
            "Content": {"Raw": {"Data": data}},
            "EmailTags": [{"Name": REFERENCE, "Value": letter.ref}],
        }
        if self._settings.configuration_set:
            wanted["ConfigurationSetName"] = self._settings.configuration_set
        handing_over(letter.ref)
        try:
            answer = self._client.send_email(**wanted)
        except ClientError as error:
            return _refused(letter, error.response)
        except BotoCoreError as error:
            return Result(ref=letter.ref, error=_broken(error), at_provider=not _is_about_letter(error))
        return Result(ref=letter.ref, provider_message_id=answer.get("MessageId"))


def _client(settings: SesSettings) -> Any:
    """The process's client for these settings. boto3 takes 30 MB and a while, so it is loaded when first needed."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    with _lock:
        if settings not in _clients:
            keys: dict[str, Any] = {}
            if settings.access_key_id:
                keys = {
                    "aws_access_key_id": settings.access_key_id,
                    "aws_secret_access_key": settings.secret_access_key,
                }
            limits = Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": 1},
            )
            try:
                _clients[settings] = boto3.session.Session().client(
                    "sesv2",
                    region_name=settings.region,
                    endpoint_url=settings.endpoint_url,
                    config=limits,
                    **keys,
                )
            except (BotoCoreError, ValueError) as error:
                raise Misconfigured(without_addresses(str(error)), code="ses_settings") from error
        return _clients[settings]


def _refused(letter: Letter, response: Mapping[str, Any]) -> Result:
    code = str(response.get("Error", {}).get("Code", ""))
    said = str(response.get("Error", {}).get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = without_addresses(said) or code
    error: ProviderError
    if code in _TOO_FAST or status == 429:
        is_quota = code == "LimitExceededException" or "quota" in said.lower()
        error = RateLimited(text, code=code, retry_after=QUOTA_SECONDS if is_quota else None)
    elif code in _ACCOUNT or status in (401, 403) or _is_sender_unverified(letter, code, said):
        error = Misconfigured(text, code=code)
    elif status in (502, 504):
        error = Unknown(text, code=code or str(status))
    elif status >= 500:
        error = Temporary(text, code=code or str(status))
    else:
        return Result(ref=letter.ref, error=Permanent(text, code=code or str(status)))
    return Result(ref=letter.ref, error=error, at_provider=True)


def _is_sender_unverified(letter: Letter, code: str, said: str) -> bool:
    """MessageRejected names the identities that are not verified; in the sandbox that may be the recipient's."""
    if code != "MessageRejected" or not re.search(r"not\s+verified", said, re.IGNORECASE):
        return False
    return letter.to.lower() not in said.lower()


def _clock_is_off(headers: Mapping[str, str]) -> bool:
    at = said_at(headers)
    return at is not None and abs(time.time() - at.timestamp()) >= SIGNATURE_SECONDS


def _broken(error: Exception) -> ProviderError:
    """What a failed call means: whether SES can have got the message."""
    from botocore import exceptions

    kind = type(error).__name__
    if isinstance(error, exceptions.ParamValidationError):
        return Permanent("SES does not take this message.", code=kind)
    if isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.NoRegionError
        | exceptions.CredentialRetrievalError
        | exceptions.TokenRetrievalError,
    ):
        return Misconfigured("There are no AWS credentials that can be used.", code=kind)
    # Everything that keeps a connection from coming about; their parent ConnectionError says less.
    if isinstance(
        error,
        exceptions.EndpointConnectionError
        | exceptions.ConnectTimeoutError
        | exceptions.ProxyConnectionError
        | exceptions.SSLError,
    ):
        return Temporary(f"No connection to SES ({kind}).", code="connect")
    if isinstance(error, exceptions.HTTPClientError):
        return Unknown(f"The connection to SES broke before its answer was read ({kind}).", code="no_answer")
    return Misconfigured(without_addresses(str(error)), code=kind)


def _is_about_letter(error: Exception) -> bool:
    from botocore.exceptions import ParamValidationError

    return isinstance(error, ParamValidationError)
