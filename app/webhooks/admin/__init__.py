"""The screens of the webhooks service."""

from __future__ import annotations

from typing import Any


def register(appbuilder: Any) -> None:
    """Add the screens to FAB; called once per app."""
