"""The screens of the email service: templates with their editor, the outbox, who gets none, the ways out, and their part of the home page."""

from __future__ import annotations

from typing import Any

from app.admin.menu import add_screen
from app.email.admin.dashboard import add_to_home
from app.email.admin.messages import OutboxView
from app.email.admin.providers import MailProviderView
from app.email.admin.suppressions import SuppressionView
from app.email.admin.templates import TemplateView


def register(appbuilder: Any) -> None:
    """Add the screens to FAB; called once per app."""
    add_screen(appbuilder, OutboxView)
    add_screen(appbuilder, TemplateView)
    add_screen(appbuilder, SuppressionView)
    add_screen(appbuilder, MailProviderView)
    add_to_home(appbuilder)
