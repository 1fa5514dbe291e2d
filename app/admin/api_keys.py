"""The page of API keys: made with exactly the scopes they need, shown once, revoked with a click."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from flask import current_app, redirect, request, url_for
from flask_appbuilder.forms import DynamicForm
from flask_appbuilder.security.sqla.models import User
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from sqlalchemy import select
from wtforms import DateField, SelectField, SelectMultipleField, StringField
from wtforms.validators import DataRequired, Length, Optional

from app.admin.forms import options, place
from app.admin.interface import CommandInterface
from app.admin.menu import MenuEntry
from app.admin.views import PageView, expose, may_read, may_write
from app.contracts.problems import problem
from app.kit import auth, zone
from app.kit.db import db, is_id, transaction, utcnow
from app.kit.errors import EmbudoError, Invalid, NotFound

SCOPE_GROUPS = {
    "leads": _l("Leads"),
    "flows": _l("Flows"),
    "conversations": _l("Conversations"),
    "status": _l("Status of runs"),
    "simulator": _l("Simulator"),
    "templates": _l("Templates"),
    "email": _l("E-mail"),
    "webhooks": _l("Webhooks"),
}
"""Headings for the scopes, by what stands before the colon."""

SCOPE_VERBS = {
    "read": _l("read"),
    "write": _l("change"),
    "publish": _l("publish"),
    "send": _l("send"),
    "use": _l("use"),
}
"""Words for what stands after the colon."""


class KeyForm(DynamicForm):  # type: ignore[misc]
    """What a new key is."""

    name = StringField(_l("Name"), validators=[DataRequired(), Length(max=120)],
                       description=_l("Who or what will use it, for instance “web form”."))  # fmt: skip
    scopes = SelectMultipleField(_l("May"), choices=options((scope, scope) for scope in auth.SCOPES))
    expires_at = DateField(
        _l("Valid until"), validators=[Optional()], description=_l("If left empty: until it is revoked.")
    )
    user_id = SelectField(
        _l("Acts as"), coerce=int, validate_choice=True,
        description=_l("Limits the key to what this person may do; a seller's key sees only their leads."),
    )  # fmt: skip


def scope_groups() -> list[dict[str, Any]]:
    """Scopes for the form: heading, [(scope, word)]."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for scope in auth.SCOPES:
        subject, _, verb = scope.partition(":")
        groups.setdefault(subject, []).append((scope, str(SCOPE_VERBS.get(verb, verb))))
    return [{"label": str(SCOPE_GROUPS.get(key, key)), "scopes": scopes} for key, scopes in groups.items()]


class ApiKeyView(PageView):
    """Keys for programs."""

    class_permission_name = "ApiKeys"
    roles = {"read": (), "write": ()}
    route_base = "/admin/api-keys"
    menu = MenuEntry("security", _l("API keys"), "fa-key", position=30)

    @expose("/")
    @may_read
    def index(self) -> Any:
        """The list."""
        keys = auth.list_keys()
        wanted = {key.user_id for key in keys if key.user_id is not None}
        named = db.session.execute(select(User.id, User.username).where(User.id.in_(wanted)))
        users = {key: name for key, name in named}  # noqa: C416 (rows are tuples only when unpacked)
        docs = next((path for path in ("/docs", "/docs/") if _is_route(path)), "/openapi.json")
        return self.page(
            "admin/api_keys.html", title=_l("API keys"), keys=keys, users=users, now=utcnow(), docs=docs
        )

    @expose("/new", methods=["GET", "POST"])
    @may_write
    def new(self) -> Any:
        """The form; after saving, the page that shows the key this one time."""
        form = KeyForm()
        users = db.session.execute(
            select(User.id, User.username).where(User.active.is_(True)).order_by(User.username)
        )
        nobody = (0, gettext("Nobody: the scopes decide alone"))
        form.user_id.choices = options([nobody, *((key, name) for key, name in users)])
        left: list[str] = []
        if request.method == "POST" and form.validate():
            try:
                with transaction():
                    row, plain = auth.create_key(
                        form.name.data,
                        form.scopes.data or [],
                        expires_at=_end_of(form.expires_at.data),
                        user_id=form.user_id.data or None,
                        by=current_user.username,
                    )
                    name = row.name
            except EmbudoError as error:
                left = place(error, form, CommandInterface(auth.ApiKey))
            else:
                return self.page("admin/api_key_made.html", title=_l("The new key"), name=name, plain=plain)
        html = self.page(
            "admin/api_key_form.html", title=_l("New API key"), form=form, left=left, groups=scope_groups()
        )
        return html, 422 if form.errors or left else 200

    @expose("/<key_id>/revoke", methods=["POST"])
    @may_write
    def revoke(self, key_id: str) -> Any:
        """Make a key useless."""
        if not is_id(key_id):
            raise NotFound("API key", key_id)
        with transaction():
            name = auth.revoke_key(key_id).name
        self.toast(gettext("“%(name)s” is revoked.", name=name))
        return redirect(url_for("ApiKeyView.index"))


def _is_route(path: str) -> bool:
    return any(rule.rule == path for rule in current_app.url_map.iter_rules())


def _end_of(day: date | None) -> datetime | None:
    """The end of that day in the installation's zone."""
    if day is None:
        return None
    if day.year > 9000:
        raise Invalid([problem("/expires_at", "too_late", "Choose an earlier day.")])
    return zone.day_start(day, after=1)
