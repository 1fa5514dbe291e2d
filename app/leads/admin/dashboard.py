"""What leads have to say on the home page. Sellers see the figures of their own leads."""

from __future__ import annotations

from typing import Any

from flask import g
from flask_babel import format_percent
from flask_babel import lazy_gettext as _l

from app.admin import home
from app.kit import auth
from app.leads.admin import words
from app.leads.queries import funnel, lists


def _percent(share: float | None) -> str:
    return "—" if share is None else str(format_percent(share))


def _numbers() -> funnel.Numbers:
    """The figures, computed once per request for all cards."""
    if "leads_numbers" not in g:
        g.leads_numbers = funnel.numbers(auth.current())
    found: funnel.Numbers = g.leads_numbers
    return found


def _per_stage() -> home.Series:
    counts = funnel.per_stage(auth.current())
    return home.Series(
        labels=[words.stage_name(stage) for stage, _ in counts],
        values=[count for _, count in counts],
        colours=[stage.colour for stage, _ in counts],
    )


def _per_day() -> home.Series:
    days = funnel.per_day(auth.current())
    return home.Series(labels=[day for day, _ in days], values=[count for _, count in days])


def _any_lead() -> bool:
    return bool(lists.page(lists.LeadFilter(), by=auth.current(), limit=1)[0])


def add_to_home(appbuilder: Any) -> None:
    """Register cards, charts and the first step."""

    def card(key: str, label: Any, icon: str, value: Any, position: int) -> home.Card:
        return home.Card(
            key=key,
            label=label,
            icon=icon,
            value=value,
            endpoint="LeadView.list",
            permission="Leads",
            position=position,
        )

    home.add(
        appbuilder,
        card("leads_today", _l("Leads today"), "fa-user-plus", lambda: _numbers().today, 10),
        card("leads_open", _l("Open leads"), "fa-users", lambda: _numbers().open, 20),
        card(
            "leads_won",
            _l("Won this month"),
            "fa-trophy",
            lambda: _numbers().won_this_month,
            30,
        ),
        card(
            "leads_conversion",
            _l("Conversion"),
            "fa-percent",
            lambda: _percent(_numbers().conversion),
            40,
        ),
        home.Chart(
            key="leads_by_stage",
            title=_l("Leads by stage"),
            kind="bar",
            data=_per_stage,
            permission="Leads",
            position=10,
        ),
        home.Chart(
            key="leads_per_day",
            title=_l("New leads per day"),
            kind="line",
            data=_per_day,
            permission="Leads",
            position=20,
        ),
        home.Step(
            key="first_lead",
            label=_l("Capture a first lead"),
            hint=_l("Talk to the simulator, or add one by hand."),
            endpoint="LeadView.list",
            done=_any_lead,
            position=30,
        ),
    )
