"""What the engine says on its own when the author wrote nothing: to contacts, in the flow's language."""

from __future__ import annotations

from typing import Final

LANGUAGES: Final = ("es", "en")

RETRIES: Final = {
    "es": {
        "text": "Perdona, necesito que me lo escribas con un mensaje de texto.",
        "choice": "Perdona, no te he entendido. Elige una de las opciones, por favor.",
        "number": "Perdona, necesito un número. Por ejemplo: 25",
        "email": "Ese correo no parece correcto. Escríbelo así: nombre@dominio.com",
        "phone": "Ese teléfono no parece correcto. Escríbelo con prefijo, por ejemplo: +34 612 345 678",
        "date": "Perdona, necesito una fecha. Por ejemplo: 31/12/2026",
    },
    "en": {
        "text": "Sorry, please write it to me as a text message.",
        "choice": "Sorry, I did not understand. Please choose one of the options.",
        "number": "Sorry, I need a number. For example: 25",
        "email": "That e-mail does not look right. Please write it like this: name@domain.com",
        "phone": "That number does not look right. Include the country code, for example: +1 202 555 0143",
        "date": "Sorry, I need a date. For example: 12/31/2026",
    },
}


def retry_saying(kind: str, language: str) -> str:
    """How to ask again for an answer of this kind."""
    return RETRIES.get(language, RETRIES["en"])[kind]
