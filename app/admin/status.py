"""One page that says whether all is well, and what to do where it is not.

It shows what Prometheus is told (app.kit.metrics), in sentences: whoever has no Prometheus sees the same. A process
that serves some services says what it knows; the others' pages are linked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import abort, current_app, url_for
from flask_babel import gettext, ngettext
from flask_babel import lazy_gettext as _l

from app.admin import home
from app.admin.home import OLD_SECONDS, age
from app.admin.menu import MenuEntry
from app.admin.views import PageView, expose, may_read
from app.kit import jobs, relay
from app.kit.metrics import state

WORDS = {"ok": _l("fine"), "warning": _l("attention"), "error": _l("broken")}
ICONS = {"ok": "fa-circle-check", "warning": "fa-triangle-exclamation", "error": "fa-circle-xmark"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one thing does. level: ok | warning | error. advice: what to do, empty when nothing. url: where to do it."""

    label: str
    level: str
    text: str
    advice: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Things of one kind."""

    title: str
    icon: str
    rows: Sequence[Row]

    @property
    def level(self) -> str:
        """How the worst of them does."""
        return worst(row.level for row in self.rows)


class _Numbers:
    """The gauges of now, by name."""

    def __init__(self) -> None:
        self._found = {
            family.name: [(sample.labels, sample.value) for sample in family.samples]
            for family in state.families()
        }

    def of(self, name: str) -> Sequence[tuple[Mapping[str, str], float]]:
        """(labels, value) of a gauge; empty when its part could not be read."""
        return self._found.get(f"embudo_{name}", [])

    def by(self, name: str, label: str) -> dict[str, float]:
        """The values by one label, the largest where there are several."""
        values: dict[str, float] = {}
        for labels, value in self.of(name):
            values[labels[label]] = max(value, values.get(labels[label], value))
        return values

    def down(self) -> set[str]:
        """The databases that do not answer, and "redis"."""
        found = {bind for bind, is_up in self.by("database_up", "bind").items() if not is_up}
        return found if self.one("redis_up") else found | {"redis"}

    def one(self, name: str) -> float | None:
        """The value of a gauge without labels."""
        return next((value for _, value in self.of(name)), None)


def worst(levels: Iterable[str]) -> str:
    """The worst of these levels, ok when there are none."""
    return max(levels, key=tuple(WORDS).index, default="ok")


def sections(may_follow: Callable[[str], bool]) -> list[Section]:
    """Everything this process knows. may_follow: whether the page of an endpoint may be opened by who asks."""
    numbers = _Numbers()
    found = [
        Section(title=gettext("What must answer"), icon="fa-database", rows=list(_stores(numbers))),
        Section(title=gettext("Processes"), icon="fa-gears", rows=list(_processes(numbers))),
        Section(title=gettext("Work that waits"), icon="fa-inbox", rows=list(_work(numbers))),
        Section(title=gettext("Connections"), icon="fa-plug", rows=list(_connections(numbers, may_follow))),
        Section(
            title=gettext("Other services"),
            icon="fa-arrow-up-right-from-square",
            rows=list(_neighbours(numbers)),
        ),
    ]
    return [section for section in found if section.rows]


def _stores(numbers: _Numbers) -> Iterator[Row]:
    for bind, is_up in numbers.by("database_up", "bind").items():
        label = gettext("Database %(name)s", name=bind)
        yield (
            Row(label=label, level="ok", text=gettext("Answers."))
            if is_up
            else Row(
                label=label,
                level="error",
                text=gettext("Does not answer."),
                advice=gettext("Is the server running, and is its address right? The log says more."),
            )
        )
    if numbers.one("redis_up"):
        yield Row(label="Redis", level="ok", text=gettext("Answers."))
    else:
        yield Row(
            label="Redis",
            level="error",
            text=gettext("Does not answer; work waits in the database."),
            advice=gettext("Start Redis or correct REDIS_URL. Nothing is lost: the relay finds what waits."),
        )
    if numbers.one("broker_up") is not None:
        yield _broker(numbers)
    if unread := int(numbers.one("metrics_scrape_errors") or 0):
        yield Row(
            label=gettext("This page"),
            level="warning",
            text=ngettext("%(num)s part could not be read.", "%(num)s parts could not be read.", unread),
            advice=gettext("Mend what is broken above; otherwise the log says which part and why."),
        )


def _broker(numbers: _Numbers) -> Row:
    label = gettext("Message broker")
    if not numbers.one("broker_up"):
        return Row(
            label=label,
            level="error",
            text=gettext("Does not answer; events wait in the database."),
            advice=gettext("Start RabbitMQ or correct EVENTS_BROKER_URL."),
        )
    state = home.broker_state()
    advice = {
        "warning": gettext("Look at them under “Failed events” and hand them over again."),
        "error": gettext("Start a worker: python worker.py"),
    }
    return Row(label=label, level=state.level, text=str(state.text), advice=advice.get(state.level, ""))


def _neighbours(numbers: _Numbers) -> Iterator[Row]:
    """How the services do that other processes serve, as far as it can be known here: they share Redis."""
    beats = relay.heartbeats() if numbers.one("redis_up") else None
    refused = {name for name, is_open in numbers.by("breaker_open", "provider").items() if is_open}
    for service, title, _ in current_app.extensions["embudo_elsewhere"]:
        seconds = None if beats is None else beats.get(service, float("inf"))
        level, text = "error", gettext("Nothing has ever been heard of its relay.")
        if seconds is None:
            level, text = "warning", gettext("Cannot say now.")
        elif f"service:{service}" in refused:
            text = gettext("Kept failing; calls are held back and tried again by themselves.")
        elif seconds <= relay.SILENT_SECONDS:
            level, text = "ok", gettext("Its relay was heard of %(age)s ago.", age=age(seconds))
        elif seconds < float("inf"):
            text = gettext("Its relay was last heard of %(age)s ago.", age=age(seconds))
        yield Row(
            label=str(title),
            level=level,
            text=text,
            advice=""
            if level == "ok"
            else gettext("Its page says more; when that does not open, its web is down."),
            url=url_for("StatusView.of", service=service),
        )


def _processes(numbers: _Numbers) -> Iterator[Row]:
    yield Row(label=gettext("Web"), level="ok", text=gettext("Answers: you are reading this."))
    for queue, workers in sorted(numbers.by("queue_workers", "queue").items()):
        yield Row(
            label=gettext("Workers of %(name)s", name=queue),
            level="ok" if workers else "error",
            text=gettext("%(n)s running.", n=int(workers)) if workers else gettext("None is running."),
            advice="" if workers else gettext("Start a worker: python worker.py %(queue)s", queue=queue),
        )
    for service, seconds in numbers.by("relay_heartbeat_age_seconds", "service").items():
        runs = seconds <= relay.SILENT_SECONDS
        yield Row(
            label=gettext("Relay of %(name)s", name=service),
            level="ok" if runs else "error",
            text=gettext("Running; heard of %(age)s ago.", age=age(seconds))
            if runs
            else gettext("Not running: events and timers wait."),
            advice="" if runs else gettext("Start a relay: python worker.py relay"),
        )


def _aged(label: str, count: float, seconds: float, advice: str) -> Row:
    """A row of things that wait, judged by the age of the oldest."""
    level = "error" if seconds > jobs.STALLED_SECONDS else "warning" if seconds > OLD_SECONDS else "ok"
    if not count:
        text = gettext("Nothing waits.")
    elif seconds < 1:
        text = ngettext("%(num)s waits.", "%(num)s wait.", int(count))
    else:
        text = ngettext(
            "%(num)s waits, for %(age)s already.",
            "%(num)s wait, the oldest for %(age)s.",
            int(count),
            age=age(seconds),
        )
    return Row(label=label, level=level, text=text, advice="" if level == "ok" else advice)


def _work(numbers: _Numbers) -> Iterator[Row]:
    ages = numbers.by("queue_oldest_age_seconds", "queue")
    for queue, depth in sorted(numbers.by("queue_depth", "queue").items()):
        advice = gettext("Are its workers running? If they are, more of them are needed (WORKER_PROCESSES).")
        yield _aged(gettext("Queue %(name)s", name=queue), depth, ages.get(queue, 0.0), advice)
    rows: dict[str, float] = {}
    for labels, value in numbers.of("due_rows"):
        rows[labels["service"]] = rows.get(labels["service"], 0.0) + value
    ages = numbers.by("due_oldest_age_seconds", "service")
    for service, count in rows.items():
        advice = gettext("Are relay and workers running? Its page says what each row waits for.")
        yield _aged(gettext("Due in %(name)s", name=service), count, ages.get(service, 0.0), advice)
    ages = numbers.by("outbox_oldest_age_seconds", "service")
    for service, count in numbers.by("outbox_pending", "service").items():
        advice = gettext("A listener does not confirm: are the workers of all services running?")
        yield _aged(gettext("Events of %(name)s", name=service), count, ages.get(service, 0.0), advice)
    for service, dead in numbers.by("dead_letters", "service").items():
        if dead:
            yield Row(
                label=gettext("Failed events of %(name)s", name=service),
                level="error",
                text=ngettext(
                    "%(num)s event could not be handled.", "%(num)s events could not be handled.", int(dead)
                ),
                advice=gettext("Read why, mend it, then try them again."),
                url=url_for("DeadLetterView.of", service=service),
            )


def _connections(numbers: _Numbers, may_follow: Callable[[str], bool]) -> Iterator[Row]:
    for health in home.reported(numbers.down()):
        shown = health["level"] != "ok" and bool(health["endpoint"]) and may_follow(health["endpoint"])
        yield Row(
            label=health["label"],
            level=health["level"],
            text=health["text"],
            advice=gettext("Its page says more.") if shown else "",
            url=url_for(health["endpoint"]) if shown else "",
        )
    for provider, is_open in numbers.by("breaker_open", "provider").items():
        if provider.startswith("service:") or (provider == "rabbitmq" and not is_open):
            continue  # told of the neighbour, and above
        yield Row(
            label={"rabbitmq": "RabbitMQ"}.get(provider, provider),
            level="error" if is_open else "ok",
            text=gettext("Kept failing; calls are held back and tried again by themselves.")
            if is_open
            else gettext("Calls go through."),
            advice=gettext("Is the provider down, or are the credentials refused? Look at its page.")
            if is_open
            else "",
        )
    lags = numbers.by("airtable_lag_seconds", "connection")
    for name, count in numbers.by("airtable_dirty_leads", "connection").items():
        row = _aged(name, count, lags.get(name, 0.0), gettext("Airtable's page says what holds it up."))
        yield Row(
            label=row.label,
            level=row.level,
            text=row.text,
            advice=row.advice,
            url=url_for("AirtableView.index") if row.advice and may_follow("AirtableView.index") else "",
        )


class StatusView(PageView):
    """Whether all is well, for who runs the system. Behind a gateway each service's process answers for itself."""

    class_permission_name = "Status"
    roles = {"read": ("manager",)}
    route_base = "/admin/status"
    menu = MenuEntry("", _l("Status"), "fa-heart-pulse", position=5)

    @expose("/")
    @may_read
    def index(self) -> Any:
        """The page of whichever process answers."""
        return self.page(
            "admin/status.html",
            title=_l("Status"),
            live=url_for(f"{self.endpoint}.live"),
            **_shown(self.may_follow),
        )

    @expose("/live")
    @may_read
    def live(self) -> Any:
        """What of the page changes, asked by open pages every ten seconds."""
        return self.page("admin/_status.html", title="", **_shown(self.may_follow))

    @expose("/<service>/")
    @may_read
    def of(self, service: str) -> Any:
        """The page of the process that serves a service."""
        live = url_for(f"{self.endpoint}.live_of", service=_served(service))
        return self.page("admin/status.html", title=_l("Status"), live=live, **_shown(self.may_follow))

    @expose("/<service>/live")
    @may_read
    def live_of(self, service: str) -> Any:
        """The same as `live`, below the path that leads to this process."""
        _served(service)
        return self.live()


def _served(service: str) -> str:
    if service not in current_app.extensions["embudo_services"]:
        abort(404)
    return service


def _shown(may_follow: Callable[[str], bool]) -> dict[str, Any]:
    found = sections(may_follow)
    bad = [row for section in found for row in section.rows if row.level != "ok"]
    return {
        "sections": found,
        "level": worst(section.level for section in found),
        "bad": bad,
        "words": WORDS,
        "icons": ICONS,
        "services": current_app.extensions["embudo_services"],
        "elsewhere": [
            (str(title), url_for("StatusView.of", service=name))
            for name, title, _ in current_app.extensions["embudo_elsewhere"]
        ],
    }
