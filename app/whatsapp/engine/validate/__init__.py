"""Everything that is wrong with a flow, at once, each on the node where it is; before it talks to anyone.

Any JSON may come in (drafts, imports, the API): nothing here may raise. Codes that begin with ``warning_``
tell the author something and block nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from app.contracts.problems import Problem, problem
from app.whatsapp.engine.definition import assigned_variables
from app.whatsapp.engine.folding import fold_words
from app.whatsapp.engine.limits import MAX_KEYWORDS, MAX_NODES, MAX_TIMEOUT_MINUTES, MAX_VARIABLES
from app.whatsapp.engine.sayings import LANGUAGES
from app.whatsapp.engine.upgrade import SCHEMA, upgrade
from app.whatsapp.engine.validate.checks import Checks, is_name, is_plain_text, is_whole
from app.whatsapp.engine.validate.graph import check_graph
from app.whatsapp.engine.validate.nodes import check_node

WARNING: Final = "warning_"


def blocking(problems: Iterable[Problem]) -> list[Problem]:
    """Those that forbid publishing."""
    return [found for found in problems if not found.code.startswith(WARNING)]


def validate(document: Any, *, known_templates: set[str] | None = None) -> list[Problem]:
    """All problems of a flow document; ``where`` is the node's id, or a JSON pointer ("/start").

    known_templates: names of the e-mail templates there are; None: not checked.
    """
    document = upgrade(document)
    if not isinstance(document, dict):
        return [problem("", "wrong_type", "A flow is a JSON object.")]
    schema = document.get("schema")
    if not is_whole(schema) or schema != SCHEMA:
        return [
            problem("/schema", "unknown_schema", "Only flows of schema %(schema)s are known.", schema=SCHEMA)
        ]

    checks = Checks(known_templates=known_templates)
    nodes = _nodes(document, checks)
    _head(document, checks)
    checks.variables = _variables(document, checks) | set(filter(is_name, assigned_variables(nodes)))
    for node in nodes:
        check_node(node, checks)
    check_graph(document.get("start"), nodes, checks)
    return checks.problems


def _nodes(document: dict[str, Any], checks: Checks) -> list[dict[str, Any]]:
    """The nodes that can be looked at: objects with an id of their own."""
    raw = document.get("nodes")
    if not isinstance(raw, list) or not raw:
        checks.add("/nodes", "no_nodes", "A flow needs at least one node.")
        return []
    if len(raw) > MAX_NODES:
        checks.add("/nodes", "too_many_nodes", "A flow has at most %(most)s nodes.", most=MAX_NODES)
        raw = raw[:MAX_NODES]
    nodes: list[dict[str, Any]] = []
    for index, node in enumerate(raw):
        if not isinstance(node, dict):
            checks.add(f"/nodes/{index}", "wrong_type", "A node is a JSON object.")
        elif not is_plain_text(node.get("id"), 64):
            checks.add(f"/nodes/{index}", "no_id", "A node needs an id of 1 to 64 characters.")
        elif node["id"] in checks.ids:
            checks.add(node["id"], "duplicate_id", "Two nodes have the id %(id)s.", id=node["id"])
        else:
            checks.ids.add(node["id"])
            nodes.append(node)
    return nodes


def _head(document: dict[str, Any], checks: Checks) -> None:
    language = document.get("language", "es")
    if not isinstance(language, str) or language not in LANGUAGES:
        checks.add(
            "/language", "unknown_language", "The language is one of: %(known)s.", known=", ".join(LANGUAGES)
        )
    _triggers(document.get("triggers"), checks)
    settings = document.get("settings")
    if settings is None:
        return
    if not isinstance(settings, dict):
        checks.add("/settings", "wrong_type", "Settings are a JSON object.")
        return
    minutes = settings.get("expire_minutes")
    if minutes is not None and not (is_whole(minutes) and 1 <= minutes <= MAX_TIMEOUT_MINUTES):
        checks.add(
            "/settings/expire_minutes", "out_of_range", "Minutes are a whole number from 1 to %(most)s.",
            most=MAX_TIMEOUT_MINUTES,
        )  # fmt: skip


def _triggers(triggers: Any, checks: Checks) -> None:
    if triggers is None:
        return
    if not isinstance(triggers, dict):
        checks.add("/triggers", "wrong_type", "Triggers are a JSON object.")
        return
    if triggers.get("match", "word") not in ("word", "exact"):
        checks.add("/triggers/match", "unknown_match", "Keywords match as a word or exactly.")
    keywords = triggers.get("keywords") or []
    if not isinstance(keywords, list) or len(keywords) > MAX_KEYWORDS:
        checks.add(
            "/triggers/keywords", "wrong_type", "Keywords are a list of at most %(most)s.", most=MAX_KEYWORDS
        )
        return
    seen: set[str] = set()
    for index, keyword in enumerate(keywords):
        where = f"/triggers/keywords/{index}"
        if not is_plain_text(keyword, 64) or not fold_words(keyword):
            checks.add(
                where, "empty_keyword", "A keyword has 1 to 64 characters, among them a letter or digit."
            )
        elif fold_words(keyword) in seen:
            checks.add(
                where, "warning_duplicate_keyword", "The keyword %(word)s is there twice.", word=keyword
            )
        else:
            seen.add(fold_words(keyword))


def _variables(document: dict[str, Any], checks: Checks) -> set[str]:
    declared = document.get("variables")
    if declared is None:
        return set()
    if not isinstance(declared, list) or len(declared) > MAX_VARIABLES:
        checks.add(
            "/variables", "wrong_type", "Variables are a list of at most %(most)s.", most=MAX_VARIABLES
        )
        return set()
    names: set[str] = set()
    for index, variable in enumerate(declared):
        where = f"/variables/{index}"
        name = variable.get("name") if isinstance(variable, dict) else None
        if not is_name(name):
            checks.add(where, "bad_variable_name", "A variable's name is letters, digits and _, at most 40.")
            continue
        if name in names:
            checks.add(where, "duplicate_variable", "The variable %(name)s is declared twice.", name=name)
        default = variable.get("default")
        if default is not None and not isinstance(default, (str, int, float)):
            checks.add(where, "wrong_type", "The default of %(name)s is a text or a number.", name=name)
        names.add(name)
    return names
