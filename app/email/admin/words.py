"""How mails are spoken of: statuses, types, and errors as a person would say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app.contracts.problems import Problem
from app.email.models import Attempt, Message
from app.kit.rest.problems import localized

STATUSES = {
    "queued": (_l("Queued"), "blue"),
    "sending": (_l("Being sent"), "blue"),
    "deferred": (_l("Will be tried again"), "amber"),
    "sent": (_l("Sent"), "green"),
    "failed": (_l("Failed"), "red"),
    "unknown": (_l("Perhaps sent"), "violet"),
    "cancelled": (_l("Stopped"), "grey"),
    "suppressed": (_l("Held back"), "grey"),
}

DELIVERIES = {
    "deferred": (_l("On its way"), "amber"),
    "delivered": (_l("Delivered"), "green"),
    "opened": (_l("Opened"), "green"),
    "clicked": (_l("Link followed"), "green"),
    "rejected": (_l("Not sent by the provider"), "red"),
    "bounced": (_l("Came back"), "red"),
    "complained": (_l("Called spam"), "red"),
    "unsubscribed": (_l("Unsubscribed"), "grey"),
}
"""What providers tell after they took a mail."""

EVENT_REASONS = {
    "invalid": _l("There is no such mailbox."),
    "blocked": _l("It was refused for its sender or its content; the address may be good."),
    "timed_out": _l("The recipient's server did not take it in time; the address may be good."),
    "spam": _l("It was taken for spam."),
    "other": _l("The provider does not say why."),
}

CATEGORIES = {
    "transactional": _l("Expected: answers, receipts"),
    "marketing": _l("Advertising: can be unsubscribed from"),
}

SCOPES = {"all": _l("All mail"), "marketing": _l("Advertising only")}

REASONS = {
    "bounced": (_l("Came back"), "red"),
    "complained": (_l("Called spam"), "red"),
    "unsubscribed": (_l("Unsubscribed"), "amber"),
    "manual": (_l("By hand"), "blue"),
}

VARIABLES = {
    "MAIL_SERVER": _l("Server"),
    "MAIL_PORT": _l("Port"),
    "MAIL_USE_TLS": _l("STARTTLS"),
    "MAIL_USE_SSL": _l("TLS from the start"),
    "MAIL_USERNAME": _l("User name"),
    "MAIL_PASSWORD": _l("Password"),
    "MAIL_DEFAULT_SENDER": _l("Sender"),
    "SENDGRID_API_KEY": _l("API key"),
    "SENDGRID_API_URL": _l("Address of the API"),
    "SENDGRID_WEBHOOK_KEY": _l("Verification key of the event webhook"),
    "SES_REGION": _l("Region"),
    "SES_ACCESS_KEY_ID": _l("Access key id"),
    "SES_SECRET_ACCESS_KEY": _l("Secret access key"),
    "SES_CONFIGURATION_SET": _l("Configuration set"),
    "SES_TOPIC_ARNS": _l("SNS topics whose events are believed"),
}
"""What the settings of providers are called."""

OUTCOMES = {**STATUSES, "retry": (_l("Sent again by hand"), "grey")}

KEPT_HERE = (_l("Kept here"), "teal")
"""Instead of “Sent” for mails that only went into the local outbox."""

LANGUAGES = {"es": _l("Spanish"), "en": _l("English")}

FORMATS = {"mjml": _l("MJML"), "html": _l("HTML")}

TYPES = {
    "text": _l("Text"),
    "number": _l("Number"),
    "date": _l("Date"),
    "url": _l("Link"),
    "boolean": _l("Yes or no"),
}

_CAUSES = {
    "certificate": _l(
        "The mail server's certificate is not one that we trust. Check MAIL_SERVER and MAIL_TLS_CA."
    ),
    "tls": _l(
        "No secure connection to the mail server came about. Check MAIL_PORT, MAIL_USE_TLS and MAIL_USE_SSL."
    ),
    "not_supported": _l("The mail server does not offer what the settings ask for (encryption or login)."),
    "tls_ca": _l("The file that MAIL_TLS_CA names cannot be read."),
    "not_configured": _l("What it needs is not set yet; fill in its settings."),
    "no_sender": _l("Nobody has said who the mails are from. Set MAIL_DEFAULT_SENDER."),
    "535": _l("The mail server does not accept our user name and password."),
    "530": _l("The mail server wants us to log in. Set MAIL_USERNAME and MAIL_PASSWORD."),
    "553": _l("The mail server does not let us send from this address."),
    "ConnectionRefusedError": _l(
        "Nothing answers at the mail server's address. Check MAIL_SERVER and MAIL_PORT."
    ),
    "gaierror": _l("The mail server's name is not known. Check MAIL_SERVER."),
    "TimeoutError": _l("The mail server did not answer in time."),
    "SMTPServerDisconnected": _l("The mail server ended the conversation."),
    "breaker_open": _l("The mail server kept failing; we wait a little before the next try."),
    "no_way": _l("No mail provider can be used. It leaves when one is switched on and set up."),
    "interrupted": _l(
        "Sending was interrupted at the last moment. It may have arrived: ask before you send it again."
    ),
    "reconciled": _l("The provider told of it, so it had been sent."),
    "lead_deleted": _l("Its lead was deleted."),
    "paused": _l("The provider asked us to wait."),
    "rate": _l("The number of mails a second set for this provider is used up; the rest follows."),
    "no_answer": _l("The provider did not answer after it got the message. It may have arrived."),
    "connect": _l("No connection to the provider came about."),
    "sender": _l("The provider does not let us send from this address. Check the sender."),
    "recipient": _l("The provider does not take the recipient's address."),
    "sendgrid_401": _l("SendGrid does not accept our API key, or the account has no credits left."),
    "sendgrid_403": _l(
        "SendGrid does not let us send: the key lacks a permission, or the sender is not verified."
    ),
    "NoCredentialsError": _l("There are no AWS credentials. Set them here, or as AWS's own tools find them."),
    "AccountSuspendedException": _l("Amazon has suspended the account. Look into the SES console."),
    "SendingPausedException": _l("Sending is paused in SES. Look into the SES console."),
    "MailFromDomainNotVerifiedException": _l("SES has not verified the sender's domain."),
    "MessageRejected": _l(
        "SES refuses this message: the sender or, in the sandbox, the recipient is not verified."
    ),
    "suppressed_bounced": _l("Not sent: mail to this address came back."),
    "suppressed_complained": _l("Not sent: the recipient called a mail of ours spam."),
    "suppressed_unsubscribed": _l("Not sent: the recipient wants no advertising."),
    "suppressed_manual": _l("Not sent: somebody here put the address on the suppression list."),
    "rejected_invalid": _l("The provider did not send it: the address is known not to exist."),
    "rejected_spam": _l(
        "The provider did not send it: it took it for spam, or the recipient complained before."
    ),
    "rejected_other": _l("The provider took it and did not send it."),
    "bad_message": _l("The message cannot be written as a mail."),
    "550": _l("The recipient's server says that there is no such mailbox, or does not want our mail."),
    "552": _l("The recipient's mailbox is full, or the message too large."),
    "554": _l("The recipient's server does not want this message."),
}
"""What an error code means and what to do, where we know it."""


def explain(code: str | None, detail: str | None, problems: Sequence[Mapping[str, Any]] | None = None) -> str:
    """An error in plain words; the server's own words where we have none.

    problems: of a mail that could not be written, as Attempt keeps them; without them the detail tells in English.
    """
    if not code and not detail:
        return ""
    if code == "unsendable":
        reason = " ".join(localized(Problem(**found)) for found in problems or ()) or detail or ""
        return gettext("It could not be written: %(reason)s", reason=reason)
    if code in _CAUSES:
        return str(_CAUSES[code])
    if code and code.isdigit():
        if code.startswith("4"):
            return gettext("The server asks us to come back later.")
        return gettext("The server refuses this message for good.")
    return detail or code or ""


def is_server_speaking(code: str | None) -> bool:
    """Whether the detail holds the server's own words, which are worth showing beside ours."""
    return bool(code) and str(code).isdigit()


def status_of(message: Message) -> Any:
    """The choices for the badge of one message: mails that only stay here are not called sent."""
    return {**STATUSES, "sent": KEPT_HERE} if message.provider == "outbox" else STATUSES


def outcomes_of(attempt: Attempt) -> Any:
    """The choices for the badge of one try."""
    return {**OUTCOMES, "sent": KEPT_HERE} if attempt.provider == "outbox" else OUTCOMES
