"""Small flow documents for the tests of the engine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.whatsapp.engine import Reply, Step, Timeout, advance, blocking, compile_flow, start, validate

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
CONTACT = {"name": "Ana", "phone": "+34612345678", "user_id": "u1"}
AROUND: dict[str, Any] = {"contact": CONTACT, "channel": {"name": "Ventas"}, "now": NOW}


def flow(*nodes: dict[str, Any], language: str = "es", **head: Any) -> dict[str, Any]:
    return {"schema": 1, "language": language, "start": nodes[0]["id"], "nodes": list(nodes), **head}


def say(id_: str, text: str, next_: str | None = None) -> dict[str, Any]:
    return {"id": id_, "type": "send_text", "text": text, "exits": {"next": next_}}


def ask(id_: str = "q", kind: str = "text", next_: str | None = None, **more: Any) -> dict[str, Any]:
    exits = {"next": next_, **more.pop("exits", {})}
    return {"id": id_, "type": "ask", "kind": kind, "text": "¿?", "variable": "a", "exits": exits, **more}


def choices(*labels: str) -> list[dict[str, Any]]:
    return [{"id": f"c{index}", "label": label} for index, label in enumerate(labels, 1)]


def begin(document: dict[str, Any], **variables: Any) -> Step:
    assert blocking(validate(document)) == []
    return start(compile_flow(document, name="F"), variables=variables, **AROUND)


def go(document: dict[str, Any], step: Step, *replies: Reply | Timeout | str | None) -> Step:
    for reply in replies:
        said = Reply(text=reply) if isinstance(reply, str) else reply
        step = advance(compile_flow(document, name="F"), step.state, said, **AROUND)
    return step


def answer(kind: str, text: str, **more: Any) -> Any:
    """What a question of this kind makes of a text; None when it asks again."""
    language = more.pop("language", "es")
    document = flow(ask(kind=kind, **more), language=language)
    return go(document, begin(document), text).state["vars"].get("a")
