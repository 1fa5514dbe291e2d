"""Texts of strangers in a form that every database takes.

PostgreSQL refuses NUL and UTF-8 refuses half an emoji: kept as they came, such a text would fail with all that is
written together with it, at every try.

Pure: no clock, no network, no framework.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

# Control characters and lone surrogates: PostgreSQL refuses NUL, UTF-8 refuses the others. Line breaks and tabs stay.
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def storable(text: str) -> str:
    """The text in NFC without characters that a database or UTF-8 refuses; line breaks are kept."""
    return unicodedata.normalize("NFC", _UNSTORABLE.sub("", text))


def storable_json(value: Any) -> Any:
    """The same for a JSON-plain value, keys included."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable_json(item) for item in value]
    return value
