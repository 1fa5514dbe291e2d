"""Flows: the list, and the designer in which nobody has to read JSON."""

from __future__ import annotations

from typing import Any

from flask import abort, g, redirect, url_for
from flask_babel import get_locale, gettext
from flask_babel import lazy_gettext as _l
from markupsafe import Markup
from sqlalchemy import select

from app.admin.cells import NOTHING, badge, shown
from app.admin.views import (
    CommandInterface,
    CommandView,
    IsNull,
    MenuEntry,
    action,
    expose,
    may_read,
    may_write,
)
from app.kit import auth
from app.kit.db import db, is_id
from app.kit.rest.problems import localized
from app.whatsapp.commands import flows as commands
from app.whatsapp.models import Flow
from app.whatsapp.queries import flows as queries


def _by() -> str:
    return auth.current().name


def _counts(row: Flow) -> queries.FlowCounts:
    """Of all flows in use by one query, however many rows the page has."""
    if "whatsapp_flow_counts" not in g:
        ids = list(db.session.scalars(select(Flow.id).where(Flow.archived_at.is_(None))))
        g.whatsapp_flow_counts = queries.counts(ids)
    found: queries.FlowCounts = g.whatsapp_flow_counts.get(row.id, queries.FlowCounts())
    return found


def _published(row: Flow) -> Markup:
    if row.published_version is None:
        return badge(gettext("Draft"), colour="amber")
    return badge(gettext("Version %(number)s", number=row.published_version), colour="green")


class FlowView(CommandView):
    """The list of flows; a click opens the designer."""

    datamodel = CommandInterface(
        Flow,
        add=lambda values: commands.create_flow(
            values["name"], commands.first_draft(str(get_locale() or "es")), by=_by()
        ),
        edit=lambda flow_id, changes: commands.rename_flow(flow_id, changes["name"], by=_by()),
    )
    class_permission_name = "Flows"
    roles = {"read": ("manager", "viewer"), "write": ("manager",)}
    route_base = "/admin/flows"
    menu = MenuEntry("automation", _l("Flows"), "fa-diagram-project", position=10)
    list_title, add_title, edit_title, show_title = _l("Flows"), _l("New flow"), _l("Rename flow"), _l("Flow")
    base_filters = [["archived_at", IsNull, None]]
    list_columns = ["name", "published_version", "keywords", "open", "completed", "updated_at"]
    cells = {
        "published_version": _published,
        "keywords": lambda row: shown(list(row.keywords or ())) or NOTHING,
        "open": lambda row: _counts(row).open,
        "completed": lambda row: _counts(row).completed,
    }
    quick_search = ["name"]
    search_columns: list[str] = []
    order_columns = ["name", "updated_at"]
    base_order = ("name", "asc")
    show_columns = ["name"]
    list_template = "whatsapp/flows.html"
    add_columns = edit_columns = ["name"]
    label_columns = {
        "name": _l("Name"),
        "published_version": _l("Published"),
        "keywords": _l("Keywords"),
        "open": _l("Running"),
        "completed": _l("Finished"),
        "updated_at": _l("Changed"),
    }
    empty_text = _l("No flows yet. A flow is what the bot says and asks, drawn as a picture.")

    @expose("/show/<pk>", methods=["GET"])
    @may_read
    def show(self, pk: str) -> Any:
        """The designer."""
        row = self.find(pk)
        who = auth.current()
        return self.render_template(
            "whatsapp/designer.html",
            title=row.name,
            view=self,
            row=row,
            pk=row.id,
            can_edit=who.may("flows:write"),
            can_publish=who.may("flows:publish"),
        )

    @action("duplicate", _l("Duplicate"), None, "fa-copy", multiple=False)
    def duplicate(self, rows: list[Flow]) -> Any:
        """A copy to change, without the keywords."""
        name = gettext("%(name)s (copy)", name=rows[0].name)
        made = self.run(lambda: commands.duplicate_flow(rows[0].id, name, by=_by()))
        return redirect(url_for("FlowView.show", pk=made.id)) if made is not None else None

    @action(
        "archive",
        _l("Archive"),
        _l("Archive the flow? Conversations that run go on, no new one starts."),
        "fa-box-archive",
    )
    def archive(self, rows: list[Flow]) -> Any:
        """Take flows out of use."""
        done = self.run(lambda: [commands.archive_flow(row.id, by=_by()) for row in rows])
        if done is not None:
            self.toast(gettext("Archived."))
        return redirect(self.get_redirect())

    @expose("/archived", methods=["GET"])
    @may_read
    def archived(self) -> Any:
        """The flows that are out of use, and the way back."""
        return self.render_template(
            "whatsapp/flows_archived.html",
            title=gettext("Archived flows"),
            view=self,
            rows=queries.flows(archived=True),
            can_edit=auth.current().may("flows:write"),
        )

    @expose("/restore/<pk>", methods=["POST"])
    @may_write
    def restore(self, pk: str) -> Any:
        """Put a flow back into use."""
        if not is_id(pk):
            abort(404)
        row = self.run(lambda: commands.restore_flow(pk, by=_by()))
        self.toast(gettext("In use again."))
        if row is not None and (found := queries.rivals(row, {"triggers": {"keywords": row.keywords}})):
            self.toast(" ".join(map(localized, found)), kind="warning")
        return redirect(url_for("FlowView.archived"))
