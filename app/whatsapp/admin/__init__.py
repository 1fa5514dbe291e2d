"""The screens of conversations: inbox, flows and their designer, channels, the simulator, what could not be handled."""

from __future__ import annotations

from typing import Any

from app.admin.menu import add_screen
from app.whatsapp.admin.channels import ChannelView
from app.whatsapp.admin.conversations import ConversationView
from app.whatsapp.admin.dashboard import add_to_home
from app.whatsapp.admin.deadletters import WebhookView
from app.whatsapp.admin.flows import FlowView
from app.whatsapp.admin.simulator import SimulatorView


def register(appbuilder: Any) -> None:
    """Add the screens to FAB; called once per app."""
    for view in (ConversationView, FlowView, SimulatorView, ChannelView, WebhookView):
        add_screen(appbuilder, view)
    add_to_home(appbuilder)
