"""How mails are spoken of: statuses, types, and errors as a person would say them."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app.email.models import Attempt, Message

STATUSES = {
    "queued": (_l("Queued"), "blue"),
    "sending": (_l("Being sent"), "blue"),
    "deferred": (_l("Will be tried again"), "amber"),
    "sent": (_l("Sent"), "green"),
    "failed": (_l("Failed"), "red"),
    "unknown": (_l("Perhaps sent"), "violet"),
    "cancelled": (_l("Stopped"), "grey"),
}

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
    "interrupted": _l(
        "Sending was interrupted at the last moment. It may have arrived: ask before you send it again."
    ),
    "bad_message": _l("The message cannot be written as a mail."),
    "550": _l("The recipient's server says that there is no such mailbox, or does not want our mail."),
    "552": _l("The recipient's mailbox is full, or the message too large."),
    "554": _l("The recipient's server does not want this message."),
}
"""What an error code means and what to do, where we know it."""


def explain(code: str | None, detail: str | None) -> str:
    """An error in plain words; the server's own words where we have none."""
    if not code and not detail:
        return ""
    if code == "unsendable":
        return gettext("It could not be written: %(reason)s", reason=detail or "")
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
