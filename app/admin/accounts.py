"""What may be done to users and roles, and the rules that keep somebody able to log in."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from flask_appbuilder.security.sqla.models import PermissionView, Role, User
from flask_login import current_user
from sqlalchemy import select
from werkzeug.security import generate_password_hash

from app.contracts.problems import Problem, problem
from app.kit.db import db, utcnow
from app.kit.errors import Conflict, Invalid, NotFound

PASSWORD_LENGTH = 12
"""Shortest password (NIST SP 800-63B asks for length, not for odd characters)."""

PASSWORD_MOST = 256
"""Longest password: hashing megabytes would keep a worker busy."""

PRODUCT_ROLES = ("Admin", "manager", "seller", "viewer")
"""Roles that set-up writes anew at every release, so changes by hand would be lost."""


NAME_LENGTH = 64
"""Longest name of a user or a role: what FAB's columns hold."""

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Characters that nobody sees although Python calls them printable: fillers, joiners, variation selectors."""


def check_password(password: str, *, near: str = "") -> list[Problem]:
    """What is wrong with a new password; `near` is what it must not simply repeat (the username)."""
    if len(password) < PASSWORD_LENGTH:
        return [
            problem("/password", "too_short", "Use at least %(least)s characters; a sentence is fine.",
                    least=PASSWORD_LENGTH)
        ]  # fmt: skip
    if len(password) > PASSWORD_MOST or len(set(password)) < 5 or (near and password.lower() == near.lower()):
        return [problem("/password", "too_simple", "This password is too easy to guess.")]
    return []


def _tidy(name: str) -> str:
    """The name as it is kept: in one way of writing it, without blanks around it or in a row."""
    return " ".join(unicodedata.normalize("NFKC", name).split())


def _is_taken(text: str, column: Any, key: Any, but: int | None) -> bool:
    """Whether another row looks the same. Not asked of the database: SQLite knows the case of ASCII only."""
    wanted = _tidy(text).casefold()
    rows = db.session.execute(select(key, column))
    return any(_tidy(other).casefold() == wanted for id_, other in rows if id_ != but)


def _check_name(name: str, where: str) -> list[Problem]:
    """What is wrong with a tidy name by itself: one that only looks like another's would be taken for theirs."""
    if len(name) > NAME_LENGTH:
        return [problem(where, "too_long", "At most %(limit)s characters.", limit=NAME_LENGTH)]
    if not name.isprintable() or _UNSEEN.search(name):
        return [problem(where, "unseen", "It holds characters that nobody sees.")]
    return []


def _check_user(values: dict[str, Any], but: int | None = None) -> list[Problem]:
    """Tidies the username in place; what is wrong with it and with the address."""
    problems = []
    if values.get("username"):
        values["username"] = _tidy(values["username"])
        problems += _check_name(values["username"], "/username")
    for name in ("username", "email"):
        if values.get(name) and _is_taken(values[name], getattr(User, name), User.id, but):
            problems.append(problem(f"/{name}", "taken", "Somebody else has this already."))
    return problems


def _role_name(text: str, but: int | None = None) -> str:
    """The name as it is kept; raises Invalid, and Conflict when another role looks the same."""
    name = _tidy(text)
    if problems := _check_name(name, "/name"):
        raise Invalid(problems)
    if _is_taken(name, Role.name, Role.id, but):
        raise Conflict(problem("/name", "taken", "There is a role with this name already."))
    return name


def _roles(keys: list[int]) -> list[Role]:
    return list(db.session.scalars(select(Role).where(Role.id.in_(keys))))


def add_user(values: dict[str, Any]) -> User:
    """Add a user; raises Invalid for a weak password, a taken name or address, or no role."""
    values = dict(values)
    password, keys = values.pop("password") or "", values.pop("roles")
    values.pop("conf_password", None)
    problems = _check_user(values)
    problems += check_password(password, near=values.get("username") or "")
    roles = _roles(keys)
    if not roles:
        problems.append(problem("/roles", "required", "Choose at least one role."))
    if problems:
        raise Invalid(problems)
    user = User(**values, roles=roles, password=generate_password_hash(password))
    db.session.add(user)
    db.session.flush()
    return user


def change_user(user_id: int, changes: dict[str, Any]) -> None:
    """Change a user; the last administrator stays one. Raises NotFound, Invalid, Conflict."""
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound("user", user_id)
    problems = _check_user(changes, but=user_id)
    roles = _roles(changes.pop("roles")) if "roles" in changes else list(user.roles)
    if not roles:
        problems.append(problem("/roles", "required", "Choose at least one role."))
    if problems:
        raise Invalid(problems)
    active = changes.get("active", user.active)
    if not (active and any(role.name == "Admin" for role in roles)):
        _keep_an_admin(user)
    for name, value in changes.items():
        setattr(user, name, value)
    user.roles = roles
    user.changed_on = utcnow().replace(tzinfo=None)


def delete_user(user_id: int) -> None:
    """Remove a user. Raises NotFound; Conflict for oneself and for the last administrator."""
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound("user", user_id)
    if user.id == current_user.id:
        raise Conflict(problem("", "yourself", "You cannot delete yourself."))
    _keep_an_admin(user)
    if db.session.execute(
        select(User.id).where((User.created_by_fk == user_id) | (User.changed_by_fk == user_id))
    ).first():
        raise Conflict(problem("", "has_history", "This user created others. Switch the user off instead."))
    db.session.delete(user)


def _keep_an_admin(but: User) -> None:
    others = select(User.id).where(
        User.id != but.id, User.active.is_(True), User.roles.any(Role.name == "Admin")
    )
    if (
        any(role.name == "Admin" for role in but.roles)
        and db.session.execute(others.limit(1)).first() is None
    ):
        raise Conflict(problem("", "last_admin", "There must be at least one active administrator."))


def set_password(user_id: int, password: str) -> None:
    """Give a user a new password; raises NotFound, Invalid."""
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound("user", user_id)
    if problems := check_password(password, near=user.username):
        raise Invalid(problems)
    user.password = generate_password_hash(password)


def add_role(values: dict[str, Any]) -> Role:
    """Add a role of one's own; raises Invalid for a name that cannot be, Conflict when it is taken."""
    role = Role(name=_role_name(values["name"]), permissions=_permissions(values["permissions"]))
    db.session.add(role)
    db.session.flush()
    return role


def change_role(role_id: int, changes: dict[str, Any]) -> None:
    """Change a role of one's own; raises NotFound, Invalid, and Conflict for a role of the product."""
    role = _own_role(role_id)
    if "name" in changes:
        role.name = _role_name(changes["name"], but=role_id)
    if "permissions" in changes:
        role.permissions = _permissions(changes["permissions"])


def delete_role(role_id: int) -> None:
    """Remove a role of one's own that nobody has; raises NotFound, Conflict."""
    role = _own_role(role_id)
    if db.session.execute(select(User.id).where(User.roles.any(Role.id == role_id)).limit(1)).first():
        raise Conflict(problem("", "in_use", "Somebody has this role. Give them another one first."))
    db.session.delete(role)


def _own_role(role_id: int) -> Role:
    role = db.session.get(Role, role_id)
    if role is None:
        raise NotFound("role", role_id)
    if role.name in PRODUCT_ROLES:
        raise Conflict(
            problem(
                "", "product_role", "This role belongs to the product and cannot be changed. Copy it instead."
            )
        )
    return role


def _permissions(keys: list[int]) -> list[PermissionView]:
    return list(db.session.scalars(select(PermissionView).where(PermissionView.id.in_(keys))))
