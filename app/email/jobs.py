"""Mails leave: the worker's side of the queue in email_message."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formataddr, parseaddr
from typing import Any

from flask import current_app

from app.email import queries
from app.email.commands import SEND_JOB, LostClaim, claim_due, note_handing_over, record, release
from app.email.commands.delivery import Claimed
from app.email.providers import MailSender
from app.email.providers.outbox import OutboxSender
from app.email.providers.smtp import SmtpSender, SmtpSettings
from app.kit import telemetry
from app.kit.db import transaction
from app.kit.errors import Misconfigured, ProviderError, Temporary
from app.kit.jobs import Job, ring
from app.kit.resilience import breaker

BATCH = 50
"""Messages claimed at a time; they share one connection."""

DRAIN_SECONDS = 60.0
"""After so long the job ends and rings for itself again, well before RQ would stop it."""

LOST_CONNECTIONS = 3
"""Connections lost in a row after which the provider counts as failing."""

NOBODY = "Embudo <no-reply@localhost>"
"""The sender of mails that only go into the local outbox."""

log = telemetry.get_logger("email")


def make_sender(config: Mapping[str, Any]) -> MailSender:
    """The way out that the configuration asks for: SMTP when MAIL_SERVER is set, else the local outbox."""
    if config.get("MAIL_SERVER"):
        return SmtpSender(SmtpSettings.from_config(config))
    return OutboxSender()


def sender_address(config: Mapping[str, Any]) -> str:
    """What goes into From: MAIL_DEFAULT_SENDER (text, or a pair of name and address), else MAIL_USERNAME.

    Raises Misconfigured when a mail server is set and neither is an address.
    """
    given = config.get("MAIL_DEFAULT_SENDER")
    text = formataddr(tuple(given)) if isinstance(given, list | tuple) else str(given or "")
    for candidate in (text, str(config.get("MAIL_USERNAME") or "")):
        if "@" in parseaddr(candidate)[1]:
            return candidate
    if config.get("MAIL_SERVER"):
        raise Misconfigured("MAIL_DEFAULT_SENDER is missing: who are the mails from?", code="no_sender")
    return NOBODY


def send_due() -> None:
    """Send all due messages in batches over one connection; ends early when the provider fails."""
    started = time.monotonic()
    sender = make_sender(current_app.config)
    try:
        while time.monotonic() - started < DRAIN_SECONDS:
            if not _send_batch(sender):
                return
        ring(SEND_JOB)
    finally:
        sender.close()


def _send_batch(sender: MailSender) -> bool:
    """Claim, send and record one batch; False when there is nothing more to do now."""
    trouble: ProviderError | None = None
    try:
        address = sender_address(current_app.config)
    except Misconfigured as error:
        trouble, address = error, NOBODY
    with transaction():
        batch = claim_due(BATCH, sender=address)
    if not batch:
        return False
    waiting = {claimed.letter.ref: claimed for claimed in batch}
    if trouble is None:
        try:
            with breaker(f"mail:{sender.name}"):
                _hand_out(sender, waiting)
        except (Temporary, Misconfigured) as error:
            trouble = error
    if trouble is not None:
        with transaction():
            release(waiting, trouble, provider=sender.name)
    return trouble is None


def _hand_out(sender: MailSender, waiting: dict[str, Claimed]) -> None:
    """Send what waits, taking each message out of `waiting` once it is settled.

    Raises what concerns the provider rather than a message: it does not answer, or it refuses us.
    """

    def handing_over(ref: str) -> None:
        with transaction():
            note_handing_over(waiting[ref], provider=sender.name)

    lost = 0
    while waiting:
        try:
            for result in sender.send([claimed.letter for claimed in waiting.values()], handing_over):
                with transaction():
                    record(result, provider=sender.name)
                del waiting[result.ref]
                if isinstance(result.error, Misconfigured):
                    raise result.error
                is_lost = isinstance(result.error, Temporary) and not (result.error.code or "").isdigit()
                lost = lost + 1 if is_lost else 0
                if lost >= LOST_CONNECTIONS and result.error is not None:
                    raise result.error
        except LostClaim as lost_claim:
            # Not ours any more: leave it to whoever has it. The conversation with the server stopped in the middle.
            sender.close()
            del waiting[str(lost_claim)]


JOBS = (Job(name=SEND_JOB, queue="email", run=send_due, due=queries.has_due),)
