"""The screens of the webhooks service: endpoints, the delivery log, and their part of the home page."""

from __future__ import annotations

from typing import Any

from app.admin.menu import add_screen
from app.webhooks.admin.dashboard import add_to_home
from app.webhooks.admin.deliveries import DeliveryView
from app.webhooks.admin.endpoints import EndpointView


def register(appbuilder: Any) -> None:
    """Add the screens to FAB; called once per app."""
    add_screen(appbuilder, EndpointView)
    add_screen(appbuilder, DeliveryView)
    add_to_home(appbuilder)
