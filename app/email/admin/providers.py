"""The ways out for mail: their order, how they do, their settings, and a way to try each."""

from __future__ import annotations

from typing import Any

from flask import abort, current_app, redirect, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_login import current_user

from app.admin.cells import when
from app.admin.menu import MenuEntry
from app.admin.views import PageView, expose, may_read, may_write
from app.contracts.problems import Problem
from app.email import commands, jobs, queries
from app.email.address import parse_address
from app.email.admin import words
from app.email.admin.dashboard import state_of
from app.email.providers.ways import WAYS, Variable, Way
from app.email.queries import ChosenWay
from app.kit import auth
from app.kit.errors import ProviderError
from app.kit.resilience import breaker_open, paused


class MailProviderView(PageView):
    """SMTP, SendGrid, SES."""

    class_permission_name = "MailProviders"
    roles = {"read": ("manager",), "write": ()}
    route_base = "/admin/mail-providers"
    menu = MenuEntry("mail", _l("Mail providers"), "fa-truck-fast", position=40)

    @expose("/")
    @may_read
    def index(self) -> Any:
        """All of them, in the order in which they are tried."""
        ways = queries.all_ways(current_app.config)
        sent = queries.count_sent_by()
        return self.page(
            "email/providers.html",
            title=_l("Mail providers"),
            ways=[self._shown(chosen, sent.get(chosen.name, 0)) for chosen in ways],
            fate=queries.fate_of_mails(ways),
            writing=bool(self.appbuilder.sm.has_access("can_write", self.class_permission_name)),
            my_address=getattr(current_user, "email", ""),
            when=when,
            unread=queries.count_unread_notices(),
        )

    def _shown(self, chosen: ChosenWay, sent: int) -> dict[str, Any]:
        name = f"mail:{chosen.name}"
        return {
            "chosen": chosen,
            "state": state_of(chosen, is_open=breaker_open(name), is_paused=bool(paused(name))),
            "sent": sent,
            "error": words.explain(chosen.error_code, chosen.last_error),
            "fields": [_field(variable, chosen) for variable in chosen.way.variables],
            "webhook": _webhook(chosen.way),
        }

    @expose("/move/<name>/<int:place>", methods=["POST"])
    @may_write
    def move(self, name: str, place: int) -> Any:
        """Put one at a place of the order, from 0."""
        names = [chosen.name for chosen in queries.all_ways(current_app.config) if chosen.name != name]
        if name not in WAYS:
            abort(404)
        names.insert(place, name)
        self.run(lambda: commands.order_providers(names, by=auth.current().name))
        return redirect(url_for("MailProviderView.index"))

    @expose("/use/<name>/<int:on>", methods=["POST"])
    @may_write
    def use(self, name: str, on: int) -> Any:
        """Switch one on or off."""
        self.run(
            lambda: commands.change_provider(name, {"enabled": bool(on)}, by=auth.current().name) or True
        )
        return redirect(url_for("MailProviderView.index"))

    @expose("/save/<name>", methods=["POST"])
    @may_write
    def save(self, name: str) -> Any:
        """Keep settings; secrets that are left blank stay as they are."""
        if name not in WAYS:
            abort(404)
        settings: dict[str, Any] = {}
        for variable in WAYS[name].variables:
            given = request.form.get(variable.name, "").strip()
            forget = request.form.get(f"{variable.name}-forget")
            if variable.kind == "secret" and not given and not forget:
                continue
            settings[variable.name] = given or None
        given_rate = request.form.get("rate", "").strip().replace(",", ".")
        try:
            rate = float(given_rate) if given_rate else None
        except ValueError:
            self.toast(gettext("The rate must be a number."), "danger")
            return redirect(url_for("MailProviderView.index"))
        changes = {"settings": settings, "rate": rate}
        if self.run(lambda: commands.change_provider(name, changes, by=auth.current().name)):
            self.toast(gettext("Saved."))
        return redirect(url_for("MailProviderView.index"))

    @expose("/try/<name>", methods=["POST"])
    @may_write
    def try_(self, name: str) -> Any:
        """Send a mail by this way, right now."""
        if name not in WAYS:
            abort(404)
        back = redirect(url_for("MailProviderView.index"))
        to = parse_address(request.form.get("to"))
        if isinstance(to, Problem):
            self.toast(gettext(to.template, **to.params), "danger")
            return back
        title = WAYS[name].title
        try:
            result = jobs.try_way(
                name,
                to,
                gettext("A test mail through %(provider)s", provider=title),
                gettext("This mail came through %(provider)s. Nothing else is to be done.", provider=title),
            )
        except ProviderError as error:
            failure: ProviderError | None = error
        else:
            failure = result.error
        if failure is None:
            self.toast(gettext("%(provider)s took the test mail.", provider=title))
        else:
            told = words.explain(failure.code, failure.detail)
            if words.is_server_speaking(failure.code):
                told = f"{told} {failure.detail}"
            self.toast(f"{title}: {told}", "danger")
        return back


def _field(variable: Variable, chosen: ChosenWay) -> dict[str, Any]:
    """What the form shows of a setting; a secret never comes back."""
    value = chosen.config.get(variable.name)
    is_own = variable.name in chosen.own_settings
    return {
        "name": variable.name,
        "kind": variable.kind,
        "label": words.VARIABLES[variable.name],
        "own": "" if variable.kind == "secret" or not is_own else value,
        "is_own": is_own,
        "inherited": "" if is_own or not value else ("•••" if variable.kind == "secret" else value),
    }


def _webhook(way: Way) -> str:
    """Where the provider should post what it tells; empty when it tells nothing."""
    if not way.notices:
        return ""
    base = str(current_app.config.get("PUBLIC_URL") or request.host_url).rstrip("/")
    return f"{base}/email/events/{way.name}"
