"""What `flask ops doctor` asks about WhatsApp: each number's credentials, and where its provider should call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from flask_babel import gettext
from sqlalchemy import select

from app.kit.db import db
from app.kit.doctor import Check, Finding, account, fault, ok, unreadable, warning
from app.kit.doctor.running import public_url
from app.kit.secrets import Undecryptable
from app.whatsapp.models import Channel
from app.whatsapp.providers import SENDERS
from app.whatsapp.queries import channels as queries

CHANNELS = 200
"""Channels that are looked at."""

WHERE = "/admin/channels"


def checks() -> list[Check]:
    """One that finds the channels; each of them is a check of its own."""
    return [Check(name="whatsapp", run=_channels)]


def _channels() -> Iterator[Finding | Check]:
    rows = db.session.execute(
        select(Channel.name, Channel.provider, queries.raw_credentials().label("stored"))
        .where(Channel.active, Channel.provider != "simulator")
        .order_by(Channel.name)
        .limit(CHANNELS)
    ).all()
    found: list[tuple[str, str, bytes | None]] = [(row.name, row.provider, row.stored) for row in rows]
    db.session.rollback()  # nothing stays open while providers are asked
    used = {provider for _, provider, _ in found}
    found += [
        (provider.title(), provider, None)
        for provider in SENDERS
        if provider not in used and queries.environment(provider)
    ]
    if not found:
        yield warning(
            gettext("No number is connected; flows run in the simulator only."),
            WHERE,
            gettext("Add a channel, or set TWILIO_… or META_… in the environment."),
        )
    for name, provider, stored in found:
        where = f"{WHERE} ({name})"
        try:
            credentials = queries.opened(provider, stored)
        except Undecryptable:
            yield unreadable(where)
            continue
        yield from _callback(provider, where)
        yield Check(
            name=f"whatsapp {provider} {name}",
            run=partial(_account, provider, credentials, where),
            calls_out=True,
        )


def _callback(provider: str, where: str) -> Iterator[Finding]:
    url = public_url()
    if not url:
        yield fault(
            gettext(
                "%(provider)s cannot tell us what people write: PUBLIC_URL is not set.",
                provider=provider.title(),
            ),
            where,
            gettext("Set PUBLIC_URL, then run this again for the address to paste."),
        )
        return
    yield ok(
        gettext(
            "Callback address to paste at %(provider)s: %(url)s",
            provider=provider.title(),
            url=f"{url}/message",
        ),
        where,
    )


def _account(provider: str, credentials: Mapping[str, str], where: str) -> Iterator[Finding]:
    faults = {
        "account_closed": fault(
            gettext("The account is suspended or closed."), where, gettext("Settle it in Twilio's console.")
        ),
        "account_on_trial": warning(
            gettext("The account is a trial: it writes to verified numbers only."),
            where,
            gettext("Upgrade it in Twilio's console."),
        ),
        "number_not_connected": fault(
            gettext("The number is not connected at Meta."),
            where,
            gettext("Look at it in the WhatsApp Manager."),
        ),
        "quality_low": warning(
            gettext("Meta rates the number's quality low and may limit it."),
            where,
            gettext("Look in the WhatsApp Manager what people reported."),
        ),
    }
    return account(lambda: SENDERS[provider].check(credentials), provider.title(), where, faults)
