"""What leads have to say on the home page. Sellers see the figures of their own leads."""

from __future__ import annotations

from typing import Any

from flask import g
from flask_babel import format_percent, gettext, ngettext
from flask_babel import lazy_gettext as _l

from app.admin import home
from app.kit import auth
from app.leads.admin import airtable_words, words
from app.leads.queries import airtable, funnel, lists


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
    return home.Series(labels=[home.day_label(day) for day, _ in days], values=[count for _, count in days])


def _any_lead() -> bool:
    return bool(lists.page(lists.LeadFilter(), by=auth.current(), limit=1)[0])


AIRTABLE_OLD_SECONDS = 120.0
"""A change that has waited for so long should have been written: the quiet time is seconds."""


def _airtable_waiting() -> int:
    return sum(item.waiting for item in airtable.figures().values())


def _airtable_hint() -> str:
    figures = airtable.figures().values()
    needs = sum(item.blocked + item.conflicts for item in figures)
    return ngettext("%(num)s needs a look", "%(num)s need a look", needs) if needs else ""


def _airtable_state() -> home.State:
    rows = [row for row in airtable.connections() if row.state != "draft"]
    if not rows:
        return home.State("ok", gettext("No table is connected."))
    figures = airtable.figures()
    for row in rows:
        if row.state == "stopped":
            return home.State(
                "error", f"{row.name}: {airtable_words.explain(row.error_code, row.last_error)}"
            )
    for row in rows:
        late = (figures[row.id].lag_seconds or 0) > AIRTABLE_OLD_SECONDS
        if row.state == "active" and row.error_code:
            return home.State(
                "warning", f"{row.name}: {airtable_words.explain(row.error_code, row.last_error)}"
            )
        if row.state == "active" and late:
            lag = airtable_words.lag(figures[row.id])
            return home.State("warning", gettext("%(name)s is behind by %(age)s.", name=row.name, age=lag))
    return home.State(
        "ok",
        ngettext(
            "%(num)s lead is in step.", "%(num)s leads are in step.", sum(f.linked for f in figures.values())
        ),
    )


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
        card("leads_open", _l("Open leads"), "fa-users", lambda: _numbers().open, 11),
        card(
            "leads_won",
            _l("Won this month"),
            "fa-trophy",
            lambda: _numbers().won_this_month,
            12,
        ),
        card(
            "leads_conversion",
            _l("Conversion"),
            "fa-percent",
            lambda: _percent(_numbers().conversion),
            13,
        ),
        home.Card(
            key="airtable",
            label=_l("Waiting for Airtable"),
            icon="fa-table",
            value=_airtable_waiting,
            hint=_airtable_hint,
            endpoint="AirtableView.index",
            permission="Airtable",
            position=60,
            quiet=True,
        ),
        home.Health(
            key="airtable",
            label="Airtable",
            state=_airtable_state,
            endpoint="AirtableView.index",
            position=60,
            needs=("leads",),
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
            wide=True,
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
