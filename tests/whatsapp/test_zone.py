"""Flows and the chart of messages go by the days of the installation's zone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from flask import Flask

from app.kit import zone
from app.kit.db import transaction
from app.whatsapp.commands import channels, dry_run, turns
from app.whatsapp.engine import Reply
from app.whatsapp.models import Contact, Flow, Message
from app.whatsapp.queries import conversations
from tests.whatsapp.conftest import document

ASKS_A_DAY = document(
    start="ask",
    variables=[],
    nodes=[
        {
            "id": "ask",
            "type": "ask",
            "kind": "date",
            "text": "Son las {{ now | date: '%H:%M %z' }}. ¿Qué día?",
            "variable": "day",
            "exits": {"next": "bye"},
        },
        {"id": "bye", "type": "send_text", "text": "Hasta el {{ vars.day }}", "exits": {"next": "end"}},
        {"id": "end", "type": "end", "exits": {}},
    ],
)


@pytest.fixture
def contact(app: Flask) -> Contact:
    """Somebody on the simulator's channel."""
    with transaction() as session:
        channel = channels.add_channel(
            name="Simulator", provider="simulator", credentials={}, default_flow_id=None
        )
        row = Contact(channel_id=channel.id, user_id="34600111222", phone="+34600111222")
        session.add(row)
    return row


def test_a_flow_tells_the_zones_time_and_tomorrow_is_the_zones(
    app: Flask, contact: Contact, make_flow: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "TIMEZONE", "America/Mexico_City")
    evening = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
    flow_id = make_flow(**ASKS_A_DAY)
    with transaction() as session:
        begun = turns.begin(
            session.get_one(Contact, contact.id),
            session.get_one(Flow, flow_id),
            variables={},
            started_by="test",
            now=evening,
        )
        turns.proceed(begun, Reply(text="mañana", payload=None, kind="text"), evening)
        talk_id = begun.id
    said = [row.text for row in conversations.messages_of_conversation(talk_id)]
    assert said == ["Son las 19:30 -0600. ¿Qué día?", "Hasta el 2026-03-02"]


def test_a_try_out_goes_by_the_same_clock(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.config, "TIMEZONE", "Pacific/Kiritimati")  # 14 hours before UTC's
    earliest = zone.today()
    session = dry_run.start(ASKS_A_DAY, "Cita")
    assert "+1400" in session["messages"][-1]["text"]
    told = dry_run.say(session["id"], "mañana", None)["messages"][-1]["text"]
    assert told in {f"Hasta el {day + timedelta(days=1)}" for day in (earliest, zone.today())}


def test_the_chart_counts_messages_by_the_zones_days(
    app: Flask, contact: Contact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "TIMEZONE", "Asia/Kolkata")
    with transaction() as session:
        for direction, moment in (
            ("in", "2026-02-27T18:29"),
            ("in", "2026-02-27T18:30"),
            ("out", "2026-02-28T18:29"),
            ("out", "2026-02-28T18:30"),
            ("out", "2026-03-01T18:29"),
            ("in", "2026-03-01T18:30"),
        ):
            session.add(
                Message(
                    channel_id=contact.channel_id,
                    contact_id=contact.id,
                    direction=direction,
                    status="received",
                    created_at=datetime.fromisoformat(f"{moment}+00:00"),
                )
            )
    days, received, sent = conversations.messages_per_day(3, now=datetime(2026, 3, 1, 20, tzinfo=UTC))
    assert days == [date(2026, 2, 28), date(2026, 3, 1), date(2026, 3, 2)]
    assert (received, sent) == ([1, 0, 1], [1, 2, 0])
