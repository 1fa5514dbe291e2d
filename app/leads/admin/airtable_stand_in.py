"""A look into the local stand-in: what one would do in Airtable's own pages, so that both directions can be tried."""

from __future__ import annotations

from typing import Any

from flask import abort, redirect, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from app.admin.menu import MenuEntry
from app.admin.views import PageView, expose, may_read, may_write
from app.leads.providers.fake import Refusal
from app.leads.providers.fake.cells import COMPUTED
from app.leads.providers.fake.store import LEADS_TABLE
from app.leads.queries import airtable as queries
from app.leads.queries.airtable_stand_in import local_stand_in

ROWS = 200
LIST_TYPES = frozenset({"multipleSelects"})
NUMBER_TYPES = frozenset({"number", "currency", "percent", "rating", "duration"})
NO_RECORD = "MODEL_ID_NOT_FOUND"
_REFUSALS = {
    NO_RECORD: _l("This row is not in the table any more."),
    "INVALID_MULTIPLE_CHOICE_OPTIONS": _l("There is no such choice in this column."),
}


def used() -> bool:
    """Whether anything is connected to the stand-in."""
    return queries.stand_in_offered() and any(row.stand_in for row in queries.connections())


class StandInView(PageView):
    """The stand-in's one table."""

    class_permission_name = "Airtable"
    roles = {"read": ("manager",), "write": ()}
    route_base = "/admin/airtable-stand-in"
    menu = MenuEntry("integrations", _l("Airtable stand-in"), "fa-table-cells", position=20, shown_if=used)

    @expose("/")
    @may_read
    def index(self) -> Any:
        """The table as a person sees it."""
        self._only_if_offered()
        store = local_stand_in().store
        columns = [column for column in store.columns(LEADS_TABLE) if column["type"] not in COMPUTED]
        rows = store.records(LEADS_TABLE)
        wanted = request.args.get("edit", "")
        return self.page(
            "leads/airtable_stand_in.html",
            title=_l("Local stand-in for Airtable"),
            columns=columns,
            rows=rows[-ROWS:][::-1],
            count=len(rows),
            edited=next(((key, cells) for key, cells in rows if key == wanted), None),
            adding=wanted == "new",
            writing=bool(self.appbuilder.sm.has_access("can_write", self.class_permission_name)),
            shown=lambda value: (
                ", ".join(value) if isinstance(value, list) else "" if value is None else value
            ),
        )

    @expose("/save", methods=["POST"])
    @may_write
    def save(self) -> Response:
        """Change a row, or add one."""
        self._only_if_offered()
        stand_in = local_stand_in()
        cells: dict[str, Any] = {}
        for column in stand_in.store.columns(LEADS_TABLE):
            if column["type"] in COMPUTED or column["id"] not in request.form:
                continue
            cells[column["id"]] = _typed(column["type"], request.form[column["id"]].strip())
        try:
            stand_in.edit(LEADS_TABLE, request.form.get("record") or None, cells)
        except Refusal as refusal:
            self.toast(_told(refusal), "danger")
        else:
            self.toast(
                gettext(
                    "Changed in the stand-in. Embudo notices within the polling time, or at once by webhook."
                )
            )
        return redirect(url_for(f"{self.endpoint}.index"))

    @expose("/remove/<record_id>", methods=["POST"])
    @may_write
    def remove(self, record_id: str) -> Response:
        """Delete a row."""
        self._only_if_offered()
        if local_stand_in().remove(LEADS_TABLE, [record_id]):
            self.toast(gettext("Deleted."))
        else:
            self.toast(_REFUSALS[NO_RECORD], "danger")
        return redirect(url_for(f"{self.endpoint}.index"))

    def _only_if_offered(self) -> None:
        if not queries.stand_in_offered():
            abort(404)


def _told(refusal: Refusal) -> str:
    """What was refused; the stand-in itself speaks Airtable's English."""
    if refusal.kind in _REFUSALS:
        return str(_REFUSALS[refusal.kind])
    said = refusal.message or refusal.kind
    return gettext("The stand-in did not take it: “%(reason)s”", reason=said)


def _typed(kind: str, text: str) -> Any:
    if not text:
        return None
    if kind in LIST_TYPES:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind in NUMBER_TYPES:
        try:
            return float(text.replace(",", "."))
        except ValueError:
            return text  # refused, as Airtable would
    return text
