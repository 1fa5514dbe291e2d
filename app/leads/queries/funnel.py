"""Stages, the board, timelines and the numbers of the home page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import func, select

from app.kit import zone
from app.kit.auth import Principal
from app.kit.db import db
from app.kit.errors import NotFound
from app.leads.models import Lead, LeadEvent, Stage, Tag
from app.leads.queries.cached import canonical
from app.leads.queries.lists import LeadFilter, conditions, visible, without_stage

# Cards a column of the board shows; the list shows the rest.
BOARD_CARDS = 50
# Lines of a timeline on one page.
TIMELINE_LINES = 100
DAYS_SHOWN = 14


@dataclass(frozen=True, kw_only=True)
class Column:
    """A stage on the board: all its leads counted and summed by currency, the first few as cards."""

    stage: Stage
    count: int = 0
    sums: dict[str, Decimal] = field(default_factory=dict)
    cards: Sequence[Lead] = ()


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The home page's figures; conversion is won / (won + lost) of all time, None before the first."""

    today: int
    open: int
    won_this_month: int
    conversion: float | None


def stages() -> list[Stage]:
    """All stages in the funnel's order."""
    return list(db.session.scalars(select(Stage).order_by(Stage.position, Stage.key)))


def tags() -> list[Tag]:
    """All tags by name."""
    return list(db.session.scalars(select(Tag).order_by(Tag.key)))


def get_lead(lead_id: str, by: Principal) -> Lead:
    """The living lead; raises NotFound when there is none or `by` may not see it."""
    lead_id = canonical(lead_id)
    lead = db.session.scalar(select(Lead).where(Lead.id == lead_id, visible(by)))
    if lead is None:
        raise NotFound("lead", lead_id)
    return lead


def timeline(
    lead_id: str, by: Principal, *, before: str | None = None, limit: int = TIMELINE_LINES
) -> list[LeadEvent]:
    """What happened to a lead, newest first; before: id of the last line seen. Raises NotFound as get_lead."""
    lead = get_lead(lead_id, by)
    query = select(LeadEvent).where(LeadEvent.lead_id == lead.id)
    if before is not None:
        query = query.where(LeadEvent.id < before)
    return list(db.session.scalars(query.order_by(LeadEvent.id.desc()).limit(limit)))


def board(filters: LeadFilter, by: Principal) -> list[Column]:
    """The funnel as columns; three queries, however many leads there are."""
    where = (visible(by), *conditions(without_stage(filters)))
    counts: dict[str, int] = {}
    sums: dict[str, dict[str, Decimal]] = {}
    for stage, currency, count, total in db.session.execute(
        select(Lead.stage_key, Lead.currency, func.count(), func.sum(Lead.amount))
        .where(*where)
        .group_by(Lead.stage_key, Lead.currency)
    ):
        counts[stage] = counts.get(stage, 0) + count
        if total:
            sums.setdefault(stage, {})[currency] = total
    place = func.row_number().over(
        partition_by=Lead.stage_key, order_by=(Lead.stage_changed_at.desc(), Lead.id.desc())
    )
    ranked = select(Lead.id, place.label("place")).where(*where).subquery()
    cards: dict[str, list[Lead]] = {}
    for lead in db.session.scalars(
        select(Lead)
        .join(ranked, ranked.c.id == Lead.id)
        .where(ranked.c.place <= BOARD_CARDS)
        .order_by(ranked.c.place)
    ):
        cards.setdefault(lead.stage_key, []).append(lead)
    return [
        Column(
            stage=stage,
            count=counts.get(stage.key, 0),
            sums=sums.get(stage.key, {}),
            cards=cards.get(stage.key, []),
        )
        for stage in stages()
    ]


def numbers(by: Principal, *, now: datetime | None = None) -> Numbers:
    """The figures of the home page; days and months are those of the installation's zone."""
    today = zone.today(now)
    kinds = dict(
        db.session.execute(
            select(Stage.kind, func.count())
            .join(Lead, Lead.stage_key == Stage.key)
            .where(visible(by))
            .group_by(Stage.kind)
        ).all()
    )
    won, lost = kinds.get("won", 0), kinds.get("lost", 0)
    new = db.session.scalar(
        select(func.count()).select_from(Lead).where(visible(by), Lead.created_at >= zone.day_start(today))
    )
    month_start = zone.day_start(today.replace(day=1))
    month = db.session.scalar(
        select(func.count())
        .select_from(Lead)
        .join(Stage, Lead.stage_key == Stage.key)
        .where(visible(by), Stage.kind == "won", Lead.stage_changed_at >= month_start)
    )
    return Numbers(
        today=new or 0,
        open=kinds.get("open", 0),
        won_this_month=month or 0,
        conversion=won / (won + lost) if won + lost else None,
    )


def per_stage(by: Principal) -> list[tuple[Stage, int]]:
    """How many leads each stage has, in the funnel's order."""
    counts = dict(
        db.session.execute(
            select(Lead.stage_key, func.count()).where(visible(by)).group_by(Lead.stage_key)
        ).all()
    )
    return [(stage, counts.get(stage.key, 0)) for stage in stages()]


def per_day(by: Principal, *, days: int = DAYS_SHOWN, now: datetime | None = None) -> list[tuple[date, int]]:
    """New leads of each of the last days of the installation's zone, empty days included."""
    shown = zone.last_days(days, now)
    number = zone.day_number(Lead.created_at, shown)
    counts = dict(
        db.session.execute(
            select(number, func.count())
            .where(visible(by), Lead.created_at >= zone.day_start(shown[0]))
            .group_by(number)
        ).all()
    )
    return [(day, counts.get(number, 0)) for number, day in enumerate(shown)]
