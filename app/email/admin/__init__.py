"""The screens of the email service: templates with their editor, the outbox, and their part of the home page."""

from __future__ import annotations

from typing import Any

from app.admin.menu import add_screen
from app.email.admin.dashboard import add_to_home
from app.email.admin.messages import OutboxView
from app.email.admin.templates import TemplateView


def register(appbuilder: Any) -> None:
    """Add the screens to FAB; called once per app."""
    add_screen(appbuilder, OutboxView)
    add_screen(appbuilder, TemplateView)
    add_to_home(appbuilder)
