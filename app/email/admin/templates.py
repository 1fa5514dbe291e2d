"""The mail templates and their editor, with a preview made by the renderer that makes the mails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, abort, jsonify, redirect, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from markupsafe import Markup, escape
from wtforms import (
    BooleanField,
    FieldList,
    Form,
    FormField,
    SelectField,
    StringField,
    TextAreaField,
    validators,
)

from app.admin.cells import badge, code, label_of, when
from app.admin.forms import say, values_of
from app.admin.headers import framed
from app.admin.menu import MenuEntry
from app.admin.views import CommandInterface, CommandView, action, expose, may_read, may_write
from app.email import commands, queries, render
from app.email.admin import words
from app.email.admin.messages import no_server
from app.email.models import LANGUAGES, Template
from app.email.render.values import read_variables
from app.kit import auth, zone

STARTER = """<mjml>
  <mj-body background-color="#eef2f7">
    <mj-section background-color="#ffffff" padding="32px">
      <mj-column>
        <mj-text font-size="24px" font-weight="700">Hola {{ name }}</mj-text>
        <mj-text font-size="16px" line-height="1.6">…</mj-text>
      </mj-column>
    </mj-section>
  </mj-body>
</mjml>
"""
"""What a new template begins with."""


class VariableForm(Form):  # type: ignore[misc]
    """A declared variable, as a row of the form."""

    name = StringField(_l("Name"))
    type = SelectField(_l("Type"), choices=lambda: list(words.TYPES.items()), validate_choice=False)
    required = BooleanField(_l("Required"))
    default = StringField(_l("If left out"))
    sample = StringField(_l("Example"))
    description = StringField(_l("Meaning"))


def _fields(*, new: bool) -> dict[str, Any]:
    identity = {
        "key": StringField(
            _l("Key"),
            [validators.InputRequired()],
            description=_l("The name by which flows and the API call it: welcome, price-list"),
        ),
        "language": SelectField(_l("Language"), choices=lambda: list(words.LANGUAGES.items())),
    }
    return {
        "name": StringField(_l("Name"), [validators.InputRequired(), validators.Length(max=120)]),
        **(identity if new else {}),
        "category": SelectField(
            _l("Kind"), choices=lambda: list(words.CATEGORIES.items()), default="transactional"
        ),
        "subject": StringField(_l("Subject"), [validators.InputRequired()], render_kw={"data-wide": "1"}),
        "format": SelectField(_l("Written in"), choices=lambda: list(words.FORMATS.items()), default="mjml"),
        "body": TextAreaField(
            _l("Body"), [validators.InputRequired()], default=STARTER if new else "", render_kw={"rows": 22}
        ),
        "text": TextAreaField(
            _l("Text part"),
            description=_l("Leave it empty: it is made from the body."),
            render_kw={"rows": 4},
        ),
        "variables": FieldList(
            FormField(VariableForm), _l("Variables"), default=[{"name": "name"}] if new else ()
        ),
    }


def _values(values: dict[str, Any]) -> dict[str, Any]:
    """From the form to the command: rows without any content are not there."""
    read = {name: value for name, value in values.items() if name != "variables"}
    if "variables" in values:
        read["variables"] = [
            {
                name: (value.strip() if isinstance(value, str) else value) or None
                for name, value in row.items()
            }
            | {"name": (row["name"] or "").strip(), "required": bool(row["required"])}
            | {"description": (row["description"] or "").strip()}
            for row in values["variables"]
            if any((row[name] or "").strip() for name in ("name", "default", "sample", "description"))
        ]
    return read


class TemplateView(CommandView):
    """Mail templates."""

    datamodel = CommandInterface(
        Template,
        add=lambda values: commands.create_template(_values(values), by=auth.current().name),
        edit=lambda id_, changes: commands.change_template(id_, _values(changes), by=auth.current().name),
    )
    class_permission_name = "EmailTemplates"
    roles = {"read": ("manager", "seller", "viewer"), "write": ("manager",)}
    route_base = "/admin/email-templates"
    menu = MenuEntry("mail", _l("Templates"), "fa-envelope-open-text", position=20)
    list_title, add_title = _l("E-mail templates"), _l("New template")
    edit_title, show_title = _l("Edit template"), _l("Template")
    add_template = edit_template = "email/template_form.html"
    show_template = "email/template.html"
    base_order = ("key", "asc")
    list_columns = ["name", "key", "language", "subject", "version", "updated_at", "archived_at"]
    order_columns = ["name", "key", "language", "updated_at"]
    show_columns = ["key", "language", "category", "version", "updated_at", "updated_by"]
    quick_search = ["name", "key", "subject"]
    search_columns = ["language"]
    choices = {"language": words.LANGUAGES, "category": words.CATEGORIES}
    cells = {
        "key": lambda row: code(row.key),
        "updated_at": lambda row: when(row.updated_at),
        "archived_at": lambda row: badge(
            _l("Archived") if row.archived_at else _l("In use"), None, _colour(row)
        ),
    }
    add_columns = ["name", "key", "language", "category", "subject", "format", "body", "text", "variables"]
    edit_columns = ["name", "category", "subject", "format", "body", "text", "variables"]
    label_columns = {
        "name": _l("Name"),
        "key": _l("Key"),
        "language": _l("Language"),
        "category": _l("Kind"),
        "subject": _l("Subject"),
        "version": _l("Version"),
        "updated_at": _l("Changed"),
        "updated_by": _l("Changed by"),
        "archived_at": _l("State"),
    }
    empty_text = _l("No templates yet. A template called “welcome” greets every new lead.")

    def __init__(self, **kwargs: Any) -> None:
        self.add_form_extra_fields = _fields(new=True)
        self.edit_form_extra_fields = _fields(new=False)
        super().__init__(**kwargs)

    def title_of(self, row: Any) -> str:
        """The name, with the language: the same template often exists in both."""
        return f"{row.name} ({label_of(row.language, words.LANGUAGES)})"

    def variable_types(self) -> dict[str, Any]:
        """The types that the editor offers."""
        return dict(words.TYPES)

    def prefill_form(self, form: Any, pk: Any) -> None:
        """Fill in what the version in use says."""
        version = queries.template_by_id(pk).version
        form.format.data, form.body.data, form.text.data = version.format, version.body, version.text
        form.variables.process(None, version.variables)

    def show_context(self, row: Template) -> dict[str, Any]:
        """The template's page: what it looks like, its versions, and a way to try it."""
        found = queries.template_by_id(row.id)
        return {
            "shown": render.preview(found.source, now=zone.now()),
            "say": say,
            "version": found.version,
            "types": words.TYPES,
            "versions": queries.versions_of(row.id),
            "when": when,
            "my_address": getattr(current_user, "email", ""),
            "no_server": no_server(),
            "writing": self.can("edit"),
        }

    @expose("/frame/<pk>")
    @may_read
    def frame(self, pk: str) -> Response:
        """The HTML with sample values; ?version= shows an older one."""
        row = self.find(pk)
        wanted = request.args.get("version", type=int) or row.version
        version = next((one for one in queries.versions_of(row.id) if one.number == wanted), None)
        if version is None:
            abort(404)
        shown = render.preview(queries.source_of(version, row.language), now=zone.now())
        if shown.rendered is None:
            sentences = [escape(say(found)) for found in shown.problems]
            return framed(Markup("<p>{}</p>").format(Markup("<br>").join(sentences)))
        return framed(shown.rendered.html)

    @expose("/preview", methods=["POST"])
    @may_read
    def live(self) -> Any:
        """What the form says now, for the pane beside it."""
        is_new = "key" in request.form
        form = self.add_form(request.form) if is_new else self.edit_form(request.form)
        values = _values(values_of(form, self.add_columns if is_new else self.edit_columns, self.datamodel))
        language = str(values.get("language") or request.form.get("_language") or "")
        shown = render.preview(
            render.Source(
                subject=values["subject"] or "",
                body=(values["body"] or "").replace("\r\n", "\n"),
                format=values["format"] if values["format"] in render.FORMATS else "html",
                text=values["text"] or "",
                variables=read_variables(values["variables"]),
                language=language if language in LANGUAGES else LANGUAGES[0],
            ),
            now=zone.now(),
        )
        rendered = shown.rendered
        return jsonify(
            subject=rendered.subject if rendered else None,
            html=rendered.html if rendered else None,
            text=rendered.text if rendered else None,
            problems=[{"text": say(found), "warning": render.is_warning(found)} for found in shown.problems],
        )

    @expose("/send-sample/<pk>", methods=["POST"])
    @may_write
    def send_sample(self, pk: str) -> Any:
        """Send it with sample values to somebody who wants to see it."""
        row = self.find(pk)
        to = request.form.get("to", "")
        message = self.run(lambda: commands.send_sample(row.id, to, by=auth.current().name))
        if message is None:
            return redirect(url_for(f"{self.endpoint}.show", pk=row.id))
        self.toast(gettext("It is on its way; here you see what becomes of it."))
        return redirect(url_for("OutboxView.show", pk=message.id))

    @expose("/restore-version/<pk>/<int:number>", methods=["POST"])
    @may_write
    def restore_version(self, pk: str, number: int) -> Any:
        """Make an older version the one in use again."""
        row = self.find(pk)
        if self.run(lambda: commands.restore_version(row.id, number, by=auth.current().name)):
            self.toast(gettext("Version %(number)s is in use again.", number=number))
        return redirect(url_for(f"{self.endpoint}.show", pk=row.id))

    @action(
        "archive",
        _l("Archive"),
        _l("Take the selected templates out of use?"),
        "fa-box-archive",
        single=False,
    )
    def archive(self, rows: Sequence[Template]) -> None:
        """Take them out of use."""
        self.run(lambda: [commands.archive_template(row.id, by=auth.current().name) for row in rows])
        self.toast(gettext("Archived."))

    @action("restore", _l("Put back into use"), None, "fa-box-open", single=False)
    def restore(self, rows: Sequence[Template]) -> None:
        """Put them back into use."""
        self.run(lambda: [commands.restore_template(row.id, by=auth.current().name) for row in rows])
        self.toast(gettext("In use again."))


def _colour(row: Template) -> str:
    return "grey" if row.archived_at else "green"
