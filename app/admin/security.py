"""Who may do what: FAB's users and roles, read once per request, and turned into the Principal of all doors.

The four roles of the product are what the code says; set-up writes them anew at every release. Whoever wants
a different one copies a role under a new name.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from flask import Flask, current_app, g, request
from flask_appbuilder.security.sqla.manager import SecurityManager
from flask_appbuilder.security.sqla.models import (
    Permission,
    PermissionView,
    Role,
    User,
    ViewMenu,
    assoc_permissionview_role,
    assoc_user_role,
)
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import current_user
from flask_wtf.csrf import ValidationError, validate_csrf
from sqlalchemy import select
from sqlalchemy.orm import selectinload
from werkzeug.security import generate_password_hash

from app.admin import seals
from app.admin.account_views import LoginView, MyPasswordView, PasswordView, ProfileView, RoleView, UserView
from app.admin.accounts import PRODUCT_ROLES as ROLES
from app.admin.menu import add_screen
from app.kit import auth
from app.kit.db import db, transaction, utcnow
from app.kit.errors import Forbidden

ADMIN = "Admin"
"""The role that may everything. The others' rights are declared by the screens, API scopes in kit.auth."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing, hence need no CSRF token."""

LOGIN_LIMIT = "10 per minute"
"""Attempts to log in, per address; the 11th is answered 429."""


class _LoginLimiter(Limiter):  # type: ignore[misc]
    """Asks where somebody is limited, and nowhere else: it would take a tenth of the time of every quick request."""

    blueprints: frozenset[str] = frozenset()

    def _check_request_limit(self, *args: Any, **kwargs: Any) -> None:
        if request.blueprint in self.blueprints:
            super()._check_request_limit(*args, **kwargs)


class EmbudoSecurityManager(SecurityManager):  # type: ignore[misc]
    """FAB's security with our screens, one query per request, and without its unlimited login API."""

    authdbview = LoginView
    userstatschartview = None

    def create_limiter(self, app: Flask) -> Limiter:
        """By address; FAB's own looks at every request."""
        limiter = _LoginLimiter(key_func=get_remote_address)
        limiter.init_app(app)
        return limiter

    def register_views(self) -> None:
        """Only what the product uses; FAB's own list has an API whose login nobody limits."""
        self.auth_view = self.authdbview()
        self.appbuilder.add_view_no_menu(self.auth_view)
        self.limiter.limit(LOGIN_LIMIT, methods=["POST"])(self.auth_view.blueprint)
        self.limiter.blueprints = frozenset({self.auth_view.blueprint.name})
        self.user_view = add_screen(self.appbuilder, UserView)
        add_screen(self.appbuilder, RoleView)
        for view in (ProfileView, MyPasswordView, PasswordView):
            self.appbuilder.add_view_no_menu(view)

    def has_access(self, permission_name: str, view_name: str) -> bool:
        """Whether the current user has the permission; the first question of a request asks for all."""
        return (permission_name, view_name) in grants()

    def is_item_public(self, permission_name: str, view_name: str) -> bool:
        """Nothing is public by permission; what is public has no @has_access."""
        return False

    def load_user(self, pk: Any) -> Any:
        """The user of a session, with their roles; None for one who is gone, switched off, or has a new password."""
        user = self.active_user(pk)
        return user if user is not None and seals.holds(user) else None

    def active_user(self, pk: Any) -> Any:
        """The user with their roles; None for one who is gone or was switched off."""
        if not str(pk).isdecimal():
            return None
        statement = select(User).where(User.id == int(pk)).options(selectinload(User.roles))
        user = self.session.scalars(statement).first()
        return user if user is not None and user.active else None

    def update_user_auth_stat(self, user: Any, success: bool = True) -> None:
        """Count the login in a transaction of its own: FAB's would join whatever was read before."""
        key = user.id
        with transaction() as session:
            row = session.get(User, key)
            if success:
                row.login_count = (row.login_count or 0) + 1
                row.fail_login_count = 0
                row.last_login = utcnow().replace(tzinfo=None)  # FAB's columns hold naive times; ours are UTC
            else:
                row.fail_login_count = (row.fail_login_count or 0) + 1


def grants() -> frozenset[tuple[str, str]]:
    """The current user's (permission, view) pairs, asked once per request."""
    if "embudo_grants" not in g:
        user = current_user
        g.embudo_grants = _grants_of(user.id) if user.is_authenticated else frozenset()
    found: frozenset[tuple[str, str]] = g.embudo_grants
    return found


def _grants_of(user_id: int) -> frozenset[tuple[str, str]]:
    statement = (
        select(Permission.name, ViewMenu.name)
        .select_from(assoc_user_role)
        .join(assoc_permissionview_role, assoc_permissionview_role.c.role_id == assoc_user_role.c.role_id)
        .join(PermissionView, PermissionView.id == assoc_permissionview_role.c.permission_view_id)
        .join(Permission, Permission.id == PermissionView.permission_id)
        .join(ViewMenu, ViewMenu.id == PermissionView.view_menu_id)
        .where(assoc_user_role.c.user_id == user_id)
    )
    return frozenset((permission, view) for permission, view in db.session.execute(statement))


def session_principal() -> auth.Principal | None:
    """The principal of a logged-in browser; raises Forbidden when a change comes without the CSRF header."""
    user = current_user
    if not user.is_authenticated:
        return None
    if request.method not in SAFE_METHODS and not g.get("csrf_valid"):
        try:
            validate_csrf(request.headers.get("X-CSRFToken"))
        except ValidationError:
            raise Forbidden("Send the header X-CSRFToken with the page's token.") from None
        g.csrf_valid = True
    return auth.principal_of(user.id, user.username, [role.name for role in user.roles])


def find_user(user_id: int) -> tuple[str, list[str]] | None:
    """Name and roles of an active user, for API keys that act as somebody."""
    user = current_app.appbuilder.sm.active_user(user_id)  # type: ignore[attr-defined]
    return None if user is None else (user.username, [role.name for role in user.roles])


def init_principals(app: Flask) -> None:
    """Tell the kit how a browser's session becomes a principal."""
    auth.register_resolver(app, session_principal)
    seals.init_seals(app)


def setup_security(app: Flask) -> tuple[str, str] | None:
    """Write permissions and roles for every served screen, and the first user; idempotent.

    Returns the first user's name and generated password (to be shown once), or None when there was nothing to
    generate. Permissions of screens that are not served here stay: another process may serve them.
    """
    with app.app_context():
        with transaction() as session:
            wanted = _declared()
            _write_permissions(session, {pair for pairs in wanted.values() for pair in pairs})
            _write_roles(session, wanted)
        return _first_user(app)


def _declared() -> dict[str, set[tuple[str, str]]]:
    """Role → (permission, view) pairs, as the registered views say."""
    wanted: dict[str, set[tuple[str, str]]] = {role: set() for role in ROLES}
    for view in current_app.appbuilder.baseviews:  # type: ignore[attr-defined]
        subject = view.class_permission_name
        for permission in view.base_permissions:
            wanted[ADMIN].add((permission, subject))
        roles = getattr(view, "roles", {})
        for kind in ("read", "write"):
            if f"can_{kind}" not in view.base_permissions:
                continue
            for role in roles.get(kind, ()):
                if role not in ROLES:
                    raise LookupError(
                        f"{type(view).__name__}.roles names “{role}”; there are {', '.join(ROLES)}"
                    )
                wanted[role].add((f"can_{kind}", subject))
    return wanted


def _write_permissions(session: Any, pairs: Iterable[tuple[str, str]]) -> None:
    permissions = {row.name: row for row in session.scalars(select(Permission))}
    subjects = {row.name: row for row in session.scalars(select(ViewMenu))}
    known = {(row.permission_id, row.view_menu_id) for row in session.scalars(select(PermissionView))}
    for permission, subject in sorted(pairs):
        if permission not in permissions:
            permissions[permission] = Permission(name=permission)
            session.add(permissions[permission])
        if subject not in subjects:
            subjects[subject] = ViewMenu(name=subject)
            session.add(subjects[subject])
    session.flush()
    for permission, subject in sorted(pairs):
        key = (permissions[permission].id, subjects[subject].id)
        if key not in known:
            session.add(PermissionView(permission_id=key[0], view_menu_id=key[1]))
    session.flush()


def _write_roles(session: Any, wanted: dict[str, set[tuple[str, str]]]) -> None:
    served = {subject for pairs in wanted.values() for _, subject in pairs}
    rows = session.scalars(
        select(PermissionView).options(
            selectinload(PermissionView.permission), selectinload(PermissionView.view_menu)
        )
    ).all()
    by_pair = {(row.permission.name, row.view_menu.name): row for row in rows}
    roles = {row.name: row for row in session.scalars(select(Role).options(selectinload(Role.permissions)))}
    for name in ROLES:
        if name not in roles:
            roles[name] = Role(name=name)
            session.add(roles[name])
        others = [row for row in roles[name].permissions if row.view_menu.name not in served]
        target = others + [by_pair[pair] for pair in sorted(wanted[name])]
        if {row.id for row in target} != {row.id for row in roles[name].permissions}:
            roles[name].permissions = target


def _first_user(app: Flask) -> tuple[str, str] | None:
    with transaction() as session:
        if session.scalar(select(User.id).limit(1)) is not None:
            return None
        given = app.config.get("ADMIN_PASSWORD") or ""
        password = given or secrets.token_urlsafe(12)
        role = session.scalars(select(Role).where(Role.name == ADMIN)).one()
        session.add(
            User(
                username="admin",
                first_name="Admin",
                last_name="",
                email="admin@localhost",
                active=True,
                password=generate_password_hash(password),
                roles=[role],
            )
        )
    return None if given else ("admin", password)


def reset_password(username: str) -> str | None:
    """Give a user a new generated password and let them log in again; None when there is no such user."""
    password = secrets.token_urlsafe(12)
    with transaction() as session:
        user = session.scalars(select(User).where(User.username == username)).first()
        if user is None:
            return None
        user.password = generate_password_hash(password)
        user.active = True
        user.fail_login_count = 0
    return password
