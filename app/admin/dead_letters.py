"""Events that a service could not handle: what they said, why it failed, and the two things one can do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import abort, current_app, redirect, request, url_for
from flask_babel import gettext, ngettext
from flask_babel import lazy_gettext as _l

from app.admin.menu import MenuEntry
from app.admin.views import PageView, expose, may_read, may_write
from app.contracts.events import LISTENERS
from app.kit import dead_letters
from app.kit.db import as_id, transaction
from app.kit.errors import Temporary

SHOWN = 100
"""Dead letters on a page; who has more than these has one cause, and sees it in the first ones."""


class DeadLetterView(PageView):
    """Failed events, a page per service. Behind a gateway each service's process answers for its own."""

    class_permission_name = "DeadLetters"
    roles = {"read": ("manager",), "write": ("manager",)}
    route_base = "/admin/dead-letters"
    menu = MenuEntry("integrations", _l("Failed events"), "fa-envelope-circle-check", position=90)

    @expose("/")
    @may_read
    def index(self) -> Any:
        """The first service that has some."""
        counts = dead_letters.counts()
        first = next((name for name, (dead, _) in counts.items() if dead), next(iter(counts)))
        return redirect(url_for(f"{self.endpoint}.of", service=first))

    @expose("/<service>/")
    @may_read
    def of(self, service: str) -> Any:
        """A service's dead letters."""
        counts = self._served(service)
        return self.page(
            "admin/dead_letters.html",
            title=_l("Failed events"),
            service=service,
            tabs=_tabs(counts),
            letters=dead_letters.dead(service, limit=SHOWN),
            dead=counts[service][0],
            failing=counts[service][1],
            aside=_aside(service),
        )

    @expose("/<service>/replay", methods=["POST"])
    @may_write
    def replay(self, service: str) -> Any:
        """Try one again, or all when none is named."""
        self._served(service)
        if not request.args.get("event"):
            with transaction():
                count = dead_letters.replay_all(service)
            self.toast(ngettext("%(num)s event is tried again.", "%(num)s events are tried again.", count))
            return redirect(url_for(f"{self.endpoint}.of", service=service))
        return self._do(service, dead_letters.replay, gettext("The event is tried again."))

    @expose("/<service>/dismiss", methods=["POST"])
    @may_write
    def dismiss(self, service: str) -> Any:
        """Give one up."""
        self._served(service)
        return self._do(service, dead_letters.dismiss, gettext("The event is given up."))

    @expose("/<service>/bring-back", methods=["POST"])
    @may_write
    def bring_back(self, service: str) -> Any:
        """Hand over again what the broker set aside."""
        self._served(service)
        url = current_app.config["EVENTS_BROKER_URL"]
        if not url:
            abort(404)
        from app.kit import broker

        try:
            count = broker.bring_back(url, service)
        except Temporary:
            self.toast(gettext("The message broker does not answer."), "danger")
        else:
            self.toast(ngettext("%(num)s event is tried again.", "%(num)s events are tried again.", count))
        return redirect(url_for(f"{self.endpoint}.of", service=service))

    def _do(self, service: str, what: Callable[[str, str, str], None], said: str) -> Any:
        event, handler = as_id(request.args.get("event", "")), request.args.get("handler", "")
        try:
            if event is None or "\x00" in handler:
                raise LookupError
            with transaction():
                what(service, event, handler)
        except LookupError:
            self.toast(gettext("This event is not here any more."), "info")
        else:
            self.toast(said)
        return redirect(url_for(f"{self.endpoint}.of", service=service))

    def _served(self, service: str) -> dict[str, tuple[int, int]]:
        counts = dead_letters.counts()
        if service not in counts:
            abort(404)
        return counts


def _tabs(counts: dict[str, tuple[int, int]]) -> list[tuple[str, int | None]]:
    """(service, its dead letters): first those served here, then those that answer elsewhere and are not counted."""
    listening = {name for listeners in LISTENERS.values() for name in listeners}
    return [
        *((name, dead) for name, (dead, _) in counts.items()),
        *((name, None) for name in sorted(listening - counts.keys())),
    ]


def _aside(service: str) -> int | None:
    """Letters that the broker set aside; None where there is no broker, or it does not answer."""
    url = current_app.config["EVENTS_BROKER_URL"]
    if not url:
        return None
    from app.kit import broker  # who has no broker does not load its client

    try:
        return broker.states(url, [service])[0].dead
    except Temporary:
        return None
