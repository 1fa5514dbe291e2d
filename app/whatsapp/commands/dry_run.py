"""Trying a flow out beside the designer: the real engine on the draft, nothing stored, nobody called.

The talk lives in Redis for half an hour. It can be lost at any time: the page then begins a new one.
"""

from __future__ import annotations

from typing import Any, assert_never

import orjson

from app.contracts.problems import problem
from app.kit import zone
from app.kit.db import new_id
from app.kit.errors import Conflict, Invalid, NotFound, Unavailable
from app.kit.redis_client import RedisError, redis
from app.whatsapp import engine

SESSION_SECONDS = 1800

TALK_LENGTH = 400
"""Messages of one try-out; then begin anew."""

CONTACT = {"name": "Ana", "phone": "+34600000000", "user_id": "34600000000"}
CHANNEL = {"name": "Simulator"}


def start(document: Any, name: str) -> dict[str, Any]:
    """Begin a try-out of this document; raises Invalid with what keeps it from running."""
    blocking = engine.blocking(engine.validate(document))
    if blocking:
        raise Invalid(blocking)
    session: dict[str, Any] = {
        "id": new_id(),
        "document": document,
        "name": name,
        "messages": [],
        "effects": [],
    }
    step = engine.start(
        _flow(session), contact=CONTACT, variables={}, channel=CHANNEL, now=zone.now(), message={"text": ""}
    )
    return _keep(_told(session, step))


def say(session_id: str, text: str, choice: str | None) -> dict[str, Any]:
    """Answer; raises NotFound when the try-out is over or lost, Conflict when the flow has ended."""
    session = _load(session_id)
    if session["status"] != "waiting":
        raise Conflict(problem("", "ended", "This conversation has ended. Start again."))
    if len(session["messages"]) >= TALK_LENGTH:
        raise Conflict(problem("", "too_long", "This try-out is long enough. Start again."))
    said = text or _label(session, choice)
    session["messages"].append({"from": "contact", "text": said, "choices": []})
    reply = engine.Reply(text=said, payload=choice, kind="button" if choice else "text")
    step = engine.advance(
        _flow(session), session["state"], reply, contact=CONTACT, channel=CHANNEL, now=zone.now()
    )
    return _keep(_told(session, step))


def stop(session_id: str) -> None:
    """Forget a try-out."""
    try:
        redis().delete(_key(session_id))
    except RedisError:
        return


def show(session: dict[str, Any]) -> dict[str, Any]:
    """What the designer sees of a try-out."""
    return {name: session[name] for name in ("id", "messages", "effects", "node", "status", "vars")}


def _told(session: dict[str, Any], step: engine.Step) -> dict[str, Any]:
    session["state"] = step.state
    session["status"] = "waiting"
    for effect in step.effects:
        _note(session, effect)
    session["node"] = step.state["node"] or (step.trace[-1][0] if step.trace else session.get("node"))
    session["vars"] = step.state["vars"]
    return session


def _note(session: dict[str, Any], effect: engine.Effect) -> None:
    match effect:
        case engine.SendMessage():
            choices = [{"id": choice.id, "label": choice.label} for choice in effect.choices]
            session["messages"].append({"from": "bot", "text": effect.text, "choices": choices})
        case engine.CaptureLead():
            session["effects"].append({"kind": "capture_lead", "fields": dict(effect.fields)})
        case engine.RequestEmail():
            session["effects"].append(
                {
                    "kind": "request_email",
                    "template": effect.template,
                    "to": effect.to,
                    "variables": dict(effect.variables),
                }
            )
        case engine.SetTimer():
            session["effects"].append({"kind": "set_timer", "minutes": effect.minutes})
        case engine.HandOver():
            session["effects"].append({"kind": "hand_over", "note": effect.note})
            session["status"] = "handed_over"
        case engine.Finished():
            session["effects"].append({"kind": "finished", "outcome": effect.outcome})
            session["status"] = effect.outcome
        case _:
            assert_never(effect)


def _label(session: dict[str, Any], choice: str | None) -> str:
    for message in reversed(session["messages"]):
        for offered in message["choices"]:
            if offered["id"] == choice:
                return str(offered["label"])
    return ""


def _flow(session: dict[str, Any]) -> engine.Flow:
    return engine.compile_flow(session["document"], name=session["name"])


def _keep(session: dict[str, Any]) -> dict[str, Any]:
    try:
        redis().set(_key(session["id"]), orjson.dumps(session), ex=SESSION_SECONDS)
    except RedisError:
        raise Unavailable("The simulator needs Redis, which does not answer now.") from None
    return session


def _load(session_id: str) -> dict[str, Any]:
    try:
        stored = redis().get(_key(session_id))
    except RedisError:
        raise Unavailable("The simulator needs Redis, which does not answer now.") from None
    if stored is None:
        raise NotFound("simulation", session_id)
    session: dict[str, Any] = orjson.loads(stored)
    return session


def _key(session_id: str) -> str:
    return f"embudo:simulation:{session_id}"
