"""What a message costs the database: statements creep in one by one, and each is paid for every message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import event

from app.kit.db import engine_of, own_context
from app.whatsapp import jobs
from tests.whatsapp.conftest import Line

ALONE = 40
"""Statements, commits left out, for one message of somebody new and its two replies, until both are sent."""

TOGETHER = 3
"""The same per message when a batch comes at once."""

PEOPLE = 48


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """What is executed inside the block, by all connections."""
    seen: list[str] = []
    engine = engine_of("whatsapp")

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):  # which only SQLite's connections say in words
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def warm(meta: Line) -> Callable[[], None]:
    """Compile the flow and open the connections."""

    def run() -> None:
        meta.say("hola", sender="+34600000001")
        with own_context():
            jobs.process_webhooks()

    return run


def test_a_message_and_its_two_replies_take_few_statements(
    app: Flask, meta: Line, warm: Callable[[], None]
) -> None:
    warm()
    meta.say("hola")
    with statements(app) as seen, own_context():
        jobs.process_webhooks()
    assert len(meta.sent) == 4
    assert len(seen) <= ALONE, "\n".join(seen)


def test_many_messages_share_their_statements(app: Flask, meta: Line, warm: Callable[[], None]) -> None:
    warm()
    for number in range(PEOPLE):
        meta.say("hola", sender=f"+3460012{number:04d}")
    with statements(app) as seen, own_context():
        jobs.process_webhooks()
    assert len(meta.sent) == 2 * (PEOPLE + 1)
    assert len(seen) <= TOGETHER * PEOPLE, len(seen)
