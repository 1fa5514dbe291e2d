"""A choice is tapped, or typed: its number, its label, a keyword, or a sentence with one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.whatsapp.engine.definition import Option
from app.whatsapp.engine.folding import fold_words, says

ORDINAL = re.compile(r"(?:(?:la|el|the|opcion|option|numero|number|n|no) )*(\d{1,2})")


def read_choice(options: Sequence[Option], text: str, payload: str | None = None) -> Option | None:
    """The option meant; None when none or more than one is.

    From sure to vague: payload, label, keyword, number, a sentence that names exactly one option. A payload
    of an older question is no answer by itself, but its title may be.
    """
    for option in options:
        if payload is not None and option.choice.id == payload:
            return option
    raw = text.strip().casefold()
    if not raw:
        return None
    words = fold_words(text)
    for option in options:
        if raw in (option.raw, option.choice.id.casefold()) or (words and words == option.words):
            return option
    if not words:
        return None
    for option in options:
        if words in option.keywords:
            return option
    if ordinal := ORDINAL.fullmatch(words):
        number = int(ordinal[1])
        return options[number - 1] if 1 <= number <= len(options) else None
    named = [
        o for o in options if says(words, o.words) or any(says(words, k) for k in o.keywords if len(k) > 1)
    ]
    return named[0] if len(named) == 1 else None
