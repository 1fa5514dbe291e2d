"""The list of leads, their forms, and the card of one lead with its timeline."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Response, abort, current_app, make_response, redirect, request, url_for
from flask_babel import format_timedelta, gettext, ngettext
from flask_babel import lazy_gettext as _l
from markupsafe import Markup
from wtforms import DecimalField, SelectField, StringField, TextAreaField, validators

from app.admin.cells import badge, exactly, when
from app.admin.filters import IsNull, OwnOnly, parse_day
from app.admin.listing import PAGE_SIZES
from app.admin.menu import MenuEntry
from app.admin.views import CommandInterface, CommandView, action, expose, may_read, may_write
from app.kit import auth, zone
from app.kit.db import utcnow
from app.leads import commands
from app.leads.admin import airtable, mails, words
from app.leads.admin.export import leads_as_csv
from app.leads.models import EMAIL_LENGTH, NAME_LENGTH, Lead
from app.leads.queries import funnel, lists

# A lead untouched for longer than this shows its date rather than "3 weeks ago".
RELATIVE_DAYS = 30
_COLUMNS = {"stage_key": "stage"}


def add_lead(values: dict[str, Any]) -> Lead:
    """The add form's values become a lead; the same person again is told, not doubled."""
    lead, _ = commands.create_lead({"source": "manual", **_fields(values)}, by=auth.current())
    return lead


def edit_lead(lead_id: Any, changes: dict[str, Any]) -> Lead:
    """The edit form's changes."""
    return commands.change_lead(lead_id, _fields(changes), by=auth.current())


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    """From the form's names and texts to the commands'."""
    fields = {_COLUMNS.get(name, name): value for name, value in values.items()}
    if "owner_id" in fields:
        owner = str(fields["owner_id"] or "")
        fields["owner_id"] = int(owner) if owner.isdecimal() else None
    if "tag_names" in fields:
        fields["tags"] = [name for name in (fields.pop("tag_names") or "").split(",") if name.strip()]
    return fields


def ago(moment: Any) -> Markup:
    """A moment as "3 hours ago"; the exact one is in the tooltip."""
    age = utcnow() - moment
    if age > timedelta(days=RELATIVE_DAYS):
        return when(moment)
    words_ = format_timedelta(-max(age, timedelta(0)), add_direction=True)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(), exactly(moment), words_
    )


def _owner_choices() -> dict[int, str]:
    return words.owners()


class LeadView(CommandView):
    """Leads."""

    datamodel = CommandInterface(
        Lead,
        add=add_lead,
        edit=edit_lead,
        delete=lambda lead_id: commands.delete_lead(lead_id, by=auth.current()),
    )
    class_permission_name = "Leads"
    roles = {"read": ("manager", "seller", "viewer"), "write": ("manager", "seller")}
    route_base = "/admin/leads"
    menu = MenuEntry("sales", _l("Leads"), "fa-users", position=20)
    list_title, add_title, edit_title, show_title = _l("Leads"), _l("New lead"), _l("Edit lead"), _l("Lead")
    list_template = "leads/list.html"
    show_template = "leads/show.html"
    base_filters = [["owner_id", OwnOnly, None], ["deleted_at", IsNull, None]]
    base_order = ("created_at", "desc")
    list_columns = ["name", "company", "stage_key", "owner_name", "source", "amount", "created_at"]
    order_columns = ["name", "company", "stage_key", "owner_name", "source", "amount", "created_at"]
    search_columns = ["stage_key", "owner_id", "source", "created_at"]
    quick_search = ["name", "company", "email", "phone", "search_text"]
    choices = {
        "stage_key": words.stages,
        "owner_id": _owner_choices,
        "source": words.SOURCES,
    }
    label_columns = words.FIELDS
    cells = {
        "name": str,
        "amount": words.money,
        "language": lambda row: words.LANGUAGES.get(row.language, row.language),
        "created_at": lambda row: ago(row.created_at),
        "updated_at": lambda row: ago(row.updated_at),
    }
    show_columns = ["email", "phone", "company", "source", "language", "owner_name", "next_contact_on"]
    add_columns = [
        "name", "company", "email", "phone", "stage_key", "owner_id", "amount", "currency",
        "language", "next_contact_on", "tag_names", "notes",
    ]  # fmt: skip
    edit_columns = add_columns
    description_columns = {
        "phone": _l("With the country code, e.g. +34 600 000 000"),
        "tag_names": _l("Separated by commas"),
    }
    empty_text = _l("No leads yet. They arrive from WhatsApp, or add one by hand.")
    delete_question = _l("Delete “%(title)s”? You can undo it right afterwards.")

    def __init__(self, **kwargs: Any) -> None:
        for place in ("add_form_extra_fields", "edit_form_extra_fields"):
            setattr(self, place, _extra_fields())
        super().__init__(**kwargs)

    def _may_act(self, item: Any) -> bool:
        # A seller's leads are the seller's: there is nobody to give them to.
        return super()._may_act(item) and not (item.name == "assign" and auth.current().own_only)

    def show_context(self, row: Lead) -> dict[str, Any]:
        """The card: stages and owners to choose from, the timeline in words, ways to the conversation."""
        who = auth.current()
        return {
            "stages": words.stages(),
            "owners": {} if who.own_only else words.owners(),
            "money": words.money(row),
            "ago": ago,
            "timeline": [(event, words.describe(event)) for event in funnel.timeline(row.id, who)],
            "conversation_url": words.neighbour("ConversationView.show", pk=row.contact_id)
            if row.contact_id
            else None,
            "airtable": airtable.of_lead(row.id, self),
            "mails": mails.of_lead(row.id),
            "stage_badge": badge(row.stage_key, words.stages()),
        }

    @expose("/delete/<pk>", methods=["POST"])
    @may_write
    def delete(self, pk: str) -> Any:
        """Delete, and offer to undo it."""
        row = self.find(pk)
        self.datamodel.delete(row.id)
        return redirect(url_for(f"{self.endpoint}.list", undo=row.id))

    @expose("/restore/<pk>", methods=["POST"])
    @may_write
    def restore(self, pk: str) -> Any:
        """Undo a deletion."""
        lead = self.run(lambda: commands.restore_lead(pk, by=auth.current()))
        if lead is None:
            return redirect(self.get_redirect())
        self.toast(gettext("Restored."))
        return redirect(url_for(f"{self.endpoint}.show", pk=pk))

    @expose("/move/<pk>", methods=["POST"])
    @may_write
    def move(self, pk: str) -> Any:
        """Put the lead into another stage."""
        return self._on_card(
            pk, lambda row: commands.move_lead(row.id, request.form.get("stage", ""), by=auth.current())
        )

    @expose("/assign_to/<pk>", methods=["POST"])
    @may_write
    def assign_to(self, pk: str) -> Any:
        """Give the lead to somebody."""
        return self._on_card(pk, lambda row: _assign(row, request.form.get("owner", "")))

    @expose("/note/<pk>", methods=["POST"])
    @may_write
    def note(self, pk: str) -> Any:
        """Write into the timeline."""
        return self._on_card(
            pk, lambda row: commands.add_note(row.id, request.form.get("text", ""), by=auth.current())
        )

    def _on_card(self, pk: str, work: Any) -> Any:
        row = self.find(pk)
        if self.run(lambda: work(row)) is not None:
            self.toast(gettext("Saved."))
        return redirect(url_for(f"{self.endpoint}.show", pk=row.id))

    @action("move_stage", _l("Move to a stage…"), None, "fa-arrow-right", single=False)
    def move_stage(self, rows: list[Lead]) -> Any:
        """Ask which stage the ticked leads go to."""
        options = [(key, name) for key, (name, _) in words.stages().items()]
        return self._ask("move_stage", rows, gettext("Move to a stage"), options)

    @action("assign", _l("Assign…"), None, "fa-user", single=False)
    def assign(self, rows: list[Lead]) -> Any:
        """Ask who gets the ticked leads."""
        options = [("", gettext("Nobody")), *((str(key), name) for key, name in words.owners().items())]
        return self._ask("assign", rows, gettext("Assign"), options)

    @action("delete_all", _l("Delete"), _l("Delete the selected leads?"), "fa-trash", single=False)
    def delete_all(self, rows: list[Lead]) -> Any:
        """Delete the ticked leads."""
        self._on_all(rows, lambda row: commands.delete_lead(row.id, by=auth.current()))

    def _ask(self, what: str, rows: list[Lead], title: str, options: list[tuple[str, str]]) -> Response:
        html = self.render_template(
            "leads/bulk.html", title=title, view=self, rows=rows, what=what, options=options
        )
        return make_response(html)

    @expose("/bulk", methods=["POST"])
    @may_write
    def bulk(self) -> Any:
        """Do to the chosen leads what the page before asked about."""
        value, what = request.form.get("value", ""), request.form.get("what")
        keys = request.form.getlist("rowid")[: PAGE_SIZES[-1]]
        rows = [row for key in keys if (row := self.datamodel.get(key, self.base_filters_now()))]
        if what == "move_stage":
            self._on_all(rows, lambda row: commands.move_lead(row.id, value, by=auth.current()))
        elif what == "assign":
            self._on_all(rows, lambda row: _assign(row, value))
        else:
            abort(404)
        return redirect(self.get_redirect())

    def _on_all(self, rows: list[Lead], work: Any) -> None:
        done = self.run(lambda: [work(row) for row in rows])
        if done is not None:
            self.toast(ngettext("%(num)s lead changed.", "%(num)s leads changed.", len(done)))

    @expose("/export.csv", methods=["GET"])
    @may_read
    def export(self) -> Response:
        """The list as it is filtered, as CSV."""
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        rows = leads_as_csv(app, filter_of_address(), auth.current(), words.stages())
        response = Response(rows, mimetype="text/csv")
        response.headers["Content-Disposition"] = "attachment; filename=leads.csv"
        return response


def filter_of_address() -> lists.LeadFilter:
    """The list's filters from the address, as Listing reads them."""

    def text(name: str) -> str:
        return request.args.get(name, "").replace("\x00", "").strip()[:100]

    start, end = parse_day(text("f.created_at.from")), parse_day(text("f.created_at.to"))
    owner, stage, source = text("f.owner_id"), text("f.stage_key"), text("f.source")
    return lists.LeadFilter(
        stages=(stage,) if stage else (),
        owner=int(owner) if owner.isascii() and owner.isdecimal() and len(owner) < 10 else None,
        sources=(source,) if source else (),
        q=text("q"),
        created_from=zone.day_start(start) if start else None,
        created_to=zone.day_start(end, after=1) if end and end.year < 9999 else None,
    )


def _assign(row: Lead, owner: str) -> Lead:
    owner_id = int(owner) if owner.isascii() and owner.isdecimal() and len(owner) < 10 else None
    return commands.assign_lead(row.id, owner_id, "", by=auth.current())


def _extra_fields() -> dict[str, Any]:
    optional = validators.Optional()

    def currencies() -> list[tuple[str, str]]:
        return [(code, code) for code in words.CURRENCIES]

    def languages() -> list[tuple[str, str]]:
        return [(code, str(name)) for code, name in words.LANGUAGES.items()]

    def owners() -> list[tuple[str, str]]:
        return [("", ""), *((str(key), name) for key, name in words.owners().items())]

    def text(name: str, limit: int) -> Any:
        return StringField(
            words.FIELDS[name],
            validators=[optional, validators.Length(max=limit)],
            description=LeadView.description_columns.get(name, ""),
        )

    return {
        "name": text("name", NAME_LENGTH),
        "company": text("company", NAME_LENGTH),
        "email": text("email", EMAIL_LENGTH),
        "phone": text("phone", 60),
        "tag_names": text("tag_names", 500),
        "owner_id": SelectField(
            words.FIELDS["owner_id"], choices=owners, coerce=_owner_text, validators=[optional]
        ),
        "amount": DecimalField(words.FIELDS["amount"], places=2, validators=[optional]),
        "currency": SelectField(words.FIELDS["currency"], choices=currencies, validate_choice=False),
        "language": SelectField(words.FIELDS["language"], choices=languages, validate_choice=False),
        "notes": TextAreaField(words.FIELDS["notes"], validators=[optional]),
    }


def _owner_text(value: Any) -> str:
    return "" if value in (None, "None") else str(value)


__all__ = ["LeadView", "ago", "filter_of_address"]
