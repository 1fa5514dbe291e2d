"""What each type of node must have."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, Final

import phonenumbers
import re2

from app.whatsapp.engine.answers import READERS
from app.whatsapp.engine.branching import OPERATORS, UNARY
from app.whatsapp.engine.definition import BUILDERS, compile_pattern
from app.whatsapp.engine.folding import fold_words
from app.whatsapp.engine.limits import (
    MAX_BUTTON_CHARS,
    MAX_BUTTONS,
    MAX_CASES,
    MAX_CHOICES,
    MAX_FIELDS,
    MAX_INTERACTIVE_CHARS,
    MAX_KEYWORDS,
    MAX_LABEL_CHARS,
    MAX_PATTERN_CHARS,
    MAX_RETRIES,
    MAX_TIMEOUT_MINUTES,
    MIN_CHOICES,
)
from app.whatsapp.engine.validate.checks import Checks, is_name, is_number, is_plain_text

KINDS: Final = ("choice", *READERS)


def check_node(node: dict[str, Any], checks: Checks) -> None:
    """Add the problems of one node; its id is a text."""
    kind = node.get("type")
    if not isinstance(kind, str) or kind not in BUILDERS:
        shown = kind[:64] if isinstance(kind, str) else ""
        checks.add(node["id"], "unknown_type", "There is no node of type “%(type)s”.", type=shown)
        return
    position = node.get("position")
    if position is not None and not (
        isinstance(position, dict) and is_number(position.get("x")) and is_number(position.get("y"))
    ):
        checks.add(node["id"], "bad_position", "The position needs the numbers x and y.")
    if not isinstance(node.get("exits", {}), dict):
        checks.add(node["id"], "wrong_type", "%(field)s must be a JSON object.", field="exits")
    if kind in CHECKS:
        CHECKS[kind](node, checks)


def _send_text(node: dict[str, Any], checks: Checks) -> None:
    checks.template(node["id"], "text", node.get("text"))


def _set_variable(node: dict[str, Any], checks: Checks) -> None:
    _variable(node, checks)
    checks.template(node["id"], "value", node.get("value", ""), required=False)


def _variable(node: dict[str, Any], checks: Checks) -> None:
    if not is_name(node.get("variable")):
        checks.add(node["id"], "bad_variable_name", "A variable's name is letters, digits and _, at most 40.")


def _ask(node: dict[str, Any], checks: Checks) -> None:
    where, kind = node["id"], node.get("kind")
    checks.template(where, "text", node.get("text"))
    _variable(node, checks)
    if node.get("retry_text") is not None:
        checks.template(where, "retry_text", node["retry_text"], required=False)
    checks.whole(where, "retries", node.get("retries"), 0, MAX_RETRIES)
    checks.whole(where, "timeout_minutes", node.get("timeout_minutes"), 1, MAX_TIMEOUT_MINUTES)
    if not isinstance(kind, str) or kind not in KINDS:
        checks.add(where, "unknown_kind", "A question asks for one of: %(kinds)s.", kinds=", ".join(KINDS))
        return
    if kind == "choice":
        _choices(node, checks)
    if kind in ("number", "date"):
        _range(node, kind, checks)
    country = node.get("country")
    known = isinstance(country, str) and country.upper() in phonenumbers.SUPPORTED_REGIONS
    if kind == "phone" and country and not known:
        checks.add(where, "unknown_country", "The country is two letters, such as ES or US.")


def _range(node: dict[str, Any], kind: str, checks: Checks) -> None:
    good = is_number if kind == "number" else _is_iso_date
    low, high = node.get("min"), node.get("max")
    wrong = [name for name in ("min", "max") if node.get(name) is not None and not good(node[name])]
    for name in wrong:
        if kind == "number":
            checks.add(node["id"], "wrong_type", "%(field)s must be a number.", field=name)
        else:
            checks.add(node["id"], "wrong_type", "%(field)s must be a date such as 2026-12-31.", field=name)
    if not wrong and low is not None and high is not None and low > high:
        checks.add(node["id"], "empty_range", "min is greater than max: no answer would be accepted.")


def _is_iso_date(value: Any) -> bool:
    if not isinstance(value, str) or len(value) != len("2026-12-31"):
        return False
    try:
        return date.fromisoformat(value) is not None
    except ValueError:
        return False


def _choices(node: dict[str, Any], checks: Checks) -> None:
    where, choices = node["id"], node.get("choices")
    if not isinstance(choices, list) or not MIN_CHOICES <= len(choices) <= MAX_CHOICES:
        checks.add(
            where, "choices_count", "A choice offers %(least)s to %(most)s answers.",
            least=MIN_CHOICES, most=MAX_CHOICES,
        )  # fmt: skip
        return
    text = node.get("text")
    if isinstance(text, str) and len(text) > MAX_INTERACTIVE_CHARS:
        checks.add(
            where, "warning_long_question", "WhatsApp shows at most %(most)s characters above choices.",
            most=MAX_INTERACTIVE_CHARS,
        )  # fmt: skip
    ids: set[str] = set()
    words: set[str] = set()
    for index, choice in enumerate(choices, 1):
        if not isinstance(choice, dict) or not is_plain_text(choice.get("id"), 64):
            checks.add(where, "choice_without_id", "Choice %(number)s needs an id.", number=index)
            continue
        if choice["id"] in ids:
            checks.add(where, "duplicate_choice", "Two choices have the id %(id)s.", id=choice["id"])
        ids.add(choice["id"])
        _label(where, index, choice.get("label"), count=len(choices), words=words, checks=checks)
        _keywords(where, index, choice, words, checks)


def _label(where: str, index: int, label: object, *, count: int, words: set[str], checks: Checks) -> None:
    if not is_plain_text(label, 1000):
        checks.add(where, "empty_label", "Choice %(number)s needs a label.", number=index)
        return
    if len(label) > MAX_LABEL_CHARS:
        checks.add(
            where, "label_too_long", "The label “%(label)s” has more than %(most)s characters.",
            label=label, most=MAX_LABEL_CHARS,
        )  # fmt: skip
    elif count <= MAX_BUTTONS and len(label) > MAX_BUTTON_CHARS:
        checks.add(
            where, "warning_long_button", "A button shows %(most)s characters; “%(label)s” becomes a list.",
            label=label, most=MAX_BUTTON_CHARS,
        )  # fmt: skip
    folded = fold_words(label) or label.strip()
    if folded in words:
        checks.add(where, "duplicate_choice", "Two choices are called “%(label)s”.", label=label)
    words.add(folded)


def _keywords(where: str, index: int, choice: dict[str, Any], words: set[str], checks: Checks) -> None:
    keywords = choice.get("keywords") or []
    if not isinstance(keywords, list) or len(keywords) > MAX_KEYWORDS:
        checks.add(where, "wrong_type", "%(field)s must be a list.", field="keywords")
        return
    own = {fold_words(choice["label"])} if isinstance(choice.get("label"), str) else set()
    for keyword in keywords:
        if not is_plain_text(keyword, 64):
            checks.add(where, "empty_keyword", "A keyword of choice %(number)s is empty.", number=index)
        elif (folded := fold_words(keyword)) in words and folded not in own:
            checks.add(
                where, "warning_duplicate_keyword", "The keyword %(word)s is there twice.", word=keyword
            )
        else:
            own.add(folded)
    words |= own - {""}


def _branch(node: dict[str, Any], checks: Checks) -> None:
    where, cases = node["id"], node.get("cases")
    if not isinstance(cases, list) or not 1 <= len(cases) <= MAX_CASES:
        checks.add(where, "cases_count", "A branch has 1 to %(most)s cases.", most=MAX_CASES)
        return
    ids: set[str] = set()
    for index, case in enumerate(cases, 1):
        if not isinstance(case, dict) or not is_plain_text(case.get("id"), 64):
            checks.add(where, "case_without_id", "Case %(number)s needs an id.", number=index)
            continue
        if case["id"] in ids:
            checks.add(where, "duplicate_case", "Two cases have the id %(id)s.", id=case["id"])
        ids.add(case["id"])
        _case(where, index, case, checks)
    exits = node.get("exits")
    if not isinstance(exits, dict) or exits.get("otherwise") is None:
        checks.add(where, "warning_no_otherwise", "When no case applies the conversation ends here.")


def _case(where: str, index: int, case: dict[str, Any], checks: Checks) -> None:
    checks.template(where, f"cases/{index}/value", case.get("value"))
    operator = case.get("operator")
    if not isinstance(operator, str) or operator not in OPERATORS:
        checks.add(
            where, "unknown_operator", "Case %(number)s compares with one of: %(operators)s.",
            number=index, operators=", ".join(OPERATORS),
        )  # fmt: skip
        return
    if operator in UNARY:
        return
    operand = case.get("operand")
    if operator != "matches":
        checks.template(where, f"cases/{index}/operand", operand)
        return
    if not is_plain_text(operand, MAX_PATTERN_CHARS):
        checks.add(
            where, "bad_pattern", "The pattern of case %(number)s cannot be read: %(reason)s.",
            number=index, reason=f"1–{MAX_PATTERN_CHARS}",
        )  # fmt: skip
        return
    try:
        compile_pattern(str(operand))
    except re2.error as wrong:
        reason = wrong.args[0]
        checks.add(
            where, "bad_pattern", "The pattern of case %(number)s cannot be read: %(reason)s.",
            number=index, reason=reason.decode("utf-8", "replace") if isinstance(reason, bytes) else
            str(reason) )  # fmt: skip


def _capture_lead(node: dict[str, Any], checks: Checks) -> None:
    fields = node.get("fields")
    _templates(node["id"], "fields", fields, checks)
    if isinstance(fields, dict) and not any(fields.get(name) for name in ("name", "email", "phone")):
        checks.add(node["id"], "warning_anonymous_lead", "The lead has no name, e-mail or phone.")


def _request_email(node: dict[str, Any], checks: Checks) -> None:
    where, template = node["id"], node.get("template")
    if not is_plain_text(template, 100):
        checks.add(where, "empty_text", "%(field)s is missing.", field="template")
    elif checks.known_templates is not None and template not in checks.known_templates:
        checks.add(where, "unknown_template", "There is no e-mail template “%(name)s”.", name=template)
    checks.template(where, "to", node.get("to"))
    if node.get("variables") is not None:
        _templates(where, "variables", node["variables"], checks)


def _templates(where: str, name: str, values: Any, checks: Checks) -> None:
    if not isinstance(values, dict) or len(values) > MAX_FIELDS:
        checks.add(
            where, "wrong_type", "%(field)s must be a JSON object of at most %(most)s texts.",
            field=name, most=MAX_FIELDS,
        )  # fmt: skip
        return
    for key, value in values.items():
        if not is_plain_text(key, 64):
            checks.add(where, "bad_field_name", "A name in %(field)s has 1 to 64 characters.", field=name)
        else:
            checks.template(where, f"{name}/{key}", value, required=False)


def _hand_over(node: dict[str, Any], checks: Checks) -> None:
    checks.template(node["id"], "note", node.get("note"), required=False)


CHECKS: Final[dict[str, Callable[[dict[str, Any], Checks], None]]] = {
    "send_text": _send_text,
    "ask": _ask,
    "branch": _branch,
    "set_variable": _set_variable,
    "capture_lead": _capture_lead,
    "request_email": _request_email,
    "hand_over": _hand_over,
}
