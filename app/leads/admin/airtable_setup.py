"""Connecting a table, in small steps: token, base and table, columns; and the rules that say which leads go where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, redirect, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app.admin.views import PageView, expose, may_read, may_write
from app.kit.db import transaction
from app.kit.errors import EmbudoError, Forbidden, NotFound, ProviderError
from app.kit.rest.problems import sentences
from app.leads import mapping
from app.leads.admin import airtable_words as words
from app.leads.commands import airtable_settings as commands
from app.leads.jobs.calls import ask, plain_columns
from app.leads.mapping import Condition, Mapped
from app.leads.models import AirtableConnection
from app.leads.queries import airtable as queries

UNPROCESSABLE = 422
CONDITIONS_SHOWN = 2
"""Empty conditions under a rule; saved, there is room for more."""
RULES_READ = 60

T = TypeVar("T")


class AirtableSetupView(PageView):
    """The steps."""

    class_permission_name = "Airtable"
    roles = {"read": ("manager",), "write": ()}
    route_base = "/admin/airtable/setup"
    default_view = "routes"

    # --- 1. a token -----------------------------------------------------------------------------------------------------

    @expose("/new", methods=["GET", "POST"])
    @may_write
    def new(self) -> Any:
        """Name and token, or the stand-in."""
        left: list[str] = []
        if request.method == "POST":
            stand_in = "stand_in" in request.form and queries.stand_in_offered()
            row, left = self.save(
                lambda: commands.add_connection(
                    name=request.form.get("name", ""),
                    token="" if stand_in else request.form.get("token", ""),
                    stand_in=stand_in,
                )
            )
            if row is not None:
                return redirect(url_for(f"{self.endpoint}.table", pk=row.id))
        page = self.page(
            "leads/airtable_new.html",
            title=_l("Connect a table"),
            left=left,
            name=request.form.get("name", ""),
            offered=queries.stand_in_offered(),
            from_environment=bool(current_app.config.get("AIRTABLE_API_KEY")),
        )
        return page, UNPROCESSABLE if left else 200

    # --- 2. a table -----------------------------------------------------------------------------------------------------

    @expose("/table/<pk>", methods=["GET", "POST"])
    @may_write
    def table(self, pk: str) -> Any:
        """Base, then table; by id, so that nobody has to type one."""
        row = queries.connection(pk)
        base_id = request.values.get("base", "")
        left: list[str] = []
        bases: Any = []
        tables: Any = []
        try:
            bases = ask(row, "", lambda api: api.bases())
            if base_id in {base.id for base in bases}:
                tables = ask(row, base_id, lambda api: api.tables(base_id))
        except ProviderError as error:
            left = [words.explain(error.code, error.detail)]
        chosen = next((item for item in tables if item.id == request.form.get("table")), None)
        if request.method == "POST" and chosen is not None:
            base = next(item for item in bases if item.id == base_id)
            saved, left = self.save(
                lambda: commands.choose_table(row.id, base, chosen, plain_columns(chosen))
            )
            if saved is not None:
                return redirect(url_for(f"{self.endpoint}.fields", pk=row.id))
        page = self.page(
            "leads/airtable_table.html",
            title=_l("Base and table"),
            row=row,
            bases=bases,
            base_id=base_id,
            tables=tables,
            left=left,
        )
        return page, UNPROCESSABLE if left else 200

    # --- 3. columns -----------------------------------------------------------------------------------------------------

    @expose("/fields/<pk>", methods=["GET", "POST"])
    @may_write
    def fields(self, pk: str) -> Any:
        """Which column keeps which field."""
        row = queries.connection(pk)
        left: list[str] = []
        pairs = [Mapped(**item) for item in row.field_map]
        if request.method == "POST":
            pairs = self._posted(row)
            saved, left = self.save(
                lambda: commands.save_fields(
                    row.id,
                    pairs,
                    id_column=request.form.get("id_column", ""),
                    modified_column=request.form.get("modified_column", ""),
                )
            )
            if saved is not None:
                self.toast(gettext("Saved."))
                return redirect(url_for(f"{self.endpoint}.settings", pk=row.id))
        columns = queries.columns(row)
        page = self.page(
            "leads/airtable_fields.html",
            title=_l("Columns"),
            row=row,
            columns=[item for item in columns if mapping.is_usable(item.type)],
            others=[item for item in columns if not mapping.is_usable(item.type)],
            by_column={item.column: item for item in pairs},
            choices={item.id: self._offered(item.type) for item in columns},
            read_only={item.id: mapping.is_read_only(item.type) for item in columns},
            directions=words.DIRECTIONS,
            stages=commands.stage_names(),
            stage_words={key: names[0] for key, names in commands.stage_names().items()},
            id_column=request.form.get("id_column", row.id_column),
            modified_column=request.form.get("modified_column", row.modified_column),
            left=left,
        )
        return page, UNPROCESSABLE if left else 200

    def _offered(self, kind: str) -> dict[str, str]:
        return {name: text for name, text in words.fields().items() if mapping.fits(name, kind)}

    def _posted(self, row: AirtableConnection) -> list[Mapped]:
        found = []
        for column in queries.columns(row):
            name = request.form.get(f"f.{column.id}", "")
            if not name:
                continue
            if name == "custom":
                name = "custom." + column.name.strip()[:60]
            options = (
                {
                    key: choice
                    for key in commands.stage_names()
                    if (choice := request.form.get(f"o.{column.id}.{key}", "").strip())
                }
                or mapping.choices_for(column, commands.stage_names())
                if name == "stage"
                else {}
            )
            found.append(
                Mapped(
                    field=name,
                    column=column.id,
                    column_name=column.name,
                    type=column.type,
                    direction="in"
                    if mapping.is_read_only(column.type)
                    else request.form.get(f"d.{column.id}", "both"),
                    options=options,
                )
            )
        return found

    # --- 4. how -----------------------------------------------------------------------------------------------------------

    @expose("/settings/<pk>", methods=["GET", "POST"])
    @may_write
    def settings(self, pk: str) -> Any:
        """What to do when in doubt; then start."""
        row = queries.connection(pk)
        left: list[str] = []
        if request.method == "POST":
            form = request.form
            minutes = form.get("poll_minutes", "")
            values: dict[str, Any] = {
                name: form.get(name, "") for name in ("name", "token", *commands.CHOICES)
            }
            values |= {name: name in form for name in commands.FLAGS}
            readable = minutes.isascii() and minutes.isdecimal() and len(minutes) < 6
            values["poll_minutes"] = int(minutes) if readable else -1
            saved, left = self.save(lambda: commands.change_connection(row.id, values))
            if saved is not None and row.state == "draft":
                saved, left = self.save(lambda: commands.start(row.id))
            if saved is not None:
                self.toast(gettext("Saved."))
                return redirect(url_for("AirtableView.index"))
        page = self.page(
            "leads/airtable_settings.html",
            title=_l("How to keep in step"),
            row=row,
            left=left,
            selects=[
                ("direction", _l("Direction"), words.DIRECTIONS, ""),
                ("policy", _l("When both changed the same field"), words.POLICIES, _l("Every such case is listed, and can be turned round.")),
                ("new_records", _l("A row added in Airtable"), words.NEW_RECORDS, ""),
                ("remote_deletions", _l("When a row is deleted in Airtable"), words.REMOTE_DELETIONS,
                 _l("More than 20 at once, or a tenth of all, are never acted upon without asking.")),
                ("local_deletions", _l("When a lead is deleted here"), words.LOCAL_DELETIONS, ""),
            ],
        )  # fmt: skip
        return page, UNPROCESSABLE if left else 200

    # --- rules ------------------------------------------------------------------------------------------------------------

    @expose("/routes", methods=["GET", "POST"])
    @may_read
    def routes(self) -> Any:
        """Which leads go into which table."""
        left: list[str] = []
        rules = [
            (row.connection_id, [Condition(**item) for item in row.conditions]) for row in queries.routes()
        ]
        writing = bool(self.appbuilder.sm.has_access("can_write", self.class_permission_name))
        if request.method == "POST":
            if not writing:
                raise Forbidden("Only administrators change the rules.")
            rules = _posted_rules()
            saved, left = self.save(lambda: (commands.save_routes(rules), True))
            if saved is not None:
                self.toast(gettext("Saved. Leads are being sorted anew."))
                return redirect(url_for("AirtableView.index"))
        page = self.page(
            "leads/airtable_routes.html",
            title=_l("Which leads go where"),
            rules=rules,
            connections=queries.connections(),
            fields=words.fields(),
            operators=words.OPERATORS,
            shown=CONDITIONS_SHOWN,
            left=left,
            writing=writing,
        )
        return page, UNPROCESSABLE if left else 200

    def save(self, work: Callable[[], T]) -> tuple[T | None, list[str]]:
        """Run a command; its result, or what is wrong in words."""
        try:
            with transaction():
                return work(), []
        except (NotFound, Forbidden):
            raise
        except EmbudoError as error:
            return None, sentences(error)


def _posted_rules() -> list[tuple[str, list[Condition]]]:
    """The rules in the order of their numbers; one without a table is left out."""
    form = request.form
    found = []
    for number in range(RULES_READ):
        target = form.get(f"r.{number}.target", "")
        if not target:
            continue
        conditions = [
            Condition(
                field=field,
                operator=form.get(f"r.{number}.{part}.operator", ""),
                value=form.get(f"r.{number}.{part}.value", "").strip(),
            )
            for part in range(mapping.CONDITIONS + 1)
            if (field := _field(number, part))
        ]
        place = form.get(f"r.{number}.position", "")
        found.append(
            (
                int(place) if place.isascii() and place.isdecimal() and len(place) < 6 else number,
                number,
                target,
                conditions,
            )
        )
    return [(target, conditions) for _, _, target, conditions in sorted(found, key=lambda item: item[:2])]


def _field(number: int, part: int) -> str:
    form = request.form
    name = form.get(f"r.{number}.{part}.field", "")
    custom = form.get(f"r.{number}.{part}.custom", "").strip()
    return f"custom.{custom[:60]}" if name == "custom" and custom else "" if name == "custom" else name
