"""Which table a lead belongs into: the first rule all of whose conditions hold.

The operators are those of a flow's branch, so that people learn them once: comparing ignores case and accents,
numbers are compared as numbers and ISO dates as dates, a list (tags) holds when one of its items does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import re2

from app.contracts.problems import Problem, problem
from app.leads.mapping.columns import CUSTOM, LEAD_FIELDS
from app.leads.matching import fold

COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "equals": lambda value, operand: value == operand,
    "not_equals": lambda value, operand: value != operand,
    "contains": lambda value, operand: bool(operand) and operand in value,
    "not_contains": lambda value, operand: not operand or operand not in value,
    "starts_with": lambda value, operand: bool(operand) and value.startswith(operand),
}
NEGATIVE = frozenset({"not_equals", "not_contains"})
UNARY = ("is_set", "is_blank")
OPERATORS = (*COMPARISONS, "matches", "greater", "less", *UNARY)
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")
CONDITIONS = 10
"""Conditions of one rule; more is a sign that a tag is wanted."""
OPERAND_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Condition:
    """field operator value, such as amount greater 1000; value is ignored by is_set and is_blank."""

    field: str
    operator: str
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """All conditions must hold; none at all is the default that takes every lead. target: id of a connection."""

    target: str
    conditions: tuple[Condition, ...] = ()


def route(values: Mapping[str, Any], rules: Iterable[Rule]) -> str | None:
    """The target of the first rule that holds for a lead's plain values; None when none does."""
    for rule in rules:
        if all(_holds(condition, values) for condition in rule.conditions):
            return rule.target
    return None


def is_unary(operator: str) -> bool:
    """Whether the operator takes no value."""
    return operator in UNARY


def problems_of(conditions: Iterable[Condition]) -> list[Problem]:
    """Everything that is wrong with a rule's conditions."""
    found: list[Problem] = []
    conditions = tuple(conditions)
    if len(conditions) > CONDITIONS:
        found.append(
            problem("/conditions", "too_many", "There may be at most %(limit)s of them.", limit=CONDITIONS)
        )
    for number, condition in enumerate(conditions):
        where = f"/conditions/{number}"
        if condition.field not in LEAD_FIELDS and not condition.field.startswith(CUSTOM):
            found.append(
                problem(where, "unknown_field", "There is no field %(field)s.", field=condition.field[:60])
            )
        if condition.operator not in OPERATORS:
            found.append(problem(where, "unknown_operator", "Choose how to compare."))
        elif not condition.value and condition.operator not in UNARY:
            found.append(problem(where, "required", "Say what to compare with."))
        elif len(condition.value) > OPERAND_LENGTH:
            found.append(problem(where, "too_long", "At most %(limit)s characters.", limit=OPERAND_LENGTH))
        elif condition.operator == "matches" and _pattern(condition.value) is None:
            found.append(problem(where, "invalid_pattern", "This is no regular expression."))
    return found


def _holds(condition: Condition, values: Mapping[str, Any]) -> bool:
    value = values.get(condition.field)
    items = [str(item) for item in value] if isinstance(value, list | tuple) else [_text(value)]
    if condition.operator == "is_set":
        return any(items)
    if condition.operator == "is_blank":
        return not any(items)
    if condition.operator in NEGATIVE:
        return all(_compare(condition, item) for item in items)
    return any(_compare(condition, item) for item in items)


def _compare(condition: Condition, value: str) -> bool:
    operand = condition.value.strip()
    if condition.operator == "matches":
        pattern = _pattern(operand)
        return pattern is not None and pattern.search(value) is not None
    if condition.operator in ("greater", "less"):
        return _ordered(condition.operator, value.strip(), operand)
    comparison = COMPARISONS.get(condition.operator)
    return comparison is not None and comparison(fold(value), fold(operand))


def _ordered(operator: str, value: str, operand: str) -> bool:
    left: Any
    right: Any
    if ISO_DATE.match(value) and ISO_DATE.fullmatch(operand):
        left, right = value[:10], operand
    else:
        left, right = _number(value), _number(operand)
        if left is None or right is None:
            return False
    return bool(left > right if operator == "greater" else left < right)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.replace(",", "."))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _pattern(text: str) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error:
        return None


def _text(value: Any) -> str:
    return "" if value is None else str(value)
