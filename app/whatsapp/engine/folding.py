"""People type without accents, in capitals and with emoji; equal to a person must be equal to us."""

from __future__ import annotations

import re
import unicodedata

NOT_WORD = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """Case and accents away: ``"CAFÉ 2️⃣"`` becomes ``"cafe 2"``; punctuation stays."""
    if text.isascii():
        return text.casefold().strip()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if unicodedata.category(c)[0] != "M").strip()


def fold_words(text: str) -> str:
    """Folded words with one blank between them, no punctuation or emoji; "" when there are no words."""
    return NOT_WORD.sub(" ", fold(text)).strip()


def says(words: str, phrase: str) -> bool:
    """Whether the folded words contain the folded phrase as whole words."""
    return bool(phrase) and f" {phrase} " in f" {words} "
