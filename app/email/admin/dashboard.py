"""What the email service has to say on the home page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import current_app
from flask_babel import gettext, ngettext
from flask_babel import lazy_gettext as _l
from markupsafe import Markup

from app.admin import home
from app.admin.cells import badge
from app.email import queries
from app.email.queries import ChosenWay
from app.kit.db import utcnow
from app.kit.resilience import breaker_open

LATE = timedelta(minutes=10)
"""A mail that has waited longer deserves a look."""


def state_of(chosen: ChosenWay, *, is_open: bool, is_paused: bool) -> Markup:
    """The badge of a way out."""
    if not chosen.enabled:
        return badge("off", {"off": (gettext("Off"), "grey")})
    if not chosen.is_configured:
        return badge("none", {"none": (gettext("Not set up"), "grey")})
    if is_open:
        return badge("failing", {"failing": (gettext("Failing"), "red")})
    if is_paused:
        return badge("paused", {"paused": (gettext("Resting, we were too fast"), "amber")})
    return badge("ok", {"ok": (gettext("Works"), "green")})


def _state() -> home.State:
    every = queries.all_ways(current_app.config)
    fate = queries.fate_of_mails(every)
    if fate == queries.WAIT:
        return home.State("error", gettext("No mail provider can be used; mails wait."))
    if fate == queries.STAY:
        return home.State("warning", gettext("No way out for mail is set up; mails are kept in the outbox."))
    ways = [one for one in every if one.is_usable]
    failing = [one.way.title for one in ways if breaker_open(f"mail:{one.name}")]
    if len(failing) == len(ways):
        return home.State(
            "error", gettext("%(providers)s keep failing; mails wait.", providers=", ".join(failing))
        )
    if failing:
        return home.State(
            "warning",
            gettext("%(providers)s keep failing; another provider sends.", providers=", ".join(failing)),
        )
    if queries.count_unread_notices():
        return home.State("warning", gettext("Some notices from mail providers could not be understood."))
    oldest = queries.oldest_waiting()
    if oldest is not None and utcnow() - oldest > LATE:
        return home.State(
            "warning",
            ngettext(
                "%(num)s mail has waited for long.",
                "%(num)s mails wait, some for long.",
                queries.count_waiting(),
            ),
        )
    return home.State("ok", gettext("Mails leave."))


def _has_welcome() -> bool:
    return queries.find_template("welcome", None) is not None


def add_to_home(appbuilder: Any) -> None:
    """Register cards, health and the first step."""

    def card(key: str, label: Any, icon: str, value: Any, position: int, **more: Any) -> home.Card:
        return home.Card(
            key=key,
            label=label,
            icon=icon,
            value=value,
            endpoint="OutboxView.list",
            permission="Emails",
            position=position,
            **more,
        )

    home.add(
        appbuilder,
        card("mails_sent", _l("Mails sent today"), "fa-paper-plane", queries.count_sent_today, 60),
        card(
            "mails_waiting", _l("Mails waiting"), "fa-hourglass-half", queries.count_waiting, 70, quiet=True
        ),
        card(
            "mails_troubled",
            _l("Mails in trouble"),
            "fa-triangle-exclamation",
            queries.count_troubled,
            91,
            hint=_l("in the last 7 days"),
            quiet=True,
        ),
        home.Health(
            key="mail",
            label=_l("E-mail"),
            state=_state,
            endpoint="OutboxView.list",
            position=50,
            needs=("email", "redis"),
        ),
        home.Step(
            key="welcome_mail",
            label=_l("Write the welcome mail"),
            hint=_l("A template called “welcome” greets every new lead."),
            endpoint="TemplateView.list",
            permission="EmailTemplates",
            done=_has_welcome,
            position=40,
        ),
    )
