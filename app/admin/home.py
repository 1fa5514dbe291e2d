"""The home page: what services count, how queues do, and what a newcomer should do next.

Services add cards, charts, health rows and steps; none of them knows the others, and one that fails shows a
dash instead of taking the page with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from typing import Any

from babel.dates import format_skeleton
from flask import Flask, current_app, jsonify, url_for
from flask_appbuilder.baseviews import expose
from flask_babel import format_decimal, get_locale, gettext, ngettext
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from sqlalchemy.exc import SQLAlchemyError

from app.admin.menu import MenuEntry, add_entry
from app.admin.security import grants
from app.admin.views import PageView, may_read
from app.kit import jobs, outbox, relay, telemetry
from app.kit.db import db
from app.kit.errors import Temporary
from app.kit.redis_client import RedisError

OLD_SECONDS = 60
"""Work that waits longer than this is worth a warning: doorbells are answered within seconds."""

log = telemetry.get_logger("admin")


@dataclass(frozen=True, kw_only=True)
class Card:
    """A number on the home page.

    key: unique, for refreshing. value: cheap query, a number or text. endpoint: where a click leads.
    permission: class_permission_name whose readers see it. hint: small text below, or a callable for it.
    quiet: shown only while the number is not zero, for what deserves a glance only when it happens.
    """

    key: str
    label: Any
    value: Callable[[], Any]
    icon: str = "fa-chart-line"
    endpoint: str = ""
    permission: str = "Home"
    hint: Any = None
    position: int = 100
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Series:
    """What a chart draws: one value per label; colours optional, "#rrggbb" per label."""

    labels: list[str]
    values: list[float]
    colours: list[str] | None = None
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawing on the home page; kind: bar | line | doughnut. data: one Series or several."""

    key: str
    title: Any
    data: Callable[[], Series | list[Series]]
    kind: str = "bar"
    permission: str = "Home"
    position: int = 100
    wide: bool = False


@dataclass(frozen=True)
class State:
    """How a part does: level ok | warning | error, and a sentence."""

    level: str
    text: Any


@dataclass(frozen=True, kw_only=True)
class Health:
    """A part whose state is shown; state() must be quick and may raise. endpoint: the page that says more.

    needs: the databases that it reads, and "redis"; it is not asked by who knows that one of them is down.
    """

    key: str
    label: Any
    state: Callable[[], State]
    endpoint: str = ""
    position: int = 100
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something a newcomer should do; done() says whether it is."""

    key: str
    label: Any
    hint: Any
    done: Callable[[], bool]
    endpoint: str = ""
    permission: str = "Home"
    position: int = 100


def init_home(app: Flask, view: HomeView) -> None:
    """Make the app's registry; `view` is the start page, which FAB registers itself."""
    app.extensions["embudo_home"] = []
    add_entry(view, HomeView.menu)


def add(_appbuilder: Any, *parts: Card | Chart | Health | Step) -> None:
    """Put cards, charts, health rows and steps on the current app's home page."""
    current_app.extensions["embudo_home"].extend(parts)


def _parts(kind: type[Any]) -> list[Any]:
    found = [part for part in current_app.extensions["embudo_home"] if isinstance(part, kind)]
    allowed = [part for part in found if ("can_read", getattr(part, "permission", "Home")) in grants()]
    return sorted(allowed, key=lambda part: part.position)


def _ask(part: Any, question: Callable[[], Any], otherwise: Any) -> Any:
    """The answer, or `otherwise` when the part cannot give one now."""
    try:
        return question()
    except (SQLAlchemyError, RedisError) as error:
        db.session.rollback()
        log.warning("home part failed", part=part, error=type(error).__name__)
        return otherwise


def day_label(day: date) -> str:
    """A day as a chart's axis has room for it: 31 Dec."""
    return str(format_skeleton("MMMd", day, locale=get_locale()))


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return str(format_decimal(value))


def cards() -> list[dict[str, Any]]:
    """The numbers, as the page and its refresh show them."""
    return [_shown_card(card) for card in _parts(Card)]


def _shown_card(card: Card) -> dict[str, Any]:
    def hint() -> str:
        return str(card.hint() if callable(card.hint) else card.hint or "")

    value = _ask(card.key, card.value, "—")
    return {
        "key": card.key,
        "label": str(card.label),
        "icon": card.icon,
        "value": _number(value),
        "hidden": card.quiet and not value,
        "hint": _ask(card.key, hint, ""),
        "url": url_for(card.endpoint) if card.endpoint else "",
    }


def charts() -> list[dict[str, Any]]:
    """The drawings: heading, and the configuration that the front end's charts read."""
    drawn = []
    for chart in _parts(Chart):
        data = _ask(chart.key, chart.data, [])
        series = data if isinstance(data, list) else [data]
        labels = [str(label) for label in series[0].labels] if series else []
        drawn.append(
            {
                "key": chart.key,
                "title": str(chart.title),
                "wide": chart.wide,
                "empty": not any(any(one.values) for one in series),
                "words": ", ".join(
                    f"{label} {_number(value)}"
                    for label, value in zip(labels, series[0].values, strict=False)
                )
                if series
                else "",
                "config": {
                    "type": chart.kind,
                    "data": {"labels": labels, "datasets": [_dataset(one, len(series)) for one in series]},
                },
            }
        )
    return drawn


def _dataset(one: Series, among: int) -> dict[str, Any]:
    drawn: dict[str, Any] = {"label": str(one.name), "data": [float(value) for value in one.values]}
    if one.colours:
        drawn["backgroundColor"] = one.colours
    elif among == 1:
        drawn["colors"] = True
    return drawn


def health() -> list[dict[str, Any]]:
    """Queues, relay, outboxes and what services report: label, level, sentence."""
    rows: list[tuple[str, State]] = []
    queues = _ask("queues", jobs.health, [])
    if not queues and jobs.known():
        rows.append(
            (gettext("Redis"), State("error", gettext("Does not answer; work waits in the database.")))
        )
    for queue in queues:
        rows.append((gettext("Queue %(name)s", name=queue.queue), _queue_state(queue)))
    if queues:
        rows.append((gettext("Relay"), _relay_state()))
    for box in _ask("outbox", outbox.health, []):
        rows.append((gettext("Events of %(name)s", name=box.service), _outbox_state(box)))
    rows += [(gettext("Message broker"), broker_state())] if current_app.config["EVENTS_BROKER_URL"] else []
    told = [{"label": label, "level": state.level, "text": str(state.text)} for label, state in rows]
    return told + [{name: row[name] for name in ("label", "level", "text")} for row in reported()]


def reported(down: Collection[str] = ()) -> list[dict[str, str]]:
    """What services report of themselves: label, level, sentence, and the endpoint of the page that says more.

    down: the databases, and "redis", that are known not to answer.
    """
    unknown = State("error", gettext("Cannot say now."))
    found = []
    for part in _parts(Health):
        state = unknown if set(part.needs) & set(down) else _ask(part.key, part.state, unknown)
        found.append(
            {
                "label": str(part.label),
                "level": state.level,
                "text": str(state.text),
                "endpoint": part.endpoint,
            }
        )
    return found


def _queue_state(queue: jobs.QueueHealth) -> State:
    if not queue.workers:
        return State(
            "error",
            ngettext(
                "No worker is running; %(num)s job waits.",
                "No worker is running; %(num)s jobs wait.",
                queue.waiting,
            ),
        )
    if (queue.oldest_seconds or 0) > OLD_SECONDS:
        return State(
            "warning",
            ngettext(
                "%(num)s job waits, for %(age)s already.",
                "%(num)s jobs wait, the oldest for %(age)s.",
                queue.waiting,
                age=age(queue.oldest_seconds),
            ),
        )
    return State(
        "ok",
        " ".join(
            (
                ngettext("%(num)s worker runs.", "%(num)s workers run.", queue.workers),
                ngettext("%(num)s job waits.", "%(num)s jobs wait.", queue.waiting),
            )
        ),
    )


def _relay_state() -> State:
    beats = relay.heartbeats()
    oldest = max(
        (beats.get(name, float("inf")) for name in current_app.extensions["embudo_services"]), default=0.0
    )
    if oldest > relay.SILENT_SECONDS:
        return State("error", gettext("Not running: events and timers wait."))
    return State("ok", gettext("Running; heard of %(age)s ago.", age=age(oldest)))


def _outbox_state(box: outbox.OutboxHealth) -> State:
    if box.dead:
        return State(
            "error",
            ngettext("%(num)s event could not be handled.", "%(num)s events could not be handled.", box.dead),
        )
    if (box.oldest_seconds or 0) > OLD_SECONDS:
        return State(
            "warning",
            ngettext(
                "%(num)s event waits, for %(age)s already.",
                "%(num)s events wait, the oldest for %(age)s.",
                box.waiting,
                age=age(box.oldest_seconds),
            ),
        )
    return State("ok", ngettext("%(num)s event waits.", "%(num)s events wait.", box.waiting))


def broker_state() -> State:
    """How RabbitMQ does for the services that are served here; whoever looks makes no queue."""
    from app.kit import broker  # who has no broker does not load its client

    try:
        _, queues = broker.inspect(
            current_app.config["EVENTS_BROKER_URL"], current_app.extensions["embudo_services"]
        )
    except Temporary:
        return State("error", gettext("Does not answer; events wait in the database."))
    waiting = sum(queue.waiting for queue in queues)
    deaf = [queue.service for queue in queues if not queue.consumers]
    if deaf:
        return State("error", gettext("No worker takes the events of %(names)s.", names=", ".join(deaf)))
    if any(queue.dead for queue in queues):
        return State("warning", gettext("Some letters were set aside; see “Failed events”."))
    return State("ok", ngettext("%(num)s event waits.", "%(num)s events wait.", waiting))


def age(seconds: float | None) -> str:
    """A duration in one unit: 45 s, 12 min, 3 h, 2 d."""
    seconds = seconds or 0
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86_400)} d"


def steps() -> list[dict[str, Any]]:
    """What to do first, and whether it is done."""
    return [
        {
            "label": str(step.label),
            "hint": str(step.hint),
            "url": url_for(step.endpoint) if step.endpoint else "",
            "done": bool(_ask(step.key, step.done, False)),
        }
        for step in _parts(Step)
    ]


class HomeView(PageView):
    """What one sees first."""

    class_permission_name = "Home"
    roles = {"read": ("manager", "seller", "viewer")}
    route_base = ""
    menu = MenuEntry("", _l("Home"), "fa-gauge", position=0)

    @expose("/")
    @may_read
    def index(self) -> Any:
        """The page."""
        todo = steps()
        return self.page(
            "admin/home.html",
            title=_l("Home"),
            greeting=_greeting(),
            cards=cards(),
            charts=charts(),
            health=health() if self.sees_health() else [],
            steps=[] if all(step["done"] for step in todo) else todo,
        )

    @expose("/home/live")
    @may_read
    def live(self) -> Any:
        """The numbers alone, asked by open pages every ten seconds."""
        return jsonify(cards=cards(), charts=charts(), health=health() if self.sees_health() else [])

    def sees_health(self) -> bool:
        """Queues are the business of who runs the system: administrators and managers."""
        return any(role.name in ("Admin", "manager") for role in current_user.roles)


def _greeting() -> str:
    name = (current_user.first_name or current_user.username).strip()
    return gettext("Hello, %(name)s", name=name)
