"""Templates and mail servers for the tests of the email service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from app.email import commands
from app.email.commands import Order
from app.email.models import Message, Template
from app.kit import db
from tests.fakes.smtp_server import SmtpScript, smtp_server

GREETING = {
    "key": "greeting",
    "language": "en",
    "name": "Greeting",
    "format": "html",
    "subject": "Hello {{ name }}",
    "body": "<p>Hello {{ name }} of {{ company }}, {{ count }} times</p>",
    "variables": [
        {"name": "name", "required": True, "sample": "Ann"},
        {"name": "company"},
        {"name": "count", "type": "number"},
    ],
}


@pytest.fixture
def make_template(app: Flask) -> Callable[..., Template]:
    """Add a template: ``make_template(key="welcome", language="es")``."""

    def make(**changes: Any) -> Template:
        with db.transaction():
            return commands.create_template({**GREETING, **changes}, by="test")

    return make


@pytest.fixture
def queue(app: Flask) -> Callable[..., Message]:
    """Put a mail into the queue: ``queue(to="ann@example.com")``."""

    def put(**changes: Any) -> Message:
        order = Order(**{"to": "ann@example.com", "subject": "Hello", "text": "Hello Ann"} | changes)
        with db.transaction():
            return commands.queue_email(order)

    return put


@pytest.fixture
def mail_server(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmtpScript]:
    """A mail server that the app is configured to use."""
    with smtp_server() as script:
        settings = {
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": script.port,
            "MAIL_TIMEOUT": 5,
            "MAIL_MAX_EMAILS": 100,
            "MAIL_DEFAULT_SENDER": "Embudo <ventas@example.com>",
        }
        for name, value in settings.items():
            monkeypatch.setitem(app.config, name, value)
        yield script
