"""Whether a case of a branch applies. Comparing ignores case and accents: people do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.whatsapp.engine.answers.numbers import read_number
from app.whatsapp.engine.definition import Case
from app.whatsapp.engine.folding import fold

ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")

COMPARISONS: Final[dict[str, Callable[[str, str], bool]]] = {
    "equals": lambda value, operand: value == operand,
    "not_equals": lambda value, operand: value != operand,
    "contains": lambda value, operand: bool(operand) and operand in value,
    "not_contains": lambda value, operand: not operand or operand not in value,
    "starts_with": lambda value, operand: bool(operand) and value.startswith(operand),
}
UNARY: Final = ("is_set", "is_blank")
ORDER: Final = ("greater", "less")
OPERATORS: Final = (*COMPARISONS, "matches", *ORDER, *UNARY)


def applies(case: Case, render: Callable[[Any], str], variables: Mapping[str, Any], language: str) -> bool:
    """Whether the case's condition is true; render fills a template of the case."""
    value = render(case.value).strip()
    if case.operator == "is_set":
        return bool(value)
    if case.operator == "is_blank":
        return not value
    if case.operator == "matches":
        return case.pattern.search(value) is not None
    operand = render(case.operand).strip()
    if case.operator in ORDER:
        known = variables.get(case.variable) if case.variable else None
        return _ordered(case.operator, known, value, operand, language)
    return COMPARISONS[case.operator](fold(value), fold(operand))


def _ordered(operator: str, known: Any, value: str, operand: str, language: str) -> bool:
    """Numbers as numbers, ISO dates as dates; anything else is neither greater nor less."""
    left: Any
    right: Any
    if ISO_DATE.fullmatch(value) and ISO_DATE.fullmatch(operand):
        left, right = value, operand
    else:
        is_number = isinstance(known, (int, float)) and not isinstance(known, bool)
        left = known if is_number else read_number(value, language)
        right = read_number(operand, language)
    if left is None or right is None:
        return False
    return bool(left > right if operator == "greater" else left < right)
