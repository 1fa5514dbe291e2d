"""What `flask ops doctor` asks about mail: whether each way out lets us in, and whether we hear what becomes of mails."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from flask import current_app
from flask_babel import gettext

from app.email import queries
from app.email.jobs import sender_address
from app.email.providers.ways import WAYS
from app.email.queries import ChosenWay
from app.kit.db import db
from app.kit.doctor import Check, Finding, account, fault, ok, unreadable, warning
from app.kit.doctor.running import public_url
from app.kit.errors import Misconfigured

WHERE = "/admin/mail-providers"


def checks() -> list[Check]:
    """One that finds the ways out; each of them is a check of its own."""
    return [Check(name="email", run=_ways)]


def _ways() -> Iterator[Finding | Check]:
    ways = queries.all_ways(current_app.config)
    db.session.rollback()  # nothing stays open while providers are asked
    for name in current_app.config.get("MAIL_PROVIDERS") or ():
        if not any(way.name == name and way.is_configured for way in ways):
            yield warning(
                gettext("%(provider)s is named, but not configured.", provider=WAYS[name].title),
                "MAIL_PROVIDERS",
                gettext("Set %(variable)s, or take it out.", variable=WAYS[name].needs),
            )
    fate = queries.fate_of_mails(ways)
    if fate == queries.WAIT:
        yield fault(
            gettext("No way out can be used; mails wait."),
            WHERE,
            gettext("Switch one on there, and give it all its settings."),
        )
    if fate == queries.STAY:
        yield warning(
            gettext("No way out is set; mails stay in the outbox page."),
            WHERE,
            gettext("Set MAIL_SERVER, SENDGRID_API_KEY or SES_REGION, or enter one on that page."),
        )
    for way in ways:
        if not way.is_usable:
            continue
        yield from _settings(way)
        yield Check(name=f"email {way.name}", run=partial(_account, way), calls_out=True, seconds=30.0)
    for way in ways:
        if way.undecryptable:
            yield unreadable(f"{WHERE} ({way.way.title})")


def _settings(way: ChosenWay) -> Iterator[Finding]:
    where = f"{WHERE} ({way.way.title})"
    config = way.config
    try:
        sender_address(config)
    except Misconfigured:
        yield fault(
            gettext("Mails have no sender."),
            "MAIL_DEFAULT_SENDER",
            gettext("Set it, such as: Sales <sales@example.com>"),
        )
    in_the_open = not (config.get("MAIL_USE_TLS") or config.get("MAIL_USE_SSL"))
    if way.name == "smtp" and config.get("MAIL_PASSWORD") and in_the_open:
        yield fault(
            gettext("The password travels to the mail server in the open."),
            where,
            gettext("Set MAIL_USE_TLS=on (port 587) or MAIL_USE_SSL=on (465)."),
        )
    needed = way.way.notices
    if needed and not config.get(needed):
        yield warning(
            gettext("We do not hear of bounces and complaints: %(variable)s is not set.", variable=needed),
            where,
            gettext(
                "Set it, and have %(provider)s post to %(url)s.", provider=way.way.title, url=_notices(way)
            ),
        )
    elif needed:
        yield ok(
            gettext(
                "Callback address to paste at %(provider)s: %(url)s",
                provider=way.way.title,
                url=_notices(way),
            ),
            where,
        )


def _notices(way: ChosenWay) -> str:
    return f"{public_url() or 'PUBLIC_URL'}/email/events/{way.name}"


def _account(way: ChosenWay) -> Iterator[Finding]:
    where, title = f"{WHERE} ({way.way.title})", way.way.title
    faults = {
        "may_not_send": fault(
            gettext("The key may not send mail."), where, gettext("Give it the permission “Mail Send”.")
        ),
        "sandbox": warning(
            gettext("The account is in the sandbox: it writes to verified addresses only."),
            where,
            gettext("Ask AWS for production access."),
        ),
        "sending_paused": fault(
            gettext("AWS has paused this account's sending."),
            where,
            gettext("Look at it in the SES console."),
        ),
        "under_review": warning(
            gettext("AWS has this account under review and may pause its sending."),
            where,
            gettext("Look in the SES console at its bounces and complaints."),
        ),
    }
    refusals = _amazon(where) if way.name == "ses" else {}
    return account(lambda: way.way.make(way.config).check(), title, where, faults, refusals)


def _amazon(where: str) -> dict[str, Finding]:
    """What errors mean at AWS that elsewhere would speak of wrong credentials or of the network."""
    no_keys = fault(
        gettext("There are no AWS credentials."),
        where,
        gettext("Enter an access key on that page, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."),
    )
    return {
        "ses_settings": fault(
            gettext("SES_REGION is not a region of AWS."), where, gettext("Set it, such as: eu-west-1")
        ),
        "connect": fault(
            gettext("%(provider)s cannot be reached.", provider="Amazon SES"),
            where,
            gettext(
                "Check that SES_REGION is a region that has SES, DNS, and whether a firewall lets us out."
            ),
        ),
        "NoCredentialsError": no_keys,
        "PartialCredentialsError": no_keys,
        "AccessDeniedException": warning(
            gettext("The key may not ask about the account, so nothing can be said of it."),
            where,
            gettext(
                "Allow it ses:GetAccount, and ses:SendEmail and ses:SendRawEmail for the mails themselves."
            ),
        ),
        "clock": fault(
            gettext("AWS refuses our signatures, because this machine's clock is wrong."),
            where,
            gettext("Switch on NTP (timedatectl set-ntp true)."),
        ),
    }
