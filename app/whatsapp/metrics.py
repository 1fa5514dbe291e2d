"""What the whatsapp service tells Prometheus: work that waits, messages of the last day, conversations, channels."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import func, select

from app.kit.db import db, utcnow
from app.kit.metrics import Gauge, Part, Sample, breakers_part, distinct, due_part
from app.whatsapp.models import OPEN, WAITING, Channel, Contact, Conversation, Message, Timer, Webhook
from app.whatsapp.queries import inbound, sending

MESSAGES = Gauge(
    name="embudo_whatsapp_messages_last_day",
    meaning="Messages made in the last 24 hours, by what they are now",
    labels=("direction", "state"),
)
CONVERSATIONS = Gauge(name="embudo_conversations_open", meaning="Conversations that are under way")


def _last_day() -> Iterator[Sample]:
    rows = db.session.execute(
        select(Message.direction, Message.status, func.count())
        .where(Message.created_at >= utcnow() - timedelta(days=1))
        .group_by(Message.direction, Message.status)
    )
    for direction, status, count in rows:
        yield MESSAGES, (direction, status), count
    # The index that allows one open conversation per contact holds just these.
    under_way = select(func.count()).select_from(Conversation).where(Conversation.status.in_(OPEN))
    yield CONVERSATIONS, (), db.session.scalar(under_way) or 0


def _channels() -> dict[str, str]:
    rows = db.session.execute(
        select(Channel.id, Channel.name).where(Channel.active, Channel.provider != "simulator")
    )
    return {
        f"whatsapp:{id_}": f"whatsapp: {name}"
        for id_, name in distinct((row[0], row[1]) for row in rows).items()
    }


PARTS = (
    due_part(
        "whatsapp",
        {
            "process_webhooks": lambda now: (Webhook.received_at, inbound.webhook_is_due(now)),
            "handle_messages": lambda now: (Message.created_at, inbound.message_is_due(now)),
            "send_messages": lambda now: (Contact.next_send_at, sending.lane_is_due(now)),
            "fire_timers": lambda now: (Timer.due_at, (Timer.due_at <= now,)),
            "expire_conversations": lambda now: (
                Conversation.expires_at,
                (Conversation.status == WAITING, Conversation.expires_at <= now),
            ),
        },
    ),
    Part(
        name="messages and conversations",
        gauges=(MESSAGES, CONVERSATIONS),
        read=_last_day,
        needs=("whatsapp",),
    ),
    breakers_part("whatsapp", _channels),
)
