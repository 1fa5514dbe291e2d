"""A flow ready to run: its document read once, every text parsed, every pattern compiled.

Parsing a text costs a hundred times more than filling it, so nothing is parsed during a turn. Callers keep
the compiled flow per process by (flow, version); it is immutable and may be shared by threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import re2

from app.kit.text import Template
from app.kit.text import compile as parse
from app.whatsapp.engine.effects import Choice
from app.whatsapp.engine.folding import fold_words
from app.whatsapp.engine.limits import DEFAULT_EXPIRE_MINUTES, DEFAULT_RETRIES
from app.whatsapp.engine.sayings import retry_saying
from app.whatsapp.engine.upgrade import upgrade

PATTERN_OPTIONS = re2.Options()  # RE2: time grows with the text only, whatever pattern a user thinks of
PATTERN_OPTIONS.case_sensitive = False
PATTERN_OPTIONS.log_errors = False
PATTERN_OPTIONS.max_mem = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SendText:
    id: str
    text: Template
    next: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """A choice with the words by which it is recognised, folded."""

    choice: Choice
    raw: str
    words: str
    keywords: tuple[str, ...]
    exit: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    id: str
    kind: str
    text: Template
    variable: str
    options: tuple[Option, ...]
    choices: tuple[Choice, ...]
    retries: int
    retry_text: Template
    timeout_minutes: int | None
    minimum: float | str | None
    maximum: float | str | None
    country: str | None
    next: str | None
    failed: str | None
    timeout: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """variable: the name when the value is exactly one variable, whose type then counts."""

    id: str
    value: Template
    variable: str | None
    operator: str
    operand: Template
    pattern: Any
    exit: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    id: str
    cases: tuple[Case, ...]
    otherwise: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SetVariable:
    id: str
    variable: str
    value: Template
    next: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LeadCapture:
    id: str
    fields: tuple[tuple[str, Template], ...]
    next: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EmailRequest:
    id: str
    template: str
    to: Template
    variables: tuple[tuple[str, Template], ...]
    next: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Human:
    id: str
    note: Template


@dataclass(frozen=True, kw_only=True, slots=True)
class GoTo:
    id: str
    target: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    id: str


Node = SendText | Ask | Branch | SetVariable | LeadCapture | EmailRequest | Human | GoTo | End


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """name: for ``flow.name`` in texts; expire_minutes: of silence, after which the host ends the
    conversation."""

    name: str
    language: str
    start: str
    nodes: dict[str, Node]
    defaults: dict[str, Any]
    expire_minutes: int
    unset: frozenset[str]


def compile_flow(document: Mapping[str, Any], *, name: str = "") -> Flow:
    """Make a document without blocking problems ready to run. Raises (KeyError …) on one that validate()
    refuses."""
    document = upgrade(document)
    language = document.get("language") or "es"
    settings = document.get("settings") or {}
    return Flow(
        name=name,
        language=language,
        start=document["start"],
        nodes={node["id"]: BUILDERS[node["type"]](node, language) for node in document["nodes"]},
        defaults={v["name"]: v.get("default", "") for v in document.get("variables") or ()},
        expire_minutes=settings.get("expire_minutes") or DEFAULT_EXPIRE_MINUTES,
        unset=frozenset(f"vars.{name}" for name in assigned_variables(document["nodes"])),
    )


def assigned_variables(nodes: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names that questions and set_variable put into ``vars``; a choice also puts its label beside its id."""
    names: set[str] = set()
    for node in nodes:
        name = node.get("variable")
        if node.get("type") in ("ask", "set_variable") and isinstance(name, str):
            names.add(name)
            if node.get("kind") == "choice":
                names.add(label_variable(name))
    return names


def label_variable(variable: str) -> str:
    """The variable that holds a choice's label beside its id."""
    return f"{variable}_label"


def compile_pattern(pattern: str) -> Any:
    """A pattern for the operator "matches". Raises re2.error."""
    return re2.compile(pattern, PATTERN_OPTIONS)


def _template(source: Any) -> Template:
    return parse("" if source is None else str(source))


def _exit(node: Mapping[str, Any], name: str) -> str | None:
    return (node.get("exits") or {}).get(name) or None


def _send_text(node: Mapping[str, Any], _: str) -> Node:
    return SendText(id=node["id"], text=_template(node["text"]), next=_exit(node, "next"))


def _ask(node: Mapping[str, Any], language: str) -> Node:
    kind = node["kind"]
    after = _exit(node, "next")
    options = tuple(
        Option(
            choice=Choice(id=choice["id"], label=choice["label"]),
            raw=choice["label"].strip().casefold(),
            words=fold_words(choice["label"]),
            keywords=tuple(filter(None, map(fold_words, choice.get("keywords") or ()))),
            exit=_exit(node, f"choice:{choice['id']}") or after,
        )
        for choice in (node.get("choices") or () if kind == "choice" else ())
    )
    retries = node.get("retries")
    return Ask(
        id=node["id"],
        kind=kind,
        text=_template(node["text"]),
        variable=node["variable"],
        options=options,
        choices=tuple(option.choice for option in options),
        retries=DEFAULT_RETRIES if retries is None else retries,
        retry_text=_template(node.get("retry_text") or retry_saying(kind, language)),
        timeout_minutes=node.get("timeout_minutes"),
        minimum=node.get("min"),
        maximum=node.get("max"),
        country=node.get("country") or None,
        next=after,
        failed=_exit(node, "failed"),
        timeout=_exit(node, "timeout"),
    )


def _branch(node: Mapping[str, Any], _: str) -> Node:
    cases = tuple(
        Case(
            id=case["id"],
            value=_template(case["value"]),
            variable=_single_variable(_template(case["value"])),
            operator=case["operator"],
            operand=_template("" if case["operator"] == "matches" else case.get("operand")),
            pattern=compile_pattern(case["operand"]) if case["operator"] == "matches" else None,
            exit=_exit(node, f"case:{case['id']}"),
        )
        for case in node["cases"]
    )
    return Branch(id=node["id"], cases=cases, otherwise=_exit(node, "otherwise"))


def _single_variable(template: Template) -> str | None:
    """The variable's name when the template is ``{{ vars.name }}`` and nothing more."""
    inside = template.source.strip().removeprefix("{{").removesuffix("}}").strip()
    return inside.removeprefix("vars.") if {inside} == template.variables and inside.count(".") == 1 else None


def _set_variable(node: Mapping[str, Any], _: str) -> Node:
    return SetVariable(
        id=node["id"], variable=node["variable"], value=_template(node["value"]), next=_exit(node, "next")
    )


def _capture_lead(node: Mapping[str, Any], _: str) -> Node:
    return LeadCapture(id=node["id"], fields=_templates(node.get("fields")), next=_exit(node, "next"))


def _request_email(node: Mapping[str, Any], _: str) -> Node:
    return EmailRequest(
        id=node["id"],
        template=node["template"],
        to=_template(node["to"]),
        variables=_templates(node.get("variables")),
        next=_exit(node, "next"),
    )


def _templates(values: Mapping[str, Any] | None) -> tuple[tuple[str, Template], ...]:
    return tuple((name, _template(value)) for name, value in (values or {}).items())


def _hand_over(node: Mapping[str, Any], _: str) -> Node:
    return Human(id=node["id"], note=_template(node.get("note")))


def _go_to(node: Mapping[str, Any], _: str) -> Node:
    return GoTo(id=node["id"], target=node["target"])


def _end(node: Mapping[str, Any], _: str) -> Node:
    return End(id=node["id"])


BUILDERS = {
    "send_text": _send_text,
    "ask": _ask,
    "branch": _branch,
    "set_variable": _set_variable,
    "capture_lead": _capture_lead,
    "request_email": _request_email,
    "hand_over": _hand_over,
    "go_to": _go_to,
    "end": _end,
}
