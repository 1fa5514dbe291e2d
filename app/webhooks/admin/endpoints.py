"""Endpoints: where to, which events, how they do, and their secrets."""

from __future__ import annotations

from typing import Any

from flask import current_app, g, redirect, request, url_for
from flask_appbuilder.security.decorators import has_access
from flask_babel import gettext, ngettext
from flask_babel import lazy_gettext as _l
from wtforms import SelectMultipleField, StringField, validators

from app.admin.cells import badge, when
from app.admin.filters import parse_day
from app.admin.forms import options
from app.admin.menu import MenuEntry
from app.admin.views import CommandInterface, CommandView, expose, may_write
from app.contracts.problems import Problem
from app.kit import auth, zone
from app.webhooks import commands, matching, providers, queries
from app.webhooks.admin import words
from app.webhooks.models import DESCRIPTION_LENGTH, URL_LENGTH, Endpoint

RECENT = 10
"""Deliveries shown on an endpoint's page."""


def _address_problems(values: dict[str, Any]) -> list[Problem]:
    url = values.get("url")
    if not url:
        return []
    return providers.address_problems(url.strip(), current_app.config["WEBHOOKS_ALLOW_PRIVATE"])


def _add(values: dict[str, Any]) -> Endpoint:
    problems = _address_problems(values)
    row, secret = commands.create_endpoint(values, by=auth.current().name, problems=problems)
    g.embudo_new_secret = (row.id, str(row), secret)
    return row


def _edit(id_: str, changes: dict[str, Any]) -> Endpoint:
    return commands.change_endpoint(id_, changes, problems=_address_problems(changes))


def _event_choices() -> Any:
    everything = (matching.EVERYTHING, gettext("* (everything)"))
    return options([everything, *((name, name) for name in (*matching.groups(), *matching.known()))])


def _fields() -> dict[str, Any]:
    return {
        "url": StringField(
            _l("Address"),
            [validators.InputRequired(), validators.Length(max=URL_LENGTH)],
            description=_l("Where to POST to: https://…"),
            render_kw={"data-wide": "1"},
        ),
        "description": StringField(
            _l("Description"),
            [validators.Length(max=DESCRIPTION_LENGTH)],
            description=_l("Who listens there, for instance “invoices”."),
        ),
        "events": SelectMultipleField(
            _l("Events"),
            [validators.InputRequired()],
            choices=_event_choices,
            description=_l("Single events, groups such as lead.*, or everything."),
        ),
    }


class EndpointView(CommandView):
    """Endpoints of webhooks."""

    datamodel = CommandInterface(Endpoint, add=_add, edit=_edit, delete=commands.delete_endpoint)
    class_permission_name = "WebhookEndpoints"
    roles = {"read": ("manager", "viewer")}
    route_base = "/admin/webhooks"
    menu = MenuEntry("integrations", _l("Webhooks"), "fa-satellite-dish", position=40)
    list_title, add_title = _l("Webhooks"), _l("New endpoint")
    edit_title, show_title = _l("Edit endpoint"), _l("Endpoint")
    show_template = "webhooks/endpoint.html"
    base_order = ("created_at", "asc")
    list_columns = ["url", "description", "events", "enabled", "last_success_at"]
    order_columns = ["url", "description", "last_success_at"]
    show_columns = [
        "url",
        "description",
        "events",
        "last_success_at",
        "first_failure_at",
        "created_at",
        "created_by",
    ]
    quick_search = ["url", "description"]
    search_columns = ["enabled"]
    cells = {
        "enabled": lambda row: badge(words.state_of(row), words.STATES),
        "events": lambda row: row.events,
    }
    add_columns = edit_columns = ["url", "description", "events"]
    label_columns = {
        "url": _l("Address"),
        "description": _l("Description"),
        "events": _l("Events"),
        "enabled": _l("State"),
        "last_success_at": _l("Last success"),
        "first_failure_at": _l("Failing since"),
        "created_at": _l("Created"),
        "created_by": _l("Created by"),
    }
    delete_question = _l("Delete “%(title)s” with its log? This cannot be undone.")
    empty_text = _l(
        "No endpoint yet. Other systems can be told what happens here: a new lead, a mail that failed."
    )

    def __init__(self, **kwargs: Any) -> None:
        self.add_form_extra_fields = _fields()
        self.edit_form_extra_fields = _fields()
        super().__init__(**kwargs)

    def title_of(self, row: Any) -> str:
        """Its description, else its address."""
        return str(row)

    @expose("/add", methods=["GET", "POST"])
    @has_access
    def add(self) -> Any:
        """As everywhere; afterwards the secret is shown."""
        answer = super().add()
        made = g.get("embudo_new_secret")
        return answer if made is None else self._secret_page(*made)

    def _secret_page(self, endpoint_id: str, name: str, secret: str, *, rotated: bool = False) -> str:
        return str(
            self.render_template(
                "webhooks/secret.html",
                title=_l("The signing secret"),
                name=name,
                secret=secret,
                rotated=rotated,
                back=url_for(f"{self.endpoint}.show", pk=endpoint_id),
            )
        )

    def show_context(self, row: Endpoint) -> dict[str, Any]:
        """The endpoint's page: how it does and what happened lately."""
        narrowed: dict[str, Any] = {"f.endpoint": row.id}
        return {
            "state": badge(words.state_of(row), words.STATES),
            "trouble": words.trouble_of(row),
            "counts": queries.count_by_status(row.id),
            "statuses": words.STATUSES,
            "deliveries": [
                (item, badge(item.status, words.STATUSES))
                for item in queries.list_deliveries(row.id, limit=RECENT)
            ],
            "log_url": url_for("DeliveryView.list", **narrowed),
            "writing": self.can("edit"),
            "when": when,
        }

    @expose("/test/<pk>", methods=["POST"])
    @may_write
    def test(self, pk: str) -> Any:
        """Send a test event and show what becomes of it."""
        row = self.find(pk)
        made = self.run(lambda: commands.send_test(row.id))
        if made is None:
            return redirect(url_for(f"{self.endpoint}.show", pk=row.id))
        self.toast(gettext("It is on its way; here you see what becomes of it."))
        return redirect(url_for("DeliveryView.show", pk=made.id))

    @expose("/switch/<pk>/<any(on, off):to>", methods=["POST"])
    @may_write
    def switch(self, pk: str, to: str) -> Any:
        """Switch on or off."""
        row = self.find(pk)
        command = commands.enable_endpoint if to == "on" else commands.disable_endpoint
        if self.run(lambda: command(row.id)):
            self.toast(gettext("It is on.") if to == "on" else gettext("It is off."))
        return redirect(url_for(f"{self.endpoint}.show", pk=row.id))

    @expose("/rotate/<pk>", methods=["POST"])
    @may_write
    def rotate(self, pk: str) -> Any:
        """Make a new secret and show it."""
        row = self.find(pk)
        made = self.run(lambda: commands.rotate_secret(row.id))
        if made is None:
            return redirect(url_for(f"{self.endpoint}.show", pk=row.id))
        return self._secret_page(row.id, str(row), made[1], rotated=True)

    @expose("/replay/<pk>", methods=["POST"])
    @may_write
    def replay(self, pk: str) -> Any:
        """Send everything again that failed since a day."""
        row = self.find(pk)
        back = redirect(url_for(f"{self.endpoint}.show", pk=row.id))
        day = parse_day(request.form.get("since", ""))
        if day is None:
            self.toast(gettext("Choose a day."), "danger")
            return back
        count = self.run(lambda: commands.replay_failed(row.id, zone.day_start(day)))
        if count is not None:
            self.toast(
                ngettext("%(num)s delivery is sent again.", "%(num)s deliveries are sent again.", count)
            )
        return back
