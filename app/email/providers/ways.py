"""The ways out that there are: which settings each has, when it can be used, and how its adapter is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.email.providers import MailSender, sendgrid_events, sns
from app.email.providers.feedback import Told
from app.email.providers.sendgrid import SendGridSender, SendGridSettings
from app.email.providers.ses import SesSender, SesSettings
from app.email.providers.smtp import SmtpSender, SmtpSettings


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A setting of a way out, under its name in the configuration. kind: text | secret | number | switch."""

    name: str
    kind: str = "text"


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way out. needs: the variable without which it does not exist.

    read: understands what it posts to /email/events/<name>, None when it tells nothing; raises Unreadable.
    notices: the variable without which nothing that is posted there is believed.
    """

    name: str
    title: str
    needs: str
    variables: tuple[Variable, ...]
    make: Callable[[Mapping[str, Any]], MailSender]
    read: Callable[[bytes], list[Told]] | None = None
    notices: str = ""

    def is_configured(self, config: Mapping[str, Any]) -> bool:
        """Whether there is enough to try it."""
        return bool(config.get(self.needs))


SENDER = Variable(name="MAIL_DEFAULT_SENDER")

WAYS: dict[str, Way] = {
    way.name: way
    for way in (
        Way(
            name="smtp",
            title="SMTP",
            needs="MAIL_SERVER",
            variables=(
                Variable(name="MAIL_SERVER"),
                Variable(name="MAIL_PORT", kind="number"),
                Variable(name="MAIL_USE_TLS", kind="switch"),
                Variable(name="MAIL_USE_SSL", kind="switch"),
                Variable(name="MAIL_USERNAME"),
                Variable(name="MAIL_PASSWORD", kind="secret"),
                SENDER,
            ),
            make=lambda config: SmtpSender(SmtpSettings.from_config(config)),
        ),
        Way(
            name="sendgrid",
            title="SendGrid",
            needs="SENDGRID_API_KEY",
            variables=(
                Variable(name="SENDGRID_API_KEY", kind="secret"),
                Variable(name="SENDGRID_API_URL"),
                Variable(name="SENDGRID_WEBHOOK_KEY"),
                SENDER,
            ),
            make=lambda config: SendGridSender(SendGridSettings.from_config(config)),
            read=sendgrid_events.parse,
            notices="SENDGRID_WEBHOOK_KEY",
        ),
        Way(
            name="ses",
            title="Amazon SES",
            needs="SES_REGION",
            variables=(
                Variable(name="SES_REGION"),
                Variable(name="SES_ACCESS_KEY_ID"),
                Variable(name="SES_SECRET_ACCESS_KEY", kind="secret"),
                Variable(name="SES_CONFIGURATION_SET"),
                Variable(name="SES_TOPIC_ARNS"),
                SENDER,
            ),
            make=lambda config: SesSender(SesSettings.from_config(config)),
            read=sns.parse,
            notices="SES_TOPIC_ARNS",
        ),
    )
}
"""In the order in which they are tried unless somebody says otherwise."""
