"""What can be an id of ours at all."""

from __future__ import annotations

from uuid import UUID


def is_id(text: str) -> bool:
    """Whether the text can be one of our ids at all; PostgreSQL refuses to compare others."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
