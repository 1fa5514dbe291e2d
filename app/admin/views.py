"""The screens that services build on: lists, forms and pages that cannot be tampered into an error.

FAB keeps filters on the view (shared by all threads), lets the address choose page sizes and columns,
swallows errors of a save, and sends people "back" to a page of long ago. These views replace all of that;
what is left of FAB is routes, permissions, forms and queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from flask import abort, flash, redirect, request, url_for
from flask_appbuilder import BaseView, ModelView
from flask_appbuilder.actions import action
from flask_appbuilder.baseviews import expose
from flask_appbuilder.security.decorators import has_access, permission_name
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response
from wtforms import SelectField, validators

from app.admin.cells import Choices, badge, label_of, shown
from app.admin.filters import IsNull, OwnOnly
from app.admin.forms import changes_of, mend, options, place, values_of
from app.admin.interface import CommandInterface
from app.admin.listing import Listing
from app.admin.menu import MenuEntry, may_open
from app.kit.db import transaction
from app.kit.errors import EmbudoError, Forbidden, NotFound
from app.kit.rest.problems import sentences

__all__ = ["CommandInterface", "CommandView", "IsNull", "MenuEntry", "OwnOnly", "PageView"]
__all__ += ["action", "expose", "may_read", "may_write"]

METHODS = dict.fromkeys(("index", "list", "show"), "read") | dict.fromkeys(("add", "edit", "delete"), "write")
"""Two permissions per subject make a matrix that a person can read."""

UNPROCESSABLE = 422
"""A form that comes back with problems."""

ACTION_LIMIT = 200
"""Rows one bulk action may take: two pages of the largest size."""

Roles = Mapping[str, tuple[str, ...]]


def may_read(method: Callable[..., Any]) -> Callable[..., Any]:
    """Only for who may read the view's subject. Stands below @expose."""
    return has_access(permission_name("read")(method))  # type: ignore[no-any-return]


def may_write(method: Callable[..., Any]) -> Callable[..., Any]:
    """Only for who may write the view's subject. Stands below @expose."""
    return has_access(permission_name("write")(method))  # type: ignore[no-any-return]


class Screen:
    """What every view of ours has: roles, a place in the menu, no memory of past pages."""

    roles: ClassVar[Roles] = {"read": (), "write": ()}
    menu: ClassVar[MenuEntry | None] = None

    def update_redirect(self) -> None:
        """FAB's page history: it led to pages of long ago and wrote the session at every click."""

    def get_redirect(self) -> str:
        """Where "back" leads: the start of this view."""
        return url_for(f"{self.endpoint}.{self.default_view}")  # type: ignore[attr-defined]

    def toast(self, message: Any, kind: str = "success") -> None:
        """Show a short notice on the next page; kind: success | info | warning | danger."""
        flash(str(message), kind)

    def may_follow(self, endpoint: str) -> bool:
        """Whether the current user may open a page of another view; False where its service is not served."""
        name, _, method = endpoint.partition(".")
        for view in self.appbuilder.baseviews:  # type: ignore[attr-defined]
            if view.endpoint == name:
                return may_open(view, method)
        return False

    def run(self, work: Callable[[], Any]) -> Any:
        """Run commands inside transaction(); a refusal becomes a notice and None, other errors pass.

        NotFound and Forbidden pass as well: they have pages of their own.
        """
        try:
            with transaction():
                return work()
        except (NotFound, Forbidden):
            raise
        except EmbudoError as error:
            for sentence in sentences(error):
                self.toast(sentence, "danger")
            return None


class PageView(Screen, BaseView):  # type: ignore[misc]
    """A page of one's own: @expose, @may_read or @may_write, and self.page()."""

    default_view = "index"

    def page(self, template: str, *, title: Any, **context: Any) -> str:
        """Render a template that extends admin/page.html."""
        return str(self.render_template(template, title=title, view=self, **context))


class SafeView(Screen, ModelView):  # type: ignore[misc]
    """FAB's CRUD view with every known way to a wrong answer closed; services use CommandView."""

    quick_search: ClassVar[list[str]] = []
    choices: ClassVar[Mapping[str, Choices | Callable[[], Choices]]] = {}
    eager: ClassVar[tuple[str, ...]] = ()
    cells: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    empty_text: ClassVar[Any] = _l("Nothing here yet.")
    empty_link: ClassVar[tuple[Any, str] | None] = None
    list_template = "admin/list.html"
    show_template = "admin/show.html"
    add_template = edit_template = "admin/form.html"
    exclude_route_methods: set[str] = {"download"}
    delete_question: ClassVar[Any] = _l("Delete “%(title)s”? This cannot be undone.")

    def __init__(self, **kwargs: Any) -> None:
        # Copies: FAB fills these in place, and class attributes are shared by all apps of a process.
        own: dict[str, str] = dict(self.method_permission_name or {})  # type: ignore[has-type]
        actions = {name: "write" for name in dir(type(self)) if hasattr(getattr(type(self), name), "_action")}
        self.method_permission_name = {**METHODS, **actions, **own}
        self.label_columns = dict(self.label_columns or {})  # type: ignore[has-type]
        self.search_columns = [*(self.search_columns or [])]  # type: ignore[has-type]
        super().__init__(**kwargs)
        shown_relations = [name for name in self.list_columns if self.datamodel.is_relation(name)]
        self.datamodel.eager = (*self.eager, *shown_relations)
        self.orderable = {name for name in self.order_columns or [] if self._sortable(name)}

    def _sortable(self, name: str) -> bool:
        return name in self.datamodel.list_columns

    def _init_properties(self) -> None:
        wanted = self.search_columns
        super()._init_properties()
        self.search_columns = wanted  # FAB takes every column, also reverse relations, when none is named
        self._filters = self.datamodel.get_filters()
        for place_ in ("add", "edit"):
            extra = dict(getattr(self, f"{place_}_form_extra_fields") or {})
            for name in getattr(self, f"{place_}_columns"):
                if name in self.choices and name not in extra:
                    extra[name] = self._choice_field(name)
            setattr(self, f"{place_}_form_extra_fields", extra)

    def _choice_field(self, name: str) -> Any:
        nullable = self.datamodel.is_nullable(name)

        def offered() -> Any:
            choices = self.choices_of(name)
            blank = [("", "")] if nullable else []
            return options(blank + [(str(value), label_of(value, choices)) for value in choices])

        return SelectField(
            self.label_columns.get(name),
            description=(self.description_columns or {}).get(name, ""),
            choices=offered,
            validators=[validators.Optional() if nullable else validators.InputRequired()],
        )

    def _init_forms(self) -> None:
        super()._init_forms()
        for form in (self.add_form, self.edit_form):
            mend(form)

    def choices_of(self, name: str) -> Choices:
        """The fixed values of a column, or nothing."""
        choices = self.choices.get(name, {})
        return choices() if callable(choices) else choices

    def can(self, what: str) -> bool:
        """Whether the current user may add, show, edit or delete here."""
        return what not in self.exclude_route_methods and may_open(self, what)

    def title_of(self, row: Any) -> str:
        """What a row is called, in headings and questions."""
        for name in ("name", "title"):
            if value := getattr(row, name, None):
                return str(value)
        words = str(row)
        return str(self.show_title) if words.startswith("<") else words

    def cell_maker(self, name: str) -> Callable[[Any], Any]:
        """How a column's value is shown."""
        if name in self.cells:
            return lambda row: shown(self.cells[name](row))
        if choices := self.choices_of(name):
            return lambda row: badge(getattr(row, name), choices)
        if formatter := (self.formatters_columns or {}).get(name):
            return lambda row: shown(formatter(getattr(row, name)))
        return lambda row: shown(self.datamodel._get_attr_value(row, name))

    def base_filters_now(self) -> Any:
        """The filters that always hold: nobody sees rows beyond them."""
        return self._base_filters

    def find(self, pk: str) -> Any:
        """The row, if it is there and the current user may see it; else the 404 page."""
        row = self.datamodel.get(pk, self.base_filters_now())
        if row is None:
            abort(404)
        return row

    def changeable(self, row: Any) -> bool:
        """Whether this very row may be edited and deleted by who may edit and delete here."""
        return True

    def show_context(self, row: Any) -> dict[str, Any]:
        """Further variables for an own show template."""
        return {}

    @expose("/")
    @has_access
    def index(self) -> Any:
        """To the list: this is the address that people shorten it to."""
        return redirect(url_for(f"{self.endpoint}.list"))

    @expose("/list/")
    @has_access
    def list(self) -> Any:
        """The list, one page of it."""
        return self.render_template(
            self.list_template, title=self.list_title, view=self, listing=Listing(self)
        )

    @expose("/show/<pk>", methods=["GET"])
    @has_access
    def show(self, pk: str) -> Any:
        """One row."""
        row = self.find(pk)
        return self.render_template(
            self.show_template, title=self.title_of(row), view=self, row=row, groups=self.show_groups(row),
            pk=self.datamodel.get_pk_value(row), **self.show_context(row),
        )  # fmt: skip

    def show_groups(self, row: Any) -> Any:
        """What the show page tells: (heading or None, [(label, value)])."""
        groups = self.show_fieldsets or [(None, {"fields": self.show_columns})]
        return [
            (
                heading,
                [(self.label_columns.get(name, name), self.cell_maker(name)(row)) for name in spec["fields"]],
            )
            for heading, spec in groups
        ]

    def shown_actions(self) -> Any:
        """The actions on one row that the current user may use."""
        return [item for item in self.actions.values() if item.single and self._may_act(item)]

    def bulk_actions(self) -> Any:
        """The actions on several rows that the current user may use."""
        return [item for item in self.actions.values() if item.multiple and self._may_act(item)]

    def _may_act(self, item: Any) -> bool:
        permission = self.get_action_permission_name(item.name)
        return bool(self.appbuilder.sm.has_access(permission, self.class_permission_name))

    @expose("/action/<string:name>/<pk>", methods=["POST"])
    def action(self, name: str, pk: str) -> Any:
        """Run an action on one row."""
        item = self._permitted_action(name)
        return self._act(item, [self.find(pk)])

    @expose("/action_post", methods=["POST"])
    def action_post(self) -> Any:
        """Run an action on the rows ticked in the list."""
        item = self._permitted_action(request.form.get("action", ""))
        keys = request.form.getlist("rowid")[:ACTION_LIMIT]
        rows = [self.datamodel.get(key, self.base_filters_now()) for key in keys]
        return self._act(item, [row for row in rows if row is not None])

    def _permitted_action(self, name: str) -> Any:
        """Asked before any row is: who may not act must not learn which rows there are."""
        item = self.actions.get(name)
        if item is None:
            abort(404)
        if not self._may_act(item):
            abort(403)
        return item

    def _act(self, item: Any, rows: Any) -> Any:
        answer = item.func(rows) if rows else None
        return answer if isinstance(answer, Response) else redirect(self._after(rows))

    def _after(self, rows: Any) -> str:
        if request.endpoint == f"{self.endpoint}.action" and self.can("show"):
            pk = self.datamodel.get_pk_value(rows[0])
            if self.datamodel.get(pk, self.base_filters_now()) is not None:
                return url_for(f"{self.endpoint}.show", pk=pk)
        return self.get_redirect()

    def form_page(self, form: Any, columns: Any, *, row: Any = None, left: Any = ()) -> Any:
        """Render the form; `left` are problems that belong to no field."""
        failed = bool(form.errors or left)
        fieldsets = self.edit_fieldsets if row is not None else self.add_fieldsets
        html = self.render_template(
            self.edit_template if row is not None else self.add_template,
            title=self.edit_title if row is not None else self.add_title,
            view=self, form=form, row=row, left=left,
            back=self._back(row), groups=fieldsets or [(None, {"fields": columns})],
        )  # fmt: skip
        return html, UNPROCESSABLE if failed else 200

    def _back(self, row: Any) -> str:
        if row is not None and self.can("show"):
            return url_for(f"{self.endpoint}.show", pk=self.datamodel.get_pk_value(row))
        return self.get_redirect()


class CommandView(SafeView):
    """Lists, forms and a show page for a model written by commands (datamodel = CommandInterface(…))."""

    def __init__(self, **kwargs: Any) -> None:
        missing = {what for what in ("add", "edit", "delete") if not self.datamodel.can(what)}
        self.exclude_route_methods = {*self.exclude_route_methods, *missing}
        super().__init__(**kwargs)

    @expose("/add", methods=["GET", "POST"])
    @has_access
    def add(self) -> Any:
        """A new row: form, then the add command."""
        form = self.add_form()
        left: Any = []
        if request.method == "POST" and form.validate():
            try:
                pk = self.datamodel.add(values_of(form, self.add_columns, self.datamodel))
            except (NotFound, Forbidden):
                raise
            except EmbudoError as error:
                left = place(error, form, self.datamodel)
            else:
                self.toast(gettext("Saved."))
                # Who may not see what they added (a seller's filter) lands on the list.
                seen = self.can("show") and self.datamodel.get(pk, self.base_filters_now()) is not None
                return redirect(url_for(f"{self.endpoint}.show", pk=pk) if seen else self.get_redirect())
        return self.form_page(form, self.add_columns, left=left)

    @expose("/edit/<pk>", methods=["GET", "POST"])
    @has_access
    def edit(self, pk: str) -> Any:
        """Change a row: form, then the edit command with what differs."""
        row = self.find(pk)
        pk = self.datamodel.get_pk_value(row)
        if not self.changeable(row):
            abort(403)
        if request.method == "GET":
            form = self.edit_form(obj=row)
            self.prefill_form(form, pk)
            return self.form_page(form, self.edit_columns, row=row)
        form = self.edit_form(request.form)
        form._id = pk
        left: Any = []
        if not self._unchanged_meanwhile(row):
            left = [gettext("Somebody else changed this meanwhile. Look at it again, then save.")]
        elif form.validate():
            changes = changes_of(values_of(form, self.edit_columns, self.datamodel), row, self.datamodel)
            try:
                if changes:
                    self.datamodel.edit(pk, changes)
            except (NotFound, Forbidden):
                raise
            except EmbudoError as error:
                left = place(error, form, self.datamodel)
            else:
                self.toast(gettext("Saved."))
                return redirect(self._back(row))
        return self.form_page(form, self.edit_columns, row=row, left=left)

    def _unchanged_meanwhile(self, row: Any) -> bool:
        seen = request.form.get("_version")
        return seen is None or not hasattr(row, "version") or seen == str(row.version)

    @expose("/delete/<pk>", methods=["POST"])
    @has_access
    def delete(self, pk: str) -> Any:
        """Run the delete command."""
        row = self.find(pk)
        pk = self.datamodel.get_pk_value(row)
        if not self.changeable(row):
            abort(403)
        try:
            self.datamodel.delete(pk)
        except (NotFound, Forbidden):
            raise
        except EmbudoError as error:
            for sentence in sentences(error):
                self.toast(sentence, "danger")
        else:
            self.toast(gettext("Deleted."))
        return redirect(self.get_redirect())
