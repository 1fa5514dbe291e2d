"""Something to look at: the welcome mail in both languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.email import commands, queries
from app.kit.db import transaction

HERE = Path(__file__).parent

WELCOME: dict[str, dict[str, Any]] = {
    "es": {"name": "Bienvenida", "subject": "Te damos la bienvenida{% if name %}, {{ name }}{% endif %}"},
    "en": {"name": "Welcome", "subject": "Welcome{% if name %}, {{ name }}{% endif %}"},
}
"""Name and subject by language; the bodies are the .mjml files beside this module."""

VARIABLES = [
    {"name": "name", "type": "text", "sample": "Ana"},
    {"name": "company", "type": "text", "sample": "Olivar S.L."},
]


def load_demo() -> list[str]:
    """Add what is missing; returns a sentence for each template made."""
    made = []
    for language, texts in WELCOME.items():
        with transaction():
            if queries.template_exists("welcome", language):
                continue
            commands.create_template(
                {
                    **texts,
                    "key": "welcome",
                    "language": language,
                    "format": "mjml",
                    "body": (HERE / f"welcome.{language}.mjml").read_text("utf-8"),
                    "variables": VARIABLES,
                },
                by="demo",
            )
        made.append(f"e-mail template “welcome” ({language})")
    return made
