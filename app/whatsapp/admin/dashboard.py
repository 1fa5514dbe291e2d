"""The service's part of the home page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask_babel import gettext, ngettext
from flask_babel import lazy_gettext as _l

from app.admin import home
from app.kit import zone
from app.kit.db import utcnow
from app.whatsapp.queries import channels, flows
from app.whatsapp.queries import conversations as queries

CHART_DAYS = 14


def _messages() -> list[home.Series]:
    labels, received, sent = queries.messages_per_day(CHART_DAYS)
    days = [home.day_label(day) for day in labels]
    return [
        home.Series(labels=days, values=[float(number) for number in received], name=gettext("Received")),
        home.Series(labels=days, values=[float(number) for number in sent], name=gettext("Sent")),
    ]


def _channel_health() -> home.State:
    active = channels.channels(active=True)
    faults = [row for row in active if row.fault]
    if faults:
        names = ", ".join(row.name for row in faults)
        return home.State("error", gettext("%(names)s: the provider refuses our account.", names=names))
    dead = queries.count_dead_webhooks()
    if dead:
        return home.State(
            "warning",
            ngettext("%(num)s webhook could not be handled.", "%(num)s webhooks could not be handled.", dead),
        )
    if not _connected(active):
        return home.State("ok", gettext("No number is connected yet; the simulator answers."))
    return home.State("ok", gettext("All channels are in order."))


def _connected(active: list[Any]) -> bool:
    return any(row.provider != "simulator" for row in active)


def add_to_home(appbuilder: Any) -> None:
    """Cards, chart, first steps and health."""
    home.add(
        appbuilder,
        home.Card(
            key="conversations_today",
            label=_l("Conversations today"),
            icon="fa-comments",
            value=lambda: queries.started_since(zone.midnight()),
            endpoint="ConversationView.list",
            permission="Conversations",
            position=50,
        ),
        home.Card(
            key="conversations_completed",
            label=_l("Completed today"),
            icon="fa-circle-check",
            value=lambda: queries.completed_since(zone.midnight()),
            endpoint="ConversationView.list",
            permission="Conversations",
            position=51,
        ),
        home.Card(
            key="waiting_for_a_person",
            label=_l("Waiting for a person"),
            icon="fa-hand",
            value=queries.waiting_for_a_person,
            endpoint="ConversationView.list",
            permission="Conversations",
            position=52,
        ),
        home.Card(
            key="failed_messages",
            label=_l("Failed messages"),
            icon="fa-triangle-exclamation",
            value=lambda: queries.failed_since(utcnow() - timedelta(days=7)),
            endpoint="ConversationView.list",
            permission="Conversations",
            hint=_l("in the last 7 days"),
            position=90,
            quiet=True,
        ),
        home.Chart(
            key="messages_per_day",
            title=_l("Messages per day"),
            kind="line",
            data=_messages,
            permission="Conversations",
            position=20,
        ),
        home.Step(
            key="publish_flow",
            label=_l("Publish a flow"),
            hint=_l("Draw what the bot says, then publish it."),
            done=lambda: any(row.published_version for row in flows.flows(limit=50)),
            endpoint="FlowView.list",
            permission="Flows",
            position=10,
        ),
        home.Step(
            key="talk_in_simulator",
            label=_l("Talk to it in the simulator"),
            hint=_l("A phone in the browser; no account is needed."),
            done=lambda: queries.started_since(datetime.min.replace(tzinfo=UTC)) > 0,
            endpoint="SimulatorView.index",
            permission="Simulator",
            position=20,
        ),
        home.Step(
            key="connect_number",
            label=_l("Connect your WhatsApp number"),
            hint=_l("Twilio or Meta: paste the webhook address there."),
            done=lambda: _connected(channels.channels(active=True)),
            endpoint="ChannelView.list",
            permission="Channels",
            position=40,
        ),
        home.Health(
            key="channels",
            label=_l("WhatsApp channels"),
            state=_channel_health,
            endpoint="ChannelView.list",
            position=30,
            needs=("whatsapp",),
        ),
    )
