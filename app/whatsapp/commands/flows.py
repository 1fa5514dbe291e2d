"""Designing flows: a draft that anybody may spoil, versions that nobody can."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
from sqlalchemy import func, select

from app.contracts.events import FlowPublished
from app.contracts.problems import Problem, problem
from app.kit.db import db, utcnow
from app.kit.errors import Conflict, Invalid, NotFound, PreconditionFailed
from app.kit.outbox import publish
from app.whatsapp import engine
from app.whatsapp.models import Channel, Flow, FlowVersion
from app.whatsapp.queries import flows as queries

NAME_LENGTH = 120
DRAFT_BYTES = 1_000_000
"""A draft larger than this is no conversation: a flow of 1000 nodes has some 400 kB."""

GREETINGS = {"es": "Hola 👋", "en": "Hello 👋"}
"""What a new flow says, by its language."""


def first_draft(language: str) -> dict[str, Any]:
    """What a new flow begins with: valid, so that its author can publish it and see it speak. language: es, en."""
    return {
        "schema": 1,
        "language": language,
        "start": "greet",
        "triggers": {"keywords": [], "match": "word"},
        "settings": {"expire_minutes": 1440},
        "variables": [],
        "nodes": [
            {
                "id": "greet",
                "type": "send_text",
                "position": {"x": 80, "y": 80},
                "text": GREETINGS[language],
                "exits": {"next": "bye"},
            },
            {"id": "bye", "type": "end", "position": {"x": 420, "y": 80}, "exits": {}},
        ],
    }


def create_flow(name: str, document: Any = None, *, by: str) -> Flow:
    """A new flow with a draft; raises Invalid."""
    document = first_draft("es") if document is None else document
    problems = [*_name_problems(name), *_document_problems(document)]
    if problems:
        raise Invalid(problems)
    row = Flow(name=name.strip(), draft=document, updated_by=by)
    db.session.add(row)
    db.session.flush()
    return row


def save_draft(flow_id: str, revision: int, *, name: str, document: Any, by: str) -> Flow:
    """Replace name and draft if the flow is still at `revision`; raises PreconditionFailed, Invalid."""
    row = _locked(flow_id)
    if row.revision != revision:
        raise PreconditionFailed("Somebody else has changed this flow since you opened it. Load it again.")
    problems = [*_name_problems(name), *_document_problems(document)]
    if problems:
        raise Invalid(problems)
    row.name = name.strip()
    row.draft = document
    _touch(row, by)
    return row


def rename_flow(flow_id: str, name: str, *, by: str) -> Flow:
    """Give the flow another name; raises Invalid."""
    row = _locked(flow_id)
    problems = _name_problems(name)
    if problems:
        raise Invalid(problems)
    row.name = name.strip()
    _touch(row, by)
    return row


def publish_flow(flow_id: str, *, by: str) -> FlowVersion:
    """Make the draft the version that new conversations follow; raises Invalid with every problem that blocks."""
    row = _locked(flow_id)
    if row.archived_at is not None:
        raise Conflict(problem("", "archived", "This flow is archived."))
    blocking = engine.blocking(engine.validate(row.draft))
    if blocking:
        raise Invalid(blocking)
    newest = db.session.scalar(select(func.max(FlowVersion.number)).where(FlowVersion.flow_id == row.id))
    version = FlowVersion(
        flow_id=row.id,
        number=(newest or 0) + 1,
        document=deepcopy(row.draft),
        published_by=by,
        published_at=utcnow(),
    )
    db.session.add(version)
    triggers = row.draft.get("triggers") or {}
    row.keywords = list(triggers.get("keywords") or [])
    row.match = triggers.get("match") or "word"
    row.published_version = version.number
    publish(FlowPublished(flow_id=row.id, flow_version=version.number, published_by=by))
    db.session.flush()
    return version


def restore_version(flow_id: str, number: int, *, by: str) -> Flow:
    """Make the draft equal to a published version; raises NotFound."""
    row = _locked(flow_id)
    row.draft = deepcopy(queries.version(flow_id, number).document)
    _touch(row, by)
    return row


def duplicate_flow(flow_id: str, name: str, *, by: str) -> Flow:
    """A new flow with the same draft and no keywords: two flows must not fight over one word."""
    document = deepcopy(queries.flow(flow_id).draft)
    if isinstance(document, dict) and isinstance(document.get("triggers"), dict):
        document["triggers"] = {**document["triggers"], "keywords": []}
    return create_flow(name[:NAME_LENGTH], document, by=by)


def archive_flow(flow_id: str, *, by: str) -> None:
    """Take the flow out of use. Open conversations go on; no new one starts. Raises Conflict when a channel needs it."""
    row = _locked(flow_id)
    channels = db.session.scalars(select(Channel.name).where(Channel.default_flow_id == row.id)).all()
    if channels:
        raise Conflict(
            problem(
                "",
                "default_flow",
                "This is the default flow of %(channels)s; choose another one there first.",
                channels=", ".join(sorted(channels)),
            )
        )
    if row.archived_at is None:
        row.archived_at = utcnow()
        _touch(row, by)


def restore_flow(flow_id: str, *, by: str) -> Flow:
    """Bring an archived flow back into use, with its keywords; raises NotFound."""
    row = _locked(flow_id)
    if row.archived_at is not None:
        row.archived_at = None
        _touch(row, by)
    return row


def _locked(flow_id: str) -> Flow:
    row = db.session.get(Flow, flow_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound("flow", flow_id)
    return row


def _touch(row: Flow, by: str) -> None:
    row.revision += 1
    row.updated_at = utcnow()
    row.updated_by = by[:NAME_LENGTH]


def _name_problems(name: str) -> list[Problem]:
    if not name or not name.strip():
        return [problem("/name", "required", "Give the flow a name.")]
    if len(name.strip()) > NAME_LENGTH:
        return [problem("/name", "too_long", "At most %(limit)s characters.", limit=NAME_LENGTH)]
    return []


def _document_problems(document: Any) -> list[Problem]:
    """A draft may be unfinished, but it must be a document that the designer can open and a database can hold."""
    if not isinstance(document, dict) or not isinstance(document.get("nodes", []), list):
        return [problem("/document", "not_a_flow", "A flow is an object with a list of nodes.")]
    try:
        encoded = orjson.dumps(document)
    except (TypeError, ValueError):
        return [problem("/document", "not_json", "The flow holds something that JSON cannot say.")]
    if len(encoded) > DRAFT_BYTES:
        return [
            problem("/document", "too_large", "The flow is larger than %(limit)s bytes.", limit=DRAFT_BYTES)
        ]
    if b"\\u0000" in encoded:
        return [problem("/document", "nul", "The flow holds a NUL character, which no database stores.")]
    return []
