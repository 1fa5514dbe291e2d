"""Who asks, and what they may do. Every route says which scope it needs; a test refuses a route that says nothing.

Doors differ (API key, session of the admin, signed call of a neighbour), what comes out is one Principal. Commands
and queries take it as an argument; they never look at requests.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, TypeVar

from flask import current_app, g, request
from sqlalchemy import String, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app.contracts.problems import Problem, problem
from app.kit import db
from app.kit.errors import Forbidden, Invalid, NotFound, Unauthorized

KEY_PREFIX = "emb_"
"""Begins every API key, so that leaked ones can be found by scanners."""

SCOPES = (
    "leads:read", "leads:write", "flows:read", "flows:write", "flows:publish",
    "conversations:read", "conversations:write", "status:read", "simulator:use",
    "templates:read", "email:read", "email:send", "email:write", "webhooks:read", "webhooks:write",
)  # fmt: skip
"""Everything a principal may be allowed to do through the API; each opens a route."""

ROLE_SCOPES: Mapping[str, frozenset[str]] = {
    "Admin": frozenset(SCOPES),
    "manager": frozenset(SCOPES) - {"webhooks:write"},
    "seller": frozenset(
        {
            "leads:read", "leads:write", "conversations:read", "conversations:write", "status:read",
            "templates:read", "email:send", "simulator:use", "flows:read",
        }
    ),
    "viewer": frozenset(scope for scope in SCOPES if scope.endswith(":read")),
}  # fmt: skip
"""What each role may do. A seller is limited to their own leads besides (Principal.own_only)."""

KEY_CACHE_SECONDS = 1.0
"""How long a process trusts a key it has looked up: the longest a revoked key goes on. One second costs a busy process
one indexed lookup a second, and whoever revokes a leaked key may believe it."""

USED_EVERY_SECONDS = 60
"""`last_used_at` is written at most this often."""

Base = db.bind_base(db.PLATFORM)


class ApiKey(Base):  # type: ignore[misc, valid-type]
    """A key for the REST interface. Only its hash is stored: 32 random bytes need no slow hash."""

    __tablename__ = "platform_api_key"

    id: Mapped[db.Id] = mapped_column(primary_key=True, default=db.new_id)
    name: Mapped[str] = mapped_column(String(120))
    prefix: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[Any] = mapped_column(db.Json)
    user_id: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.utcnow)
    created_by: Mapped[str] = mapped_column(String(120), default="")
    expires_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who acts. kind: user | api_key | service | system. own_only: sees and changes only their own leads.

    key_id: of the API key that speaks; names of keys need not be unique.
    """

    kind: str
    name: str
    user_id: int | None = None
    key_id: str | None = None
    roles: tuple[str, ...] = ()
    scopes: frozenset[str] = field(default_factory=frozenset)
    own_only: bool = False

    @property
    def identity(self) -> str:
        """What tells this principal from every other one: limits and repeated requests are counted by it."""
        return f"{self.kind}|{self.key_id or self.user_id or self.name}"

    def may(self, scope: str) -> bool:
        """Whether this principal has the scope."""
        return scope in self.scopes


SYSTEM = Principal(kind="system", name="system", scopes=frozenset(SCOPES))
"""Jobs and subscribers act as this one."""

Resolver = Callable[[], Principal | None]
View = TypeVar("View", bound=Callable[..., Any])


def register_resolver(app: Any, resolver: Resolver) -> None:
    """Add a way to recognise a principal from the request (the admin's session is one); API keys come first."""
    app.extensions.setdefault("embudo_resolvers", []).append(resolver)


def current() -> Principal:
    """The principal of the running request; raises Unauthorized when there is none."""
    if "embudo_principal" not in g:
        g.embudo_principal = _resolve()
    principal: Principal | None = g.embudo_principal
    if principal is None:
        raise Unauthorized("Send an API key as “Authorization: Bearer emb_…”, or log in.")
    return principal


def _resolve() -> Principal | None:
    presented = request.headers.get("X-Api-Key") or _bearer()
    if presented:
        return _by_key(presented)
    for resolver in current_app.extensions.get("embudo_resolvers", []):
        principal: Principal | None = resolver()
        if principal is not None:
            return principal
    return None


def _bearer() -> str | None:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def needs(scope: str) -> Callable[[View], View]:
    """Only principals with `scope` reach the view; others get 401 or 403 as problem+json."""
    if scope not in SCOPES:
        raise ValueError(f"unknown scope {scope}")

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            principal = current()
            if not principal.may(scope):
                raise Forbidden(
                    "This needs the scope %(scope)s; “%(name)s” does not have it.",
                    scope=scope,
                    name=principal.name,
                )
            return view(*args, **kwargs)

        guarded.embudo_auth = scope  # type: ignore[attr-defined]
        return guarded  # type: ignore[return-value]

    return decorate


def public(reason: str) -> Callable[[View], View]:
    """Declare that a view asks nobody for a key, and why (it verifies a signature, or shows nothing private)."""

    def decorate(view: View) -> View:
        view.embudo_auth = f"public: {reason}"  # type: ignore[attr-defined]
        return view

    return decorate


def principal_of(
    user_id: int,
    name: str,
    roles: Iterable[str],
    *,
    kind: str = "user",
    scopes: frozenset[str] | None = None,
    key_id: str | None = None,
) -> Principal:
    """A user's principal: the union of their roles' scopes, cut down to `scopes` when given."""
    roles = tuple(roles)
    allowed = frozenset().union(*(ROLE_SCOPES.get(role, frozenset()) for role in roles))
    return Principal(
        kind=kind,
        name=name,
        user_id=user_id,
        key_id=key_id,
        roles=roles,
        scopes=allowed if scopes is None else allowed & scopes,
        own_only="seller" in roles and not {"Admin", "manager", "viewer"} & set(roles),
    )


def digest_of(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


_seen: dict[str, tuple[float, Principal | None]] = {}


def _by_key(presented: str) -> Principal:
    digest = digest_of(presented)
    cache_key = f"{id(current_app._get_current_object())}:{digest}"  # type: ignore[attr-defined]
    until, principal = _seen.get(cache_key, (0.0, None))
    if until < time.monotonic():
        principal, lives = _load(digest)
        if len(_seen) > 1000:
            _seen.clear()
        _seen[cache_key] = (time.monotonic() + min(KEY_CACHE_SECONDS, lives), principal)
    if principal is None:
        raise Unauthorized("This API key is unknown, expired or revoked.")
    return principal


def _load(digest: str) -> tuple[Principal | None, float]:
    """The key's principal (None: it opens nothing), and for how many seconds the key is still valid."""
    now = db.utcnow()
    with db.engine_of(db.PLATFORM).connect() as connection:
        row = connection.execute(select(ApiKey.__table__).where(ApiKey.digest == digest)).mappings().first()
    if (
        row is None
        or row["revoked_at"] is not None
        or (row["expires_at"] is not None and row["expires_at"] <= now)
    ):
        return None, KEY_CACHE_SECONDS
    if row["last_used_at"] is None or (now - row["last_used_at"]).total_seconds() > USED_EVERY_SECONDS:
        _note_use(row["id"], now)
    lives = KEY_CACHE_SECONDS if row["expires_at"] is None else (row["expires_at"] - now).total_seconds()
    scopes = frozenset(row["scopes"])
    if row["user_id"] is None:
        return Principal(kind="api_key", name=row["name"], key_id=row["id"], scopes=scopes), lives
    user = current_app.extensions["embudo_find_user"](row["user_id"])
    if user is None:
        return None, KEY_CACHE_SECONDS
    name, roles = user
    return principal_of(row["user_id"], name, roles, kind="api_key", scopes=scopes, key_id=row["id"]), lives


def _note_use(key_id: str, now: datetime) -> None:
    # Its own short transaction: it must not join, or wait for, what the request is about to do.
    with db.engine_of(db.PLATFORM).begin() as connection:
        connection.execute(update(ApiKey.__table__).where(ApiKey.id == key_id).values(last_used_at=now))


def create_key(
    name: str,
    scopes: Iterable[str],
    *,
    expires_at: datetime | None = None,
    user_id: int | None = None,
    by: str = "",
) -> tuple[ApiKey, str]:
    """Add a key inside the running transaction: (row, the key itself, which is shown once and never again).

    Raises Invalid for a missing name, no or unknown scopes, an expiry in the past.
    """
    wanted = sorted(set(scopes))
    problems: list[Problem] = []
    if not name.strip():
        problems.append(problem("/name", "required", "Give the key a name that says who uses it."))
    if not wanted:
        problems.append(problem("/scopes", "required", "Choose at least one scope."))
    for scope in wanted:
        if scope not in SCOPES:
            problems.append(
                problem("/scopes", "unknown_scope", "There is no scope “%(scope)s”.", scope=scope)
            )
    if expires_at is not None and expires_at <= db.utcnow() + timedelta(seconds=1):
        problems.append(problem("/expires_at", "in_the_past", "The expiry must lie in the future."))
    if problems:
        raise Invalid(problems)
    plain = KEY_PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        name=name.strip()[:120],
        prefix=plain[:10],
        digest=digest_of(plain),
        scopes=wanted,
        user_id=user_id,
        created_by=by[:120],
        expires_at=expires_at,
    )
    db.db.session.add(row)
    return row, plain


def revoke_key(key_id: str) -> ApiKey:
    """Make a key useless (within KEY_CACHE_SECONDS everywhere); raises NotFound."""
    row: ApiKey | None = db.db.session.get(ApiKey, key_id)
    if row is None:
        raise NotFound("API key", key_id)
    row.revoked_at = row.revoked_at or db.utcnow()
    _seen.clear()
    return row


def list_keys() -> list[ApiKey]:
    """All keys, living ones first, newest first."""
    statement = select(ApiKey).order_by(ApiKey.revoked_at.is_not(None), ApiKey.created_at.desc()).limit(500)
    return list(db.db.session.scalars(statement))
