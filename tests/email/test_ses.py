"""Amazon SES: what is sent (moto answers), and what each error means (Stubber answers)."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from typing import Any

import boto3
import pytest
from botocore import exceptions
from botocore.config import Config
from botocore.stub import Stubber
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ses import ses_backends

from app.email.mime import build
from app.email.providers import Result, ses
from app.email.providers.ses import QUOTA_SECONDS, SesSender, SesSettings
from app.kit.errors import Misconfigured, Permanent, ProviderError, RateLimited, Temporary, Unknown
from tests.email.amazon import amazon
from tests.email.test_providers import Diary, letter

SETTINGS = SesSettings(region="eu-west-1", configuration_set="mail")


@pytest.fixture
def stub() -> Iterator[tuple[SesSender, Stubber]]:
    client = boto3.client(
        "sesv2",
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )
    with Stubber(client) as stubber:
        yield SesSender(SETTINGS, client), stubber


def send(sender: SesSender, **changes: Any) -> Result:
    (result,) = sender.send([letter(**changes)], Diary())
    return result


def test_ses_takes_the_same_bytes_as_a_mail_server() -> None:
    with amazon() as client:
        result = send(SesSender(SesSettings(region="eu-west-1"), client))
        (sent,) = ses_backends[DEFAULT_ACCOUNT_ID]["eu-west-1"].sent_messages

    mail = message_from_bytes(sent.raw_data.encode(), policy=default)
    assert result.error is None
    assert result.provider_message_id == sent.id
    assert mail["Subject"] == "Hola, qué tal"
    assert mail["Message-ID"] == letter().message_id


def test_the_request_carries_our_id_and_the_configuration_set(stub: tuple[SesSender, Stubber]) -> None:
    sender, stubber = stub
    stubber.add_response(
        "send_email",
        {"MessageId": "ses-1"},
        {
            "FromEmailAddress": "ventas@example.com",
            "Destination": {"ToAddresses": ["cliente1@example.com"]},
            "Content": {"Raw": {"Data": build(letter())}},
            "EmailTags": [{"Name": "embudo_message_id", "Value": letter().ref}],
            "ConfigurationSetName": "mail",
        },
    )

    assert send(sender) == Result(ref=letter().ref, provider_message_id="ses-1")


@pytest.mark.parametrize(
    ("code", "message", "status", "kind", "at_provider"),
    [
        ("TooManyRequestsException", "Maximum sending rate exceeded.", 429, RateLimited, True),
        ("LimitExceededException", "Daily message quota exceeded.", 400, RateLimited, True),
        ("AccountSuspendedException", "suspended", 400, Misconfigured, True),
        ("SendingPausedException", "paused", 400, Misconfigured, True),
        ("MailFromDomainNotVerifiedException", "no", 400, Misconfigured, True),
        ("NotFoundException", "Configuration set <mail> does not exist.", 404, Misconfigured, True),
        ("InvalidClientTokenId", "The security token is invalid.", 403, Misconfigured, True),
        ("MessageRejected", "Email address is not verified. … ventas@example.com", 400, Misconfigured, True),
        ("MessageRejected", "Email address is not verified. … cliente1@example.com", 400, Permanent, False),
        ("MessageRejected", "Message contains a virus.", 400, Permanent, False),
        ("BadRequestException", "Missing final '@domain'", 400, Permanent, False),
        ("InternalFailure", "", 500, Temporary, True),
        ("ServiceUnavailable", "", 503, Temporary, True),
        ("", "", 504, Unknown, True),
    ],
)
def test_each_error_is_understood(
    stub: tuple[SesSender, Stubber],
    code: str,
    message: str,
    status: int,
    kind: type[ProviderError],
    at_provider: bool,
) -> None:
    sender, stubber = stub
    stubber.add_client_error("send_email", code, message, status)

    result = send(sender)

    assert type(result.error) is kind
    assert result.at_provider is at_provider
    assert "example.com" not in str(result.error)


def test_a_spent_quota_means_a_long_rest_and_a_rate_a_short_one(stub: tuple[SesSender, Stubber]) -> None:
    sender, stubber = stub
    stubber.add_client_error("send_email", "LimitExceededException", "Daily message quota exceeded.", 400)
    stubber.add_client_error("send_email", "TooManyRequestsException", "Maximum sending rate exceeded.", 429)

    quota, rate = send(sender).error, send(sender).error

    assert isinstance(quota, RateLimited)
    assert isinstance(rate, RateLimited)
    assert (quota.retry_after, rate.retry_after) == (QUOTA_SECONDS, None)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), Temporary),
        (exceptions.ConnectTimeoutError(endpoint_url="https://x"), Temporary),
        (exceptions.ReadTimeoutError(endpoint_url="https://x"), Unknown),
        (exceptions.ConnectionClosedError(endpoint_url="https://x"), Unknown),
        (exceptions.NoCredentialsError(), Misconfigured),
        (exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), Misconfigured),
    ],
)
def test_a_broken_call_says_whether_the_mail_may_have_left(
    error: Exception, kind: type[ProviderError]
) -> None:
    class Client:
        def send_email(self, **_: Any) -> None:
            raise error

    result = send(SesSender(SETTINGS, Client()))

    assert type(result.error) is kind
    assert result.at_provider


def test_the_rate_is_what_ses_says_of_the_account(stub: tuple[SesSender, Stubber]) -> None:
    settings = SesSettings(region="eu-west-1", configuration_set="rate")
    sender = SesSender(settings, stub[0]._client)
    quota = {"Max24HourSend": 200.0, "MaxSendRate": 14.0, "SentLast24Hours": 1.0}
    stub[1].add_response("get_account", {"SendQuota": quota}, {})

    assert (sender.rate(), sender.rate()) == (14.0, 14.0)  # asked once


def test_a_rate_that_ses_does_not_tell_limits_nothing(stub: tuple[SesSender, Stubber]) -> None:
    settings = SesSettings(region="eu-west-1", configuration_set="silent")
    stub[1].add_client_error("get_account", "AccessDeniedException", "no", 403)

    assert SesSender(settings, stub[0]._client).rate() is None


def test_after_a_failed_question_for_the_rate_ses_is_asked_again_before_long(
    stub: tuple[SesSender, Stubber], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ses, "RATE_RETRY_SECONDS", -1.0)  # a minute later
    sender = SesSender(SesSettings(region="eu-west-1", configuration_set="again"), stub[0]._client)
    stub[1].add_client_error("get_account", "ServiceUnavailable", "", 503)
    stub[1].add_response("get_account", {"SendQuota": {"MaxSendRate": 14.0}}, {})

    assert (sender.rate(), sender.rate(), sender.rate()) == (None, 14.0, 14.0)


def test_the_former_rate_holds_while_ses_does_not_tell(
    stub: tuple[SesSender, Stubber], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ses, "RATE_SECONDS", -1.0)  # an hour later
    sender = SesSender(SesSettings(region="eu-west-1", configuration_set="former"), stub[0]._client)
    stub[1].add_response("get_account", {"SendQuota": {"MaxSendRate": 14.0}}, {})
    stub[1].add_client_error("get_account", "ServiceUnavailable", "", 503)

    assert (sender.rate(), sender.rate(), sender.rate()) == (14.0, 14.0, 14.0)  # the third is not asked


def test_a_region_that_is_none_is_named() -> None:
    with pytest.raises(Misconfigured):
        SesSender(SesSettings(region="not a region")).open()
