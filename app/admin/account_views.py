"""The screens of users, roles and passwords, and the login page."""

from __future__ import annotations

from typing import Any

from flask import current_app, redirect, request, url_for
from flask_appbuilder.forms import DynamicForm
from flask_appbuilder.security.sqla.models import PermissionView, Role, User
from flask_appbuilder.security.views import AuthDBView
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from werkzeug.security import check_password_hash
from wtforms import EmailField, PasswordField, SelectMultipleField, StringField
from wtforms.validators import DataRequired, Email, EqualTo, Length

from app.admin.accounts import (
    PRODUCT_ROLES,
    add_role,
    add_user,
    change_role,
    change_user,
    delete_role,
    delete_user,
    set_password,
)
from app.admin.cells import NOTHING, badge, label_of
from app.admin.forms import options, place
from app.admin.interface import CommandInterface
from app.admin.menu import MenuEntry
from app.admin.seals import put_seal
from app.admin.views import CommandView, PageView, action, expose, may_write
from app.contracts.problems import problem
from app.kit.db import db, transaction
from app.kit.errors import EmbudoError, Invalid, NotFound

EVERYBODY = ("manager", "seller", "viewer")
"""All roles besides the administrator's, which may everything anyway."""

ROLE_LABELS = {
    "Admin": (_l("Administrator"), "violet"),
    "manager": (_l("Manager"), "blue"),
    "seller": (_l("Seller"), "teal"),
    "viewer": (_l("Viewer"), "grey"),
}
"""How the product's roles are shown."""


def _role_badges(user: User) -> Any:
    badges = [badge(role.name, ROLE_LABELS) for role in sorted(user.roles, key=lambda role: role.id)]
    return Markup(" ").join(badges) or NOTHING


def _role_key(value: Any) -> int:
    return int(value.id) if isinstance(value, Role) else int(value)


def _role_choices() -> list[Any]:
    rows = db.session.execute(select(Role.id, Role.name).order_by(Role.id))
    return options((key, label_of(name, ROLE_LABELS)) for key, name in rows)


def _roles_field() -> SelectMultipleField:
    return SelectMultipleField(
        _l("Roles"), coerce=_role_key, choices=_role_choices, validators=[DataRequired()],
        description=_l("A seller sees and changes only their own leads."),
    )  # fmt: skip


class UserView(CommandView):
    """People who log in."""

    datamodel = CommandInterface(User, add=add_user, edit=change_user, delete=delete_user)
    class_permission_name = "Users"
    route_base = "/users"
    menu = MenuEntry("security", _l("Users"), "fa-user", position=10)
    list_title, add_title, edit_title, show_title = _l("Users"), _l("New user"), _l("Edit user"), _l("User")
    label_columns = {
        "username": _l("Username"),
        "first_name": _l("First name"),
        "last_name": _l("Last name"),
        "email": _l("E-mail"),
        "active": _l("Active"),
        "roles": _l("Roles"),
        "password": _l("Password"),
        "conf_password": _l("Repeat the password"),
        "last_login": _l("Last login"),
        "login_count": _l("Logins"),
        "fail_login_count": _l("Failed logins since"),
        "created_on": _l("Created"),
    }
    description_columns = {
        "active": _l("Who is not active cannot log in; what they did stays."),
    }
    list_columns = ["username", "first_name", "last_name", "email", "roles", "active", "last_login"]
    quick_search = ["username", "first_name", "last_name", "email"]
    search_columns = ["active"]
    base_order = ("username", "asc")
    show_fieldsets = [
        (_l("Person"), {"fields": ["username", "first_name", "last_name", "email"]}),
        (
            _l("Access"),
            {"fields": ["roles", "active", "last_login", "login_count", "fail_login_count", "created_on"]},
        ),
    ]
    edit_columns = ["username", "email", "first_name", "last_name", "roles", "active"]
    add_columns = [
        "username",
        "email",
        "first_name",
        "last_name",
        "password",
        "conf_password",
        "roles",
        "active",
    ]
    add_form_extra_fields = {
        "email": EmailField(_l("E-mail"), validators=[DataRequired(), Email(), Length(max=320)]),
        "last_name": StringField(_l("Last name"), validators=[Length(max=64)]),
        "roles": _roles_field(),
        "password": PasswordField(
            _l("Password"),
            description=_l("At least 12 characters; a sentence is fine."),
            validators=[DataRequired()],
        ),
        "conf_password": PasswordField(
            _l("Repeat the password"),
            validators=[DataRequired(), EqualTo("password", message=_l("The passwords differ."))],
        ),
    }
    edit_form_extra_fields = {
        "email": add_form_extra_fields["email"],
        "last_name": add_form_extra_fields["last_name"],
        "roles": add_form_extra_fields["roles"],
    }
    cells = {"roles": _role_badges}

    def title_of(self, row: Any) -> str:
        """First and last name."""
        return str(row.get_full_name()).strip() or str(row.username)

    @action("setpassword", _l("Set password"), "", "fa-key", multiple=False)
    def setpassword(self, rows: Any) -> Any:
        """Lead to the page where an administrator gives somebody a new password."""
        return redirect(url_for("PasswordView.index", user_id=rows[0].id))


class RoleView(CommandView):
    """What people may do."""

    datamodel = CommandInterface(Role, add=add_role, edit=change_role, delete=delete_role)
    class_permission_name = "Roles"
    route_base = "/roles"
    menu = MenuEntry("security", _l("Roles"), "fa-user-shield", position=20)
    list_title, add_title, edit_title, show_title = _l("Roles"), _l("New role"), _l("Edit role"), _l("Role")
    label_columns = {"name": _l("Name"), "permissions": _l("Permissions")}
    description_columns = {"permissions": _l("“read” shows a page, “change” allows to save there.")}
    list_columns = ["name", "permissions"]
    search_columns: list[str] = []
    show_columns = add_columns = edit_columns = ["name", "permissions"]
    order_columns = ["name"]
    base_order = ("id", "asc")
    eager = ("permissions.permission", "permissions.view_menu")
    cells = {
        "name": lambda row: badge(row.name, ROLE_LABELS) if row.name in PRODUCT_ROLES else row.name,
        "permissions": lambda row: _by_subject(row.permissions),
    }

    def __init__(self, **kwargs: Any) -> None:
        self.add_form_extra_fields = {"permissions": _permissions_field()}
        self.edit_form_extra_fields = {"permissions": _permissions_field()}
        super().__init__(**kwargs)

    def changeable(self, row: Any) -> bool:
        """Roles of the product are written anew at every release."""
        return row.name not in PRODUCT_ROLES

    @action("copyrole", _l("Copy"), "", "fa-copy", multiple=False)
    def copyrole(self, rows: Any) -> Any:
        """Make a role of one's own from this one."""
        source = rows[0].id

        def copy() -> Role:
            role = db.session.get_one(Role, source)
            name = gettext("%(name)s (copy)", name=role.name)
            return add_role({"name": name, "permissions": [item.id for item in role.permissions]})

        made = self.run(copy)
        return redirect(url_for("RoleView.edit", pk=made.id)) if made is not None else None


def _by_subject(permissions: Any) -> list[str]:
    """One entry per subject: "Leads: read, write"."""
    subjects: dict[str, list[str]] = {}
    for item in sorted(permissions, key=lambda item: item.permission.name if item.permission else ""):
        subject, _, verb = _permission_name(item).partition(": ")
        subjects.setdefault(subject, []).append(verb)
    return [f"{subject}: {', '.join(verbs)}" for subject, verbs in sorted(subjects.items())]


def _permission_key(value: Any) -> int:
    return int(value.id) if isinstance(value, PermissionView) else int(value)


def _permissions_field() -> SelectMultipleField:
    return SelectMultipleField(
        _l("Permissions"), coerce=_permission_key, description=RoleView.description_columns["permissions"],
        choices=lambda: options((row.id, _permission_name(row)) for row in _every_permission()),
    )  # fmt: skip


VERBS = {"read": _l("read"), "write": _l("change")}
"""What the permissions of the product are called."""


def _permission_name(item: PermissionView) -> str:
    verb = (item.permission.name if item.permission else "").removeprefix("can_")
    subject = item.view_menu.name if item.view_menu else ""
    return f"{_subject_name(subject)}: {VERBS.get(verb, verb)}"


def _subject_name(subject: str) -> str:
    """The heading of a subject's list; else what the sidebar calls its page; else its technical name."""
    views = [view for view in current_app.appbuilder.baseviews if view.class_permission_name == subject]  # type: ignore[attr-defined]
    words = [view.list_title for view in views if getattr(view, "list_title", None)]
    words += [view.menu.label for view in views if getattr(view, "menu", None)]
    return str(words[0]) if words else str(SUBJECTS.get(subject, subject))


SUBJECTS = {"Profile": _l("My profile")}
"""Subjects without a page in the sidebar."""


def _every_permission() -> list[PermissionView]:
    """What a role may be given: the two permissions of each subject that this release has."""
    known = {view.class_permission_name for view in current_app.appbuilder.baseviews}  # type: ignore[attr-defined]
    rows = db.session.scalars(
        select(PermissionView).options(
            joinedload(PermissionView.permission), joinedload(PermissionView.view_menu)
        )
    )
    offered = [
        row
        for row in rows
        if row.view_menu
        and row.permission
        and row.view_menu.name in known
        and row.permission.name.removeprefix("can_") in VERBS
    ]
    return sorted(offered, key=_permission_name)


class LoginView(AuthDBView):  # type: ignore[misc]
    """The way in."""

    login_template = "admin/login.html"
    title = _l("Sign in")
    invalid_login_message = _l("This username and password do not fit together.")


class NewPassword(DynamicForm):  # type: ignore[misc]
    """A new password, twice."""

    password = PasswordField(
        _l("New password"),
        description=_l("At least 12 characters; a sentence is fine."),
        validators=[DataRequired()],
        render_kw={"autocomplete": "new-password"},
    )
    conf_password = PasswordField(
        _l("Repeat the password"),
        validators=[EqualTo("password", message=_l("The passwords differ."))],
        render_kw={"autocomplete": "new-password"},
    )


class OwnPassword(NewPassword):
    """The same, by somebody who proves to be themselves."""

    current = PasswordField(
        _l("Present password"), validators=[DataRequired()], render_kw={"autocomplete": "current-password"}
    )


class ProfileForm(DynamicForm):  # type: ignore[misc]
    """What people may change about themselves."""

    first_name = StringField(_l("First name"), validators=[DataRequired(), Length(max=64)])
    last_name = StringField(_l("Last name"), validators=[Length(max=64)])
    email = EmailField(_l("E-mail"), validators=[DataRequired(), Email(), Length(max=320)])


class FormPage(PageView):
    """A page that is one form: reads `form_class`, calls save(form), leads to `done()`."""

    form_class: type[Any]

    def handle(self, title: Any, columns: list[str], save: Any, done: str, form: Any = None) -> Any:
        """Show the form, or save it and go to `done`; problems come back beside their fields."""
        form = form or self.form_class()
        left: list[str] = []
        if request.method == "POST" and form.validate():
            try:
                with transaction():
                    save(form)
            except NotFound:
                raise
            except EmbudoError as error:
                left = place(error, form, CommandInterface(User))
            else:
                self.toast(gettext("Saved."))
                return redirect(done)
        html = self.page(
            "admin/form.html",
            title=title,
            form=form,
            left=left,
            row=None,
            back=done,
            groups=[(None, {"fields": columns})],
        )
        return html, 422 if form.errors or left else 200


class ProfileView(FormPage):
    """The current user's own data."""

    class_permission_name = "Profile"
    roles = {"read": EVERYBODY, "write": EVERYBODY}
    route_base = "/profile"
    form_class = ProfileForm

    @expose("/", methods=["GET", "POST"])
    @may_write
    def index(self) -> Any:
        """Name and address."""
        user_id = current_user.id

        def save(form: Any) -> None:
            change_user(user_id, {name: form[name].data for name in ("first_name", "last_name", "email")})

        form = ProfileForm(obj=db.session.get(User, user_id))
        columns = ["first_name", "last_name", "email"]
        return self.handle(_l("My profile"), columns, save, url_for("HomeView.index"), form)


class MyPasswordView(FormPage):
    """The current user's password."""

    class_permission_name = "Profile"
    roles = ProfileView.roles
    route_base = "/password"
    form_class = OwnPassword

    @expose("/", methods=["GET", "POST"])
    @may_write
    def index(self) -> Any:
        """Change it, knowing the present one."""
        user_id = current_user.id

        def save(form: Any) -> None:
            user = db.session.get(User, user_id)
            if user is None or not check_password_hash(user.password or "", form.current.data):
                raise Invalid([problem("/current", "wrong", "This is not your present password.")])
            set_password(user_id, form.password.data)
            put_seal(user)

        columns = ["current", "password", "conf_password"]
        return self.handle(_l("Change password"), columns, save, url_for("HomeView.index"))


class PasswordView(FormPage):
    """Another user's password, for administrators."""

    class_permission_name = "Users"
    route_base = "/users/password"
    form_class = NewPassword

    @expose("/<int:user_id>", methods=["GET", "POST"])
    @may_write
    def index(self, user_id: int) -> Any:
        """Give a new password to who lost theirs."""
        user = db.session.get(User, user_id) if user_id < 2**31 else None
        if user is None:
            raise NotFound("user", user_id)
        title = gettext("New password for %(name)s", name=user.username)
        done = url_for("UserView.show", pk=user_id)
        columns = ["password", "conf_password"]
        return self.handle(title, columns, lambda form: set_password(user_id, form.password.data), done)
