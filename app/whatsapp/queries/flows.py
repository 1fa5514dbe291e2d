"""Flows and their versions, and the one that an inbound text asks for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

from sqlalchemy import and_, func, or_, select

from app.contracts.problems import Problem, problem
from app.kit.db import db, is_id
from app.kit.errors import NotFound
from app.whatsapp.engine import Flow as CompiledFlow
from app.whatsapp.engine import compile_flow
from app.whatsapp.engine.folding import fold_words, says
from app.whatsapp.models import COMPLETED, HANDED_OVER, OPEN, Conversation, Flow, FlowVersion

COMPILED_FLOWS = 256
"""Compiled versions a process keeps; compiling costs a hundred times more than a step."""

LARGEST_NUMBER = 2**31 - 1
"""What the column holds; the database breaks off at anything above."""

KEYWORDS = 4096
"""Folded keywords a process keeps."""

_compiled: OrderedDict[tuple[str, int, str], CompiledFlow] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True, kw_only=True)
class FlowCounts:
    """How many conversations of a flow are open, completed, and with a person."""

    open: int = 0
    completed: int = 0
    handed_over: int = 0


def flow(flow_id: str) -> Flow:
    """The flow, archived or not; raises NotFound."""
    row = db.session.get(Flow, flow_id)
    if row is None:
        raise NotFound("flow", flow_id)
    return row


def find_flow(id_or_name: str) -> Flow | None:
    """A living flow by its id, or by its exact name."""
    living = select(Flow).where(Flow.archived_at.is_(None))
    if is_id(id_or_name):
        found = db.session.scalar(living.where(Flow.id == id_or_name))
        if found is not None:
            return found
    return db.session.scalar(living.where(Flow.name == id_or_name).order_by(Flow.id).limit(1))


def flows(*, archived: bool = False, after: tuple[str, str] | None = None, limit: int = 500) -> list[Flow]:
    """Flows in use, or those that are archived, by name; after: name and id of the last one seen."""
    wanted = Flow.archived_at.is_not(None) if archived else Flow.archived_at.is_(None)
    statement = select(Flow).where(wanted).order_by(Flow.name, Flow.id).limit(limit)
    if after is not None:
        name, flow_id = after
        statement = statement.where(or_(Flow.name > name, and_(Flow.name == name, Flow.id > flow_id)))
    return list(db.session.scalars(statement))


def version(flow_id: str, number: int) -> FlowVersion:
    """A published version; raises NotFound."""
    row = db.session.get(FlowVersion, (flow_id, number)) if number <= LARGEST_NUMBER else None
    if row is None:
        raise NotFound("version", number)
    return row


def versions(flow_id: str, *, before: int | None = None, limit: int = 200) -> list[Any]:
    """number, published_at, published_by of versions (below `before`), newest first, without the documents."""
    flow(flow_id)
    columns = (FlowVersion.number, FlowVersion.published_at, FlowVersion.published_by)
    return list(
        db.session.execute(
            select(*columns)
            .where(FlowVersion.flow_id == flow_id, *([FlowVersion.number < before] if before else []))
            .order_by(FlowVersion.number.desc())
            .limit(limit)
        )
    )


def compiled(flow_id: str, number: int, name: str) -> CompiledFlow:
    """The version, ready to run; compiled once per process, because versions never change (the flow's name may)."""
    key = (flow_id, number, name)
    with _lock:
        found = _compiled.get(key)
        if found is not None:
            _compiled.move_to_end(key)
            return found
    made = compile_flow(version(flow_id, number).document, name=name)
    with _lock:
        _compiled[key] = made
        while len(_compiled) > COMPILED_FLOWS:
            _compiled.popitem(last=False)
    return made


_PUBLISHED = (
    select(Flow).where(Flow.archived_at.is_(None), Flow.published_version.is_not(None)).order_by(Flow.id)
)
_folded = lru_cache(KEYWORDS)(fold_words)


class Catalogue:
    """The flows that can be started; read when first asked, good for one transaction."""

    def __init__(self) -> None:
        self._flows: dict[str, Flow] | None = None

    def read(self) -> dict[str, Flow]:
        """The flows by id, the older first."""
        if self._flows is None:
            self._flows = {row.id: row for row in db.session.scalars(_PUBLISHED)}
        return self._flows

    def get(self, flow_id: str | None) -> Flow | None:
        """The flow, if it can be started."""
        return self.read().get(flow_id) if flow_id is not None else None

    def triggered(self, text: str) -> Flow | None:
        """The flow that the text asks for: a keyword that is all of it before one in it, then the older flow."""
        words = fold_words(text)
        if not words:
            return None
        within: Flow | None = None
        for flow in self.read().values():
            folded = [_folded(str(keyword)) for keyword in flow.keywords or ()]
            if words in folded:
                return flow
            exact = within is not None or flow.match == "exact"
            if not exact and any(says(words, keyword) for keyword in folded if keyword):
                within = flow
        return within


def rivals(row: Flow, document: Any) -> list[Problem]:
    """The keywords of a flow's document that start another flow in use, too: of two flows the older one answers."""
    triggers = document.get("triggers") if isinstance(document, dict) else None
    keywords = triggers.get("keywords") if isinstance(triggers, dict) else None
    if not isinstance(keywords, list):
        return []
    taken = {
        _folded(str(keyword)): flow.name
        for flow in db.session.scalars(_PUBLISHED.where(Flow.id != row.id))
        for keyword in flow.keywords or ()
    }
    return [
        problem(
            f"/triggers/keywords/{index}",
            "warning_keyword_taken",
            "“%(word)s” starts the flow “%(flow)s”, too; of the two the older one answers.",
            word=keyword,
            flow=taken[folded],
        )
        for index, keyword in enumerate(keywords)
        if isinstance(keyword, str) and (folded := _folded(keyword)) in taken
    ]


def node_of(row: Conversation) -> str | None:
    """The node that waits for an answer, or the last one that was passed."""
    waiting = (row.state or {}).get("node")
    return waiting or (row.path[-1] if row.path else None)


def answers_of(row: Conversation) -> dict[str, Any]:
    """The conversation's variables so far."""
    return dict((row.state or {}).get("vars") or {})


def counts(flow_ids: Sequence[str]) -> Mapping[str, FlowCounts]:
    """Conversation counts of these flows, by one grouped query."""
    if not flow_ids:
        return {}
    grouped: dict[str, dict[str, int]] = {}
    for flow_id, status, number in db.session.execute(
        select(Conversation.flow_id, Conversation.status, func.count())
        .where(Conversation.flow_id.in_(flow_ids))
        .group_by(Conversation.flow_id, Conversation.status)
    ):
        grouped.setdefault(flow_id, {})[status] = number
    return {
        flow_id: FlowCounts(
            open=sum(by_status.get(status, 0) for status in OPEN),
            completed=by_status.get(COMPLETED, 0),
            handed_over=by_status.get(HANDED_OVER, 0),
        )
        for flow_id, by_status in grouped.items()
    }
