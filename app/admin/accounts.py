"""What may be done to users and roles, and the rules that keep somebody able to log in."""

from __future__ import annotations

from typing import Any

from flask_appbuilder.security.sqla.models import PermissionView, Role, User
from flask_login import current_user
from sqlalchemy import func, select
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


def _check_unique(values: dict[str, Any], but: int | None = None) -> list[Problem]:
    problems = []
    for name in ("username", "email"):
        if not values.get(name):
            continue
        taken = select(User.id).where(func.lower(getattr(User, name)) == values[name].lower())
        if but is not None:
            taken = taken.where(User.id != but)
        if db.session.execute(taken).first():
            problems.append(problem(f"/{name}", "taken", "Somebody else has this already."))
    return problems


def _roles(keys: list[int]) -> list[Role]:
    return list(db.session.scalars(select(Role).where(Role.id.in_(keys))))


def add_user(values: dict[str, Any]) -> User:
    """Add a user; raises Invalid for a weak password, a taken name or address, or no role."""
    values = dict(values)
    password, keys = values.pop("password") or "", values.pop("roles")
    values.pop("conf_password", None)
    problems = check_password(password, near=values.get("username") or "") + _check_unique(values)
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
    problems = _check_unique(changes, but=user_id)
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
    """Add a role of one's own; raises Conflict when the name is taken."""
    if db.session.execute(select(Role.id).where(Role.name == values["name"])).first():
        raise Conflict(problem("/name", "taken", "There is a role with this name already."))
    role = Role(name=values["name"], permissions=_permissions(values["permissions"]))
    db.session.add(role)
    db.session.flush()
    return role


def change_role(role_id: int, changes: dict[str, Any]) -> None:
    """Change a role of one's own; raises NotFound, and Conflict for a role of the product."""
    role = _own_role(role_id)
    name = changes.get("name", role.name)
    if db.session.execute(select(Role.id).where(Role.name == name, Role.id != role_id)).first():
        raise Conflict(problem("/name", "taken", "There is a role with this name already."))
    role.name = name
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
