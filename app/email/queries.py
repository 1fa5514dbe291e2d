"""What the doors of the email service read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, and_, func, or_, select, type_coerce
from sqlalchemy.orm import defer

from app.email.models import (
    DEFERRED,
    FAILED,
    LANGUAGES,
    OPEN,
    QUEUED,
    SENDING,
    SENT,
    UNKNOWN,
    Attempt,
    Happening,
    Message,
    Notice,
    Provider,
    Suppression,
    Template,
    TemplateVersion,
)
from app.email.providers.ways import WAYS, Way
from app.email.render import Source
from app.email.render.values import read_variables
from app.kit.db import db, utcnow
from app.kit.errors import NotFound
from app.kit.secrets import Undecryptable, decrypt


@dataclass(frozen=True, kw_only=True)
class TemplateInUse:
    """A template with the version that is sent now."""

    template: Template
    version: TemplateVersion

    @property
    def source(self) -> Source:
        """What the renderer needs."""
        return source_of(self.version, self.template.language)


def source_of(version: TemplateVersion, language: str) -> Source:
    """A stored version as the renderer's input."""
    return Source(
        subject=version.subject,
        body=version.body,
        format=version.format,
        text=version.text,
        variables=read_variables(version.variables),
        language=language,
    )


def is_id(text: str) -> bool:
    """Whether the text can be one of our ids at all; PostgreSQL refuses to compare others."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def find_template(key: str, language: str | None, *, exact: bool = False) -> TemplateInUse | None:
    """The living template of that key: in the language, else (unless exact) in the first of LANGUAGES it exists in."""
    wanted = [language] if language and exact else [*([language] if language else []), *LANGUAGES]
    rows = db.session.execute(
        select(Template, TemplateVersion)
        .join(
            TemplateVersion,
            and_(TemplateVersion.template_id == Template.id, TemplateVersion.number == Template.version),
        )
        .where(Template.key == key, Template.archived_at.is_(None), Template.language.in_(wanted))
    ).all()
    by_language = {
        template.language: TemplateInUse(template=template, version=version) for template, version in rows
    }
    return next((by_language[code] for code in wanted if code in by_language), None)


def get_template(key: str, language: str | None) -> TemplateInUse:
    """As find_template; exact when a language is given. Raises NotFound."""
    found = find_template(key, language, exact=True)
    if found is None:
        raise NotFound("e-mail template", f"“{key}”" + (f" in “{language}”" if language else ""))
    return found


def template_exists(key: str, language: str) -> bool:
    """Whether the key is taken in that language, also by an archived template."""
    statement = select(Template.id).where(Template.key == key, Template.language == language)
    return db.session.scalar(statement) is not None


def template_by_id(template_id: str) -> TemplateInUse:
    """A template, archived or not, with its version in use. Raises NotFound."""
    row = (
        db.session.execute(
            select(Template, TemplateVersion)
            .join(
                TemplateVersion,
                and_(TemplateVersion.template_id == Template.id, TemplateVersion.number == Template.version),
            )
            .where(Template.id == template_id)
        ).first()
        if is_id(template_id)
        else None
    )
    if row is None:
        raise NotFound("e-mail template", template_id)
    return TemplateInUse(template=row[0], version=row[1])


def versions_of(template_id: str, limit: int = 100) -> Sequence[TemplateVersion]:
    """The versions, newest first."""
    return db.session.scalars(
        select(TemplateVersion)
        .where(TemplateVersion.template_id == template_id)
        .order_by(TemplateVersion.number.desc())
        .limit(limit)
    ).all()


def list_templates(
    *, language: str | None = None, after: tuple[str, str] | None = None, limit: int = 50
) -> list[TemplateInUse]:
    """Living templates by key and language; after: key and language of the last one seen."""
    statement = (
        select(Template, TemplateVersion)
        .join(
            TemplateVersion,
            and_(TemplateVersion.template_id == Template.id, TemplateVersion.number == Template.version),
        )
        .where(Template.archived_at.is_(None))
        .order_by(Template.key, Template.language)
        .limit(limit)
    )
    if language:
        statement = statement.where(Template.language == language)
    if after:
        key, code = after
        statement = statement.where(
            or_(Template.key > key, and_(Template.key == key, Template.language > code))
        )
    return [TemplateInUse(template=row[0], version=row[1]) for row in db.session.execute(statement)]


def get_message(message_id: str) -> Message:
    """A message. Raises NotFound."""
    message: Message | None = db.session.get(Message, message_id) if is_id(message_id) else None
    if message is None:
        raise NotFound("e-mail", message_id)
    return message


def attempts_of(message_id: str, limit: int = 100) -> Sequence[Attempt]:
    """The tries, newest first."""
    return db.session.scalars(
        select(Attempt).where(Attempt.message_id == message_id).order_by(Attempt.id.desc()).limit(limit)
    ).all()


def list_messages(
    *,
    status: str | None = None,
    lead_id: str | None = None,
    search: str = "",
    before: str | None = None,
    limit: int = 50,
) -> Sequence[Message]:
    """Messages, newest first, without their bodies.

    search: part of the recipient or the subject. before: id of the last one seen.
    """
    statement = (
        select(Message)
        .options(defer(Message.html), defer(Message.text), defer(Message.variables))
        .order_by(Message.id.desc())
        .limit(limit)
    )
    conditions: list[Any] = []
    if status:
        conditions.append(Message.status == status)
    if lead_id:
        conditions.append(Message.lead_id == lead_id)
    if before:
        conditions.append(Message.id < before)
    if search.strip():
        part = search.strip()
        conditions.append(
            or_(Message.to.icontains(part, autoescape=True), Message.subject.icontains(part, autoescape=True))
        )
    return db.session.scalars(statement.where(*conditions)).all()


def has_due() -> bool:
    """Whether any message should be sent, or taken back from a worker that died."""
    now = utcnow()
    found = db.session.execute(
        select(Message.id)
        .where(
            Message.status.in_(OPEN),
            Message.next_attempt_at <= now,
            or_(Message.claimed_until.is_(None), Message.claimed_until < now),
        )
        .limit(1)
    ).first()
    return found is not None


def count_by_status() -> dict[str, int]:
    """How many messages there are in each status."""
    rows = db.session.execute(select(Message.status, func.count()).group_by(Message.status))
    return {row[0]: row[1] for row in rows}


def count_sent_today(now: datetime | None = None) -> int:
    """Messages that left since midnight, UTC."""
    midnight = (now or utcnow()).replace(hour=0, minute=0, second=0, microsecond=0)
    return _count(Message.status == SENT, Message.sent_at >= midnight)


def count_waiting() -> int:
    """Messages that will still leave by themselves."""
    return _count(Message.status.in_(OPEN))


def count_troubled(days: int = 7) -> int:
    """Messages of the last days that failed, or of which nobody knows whether they arrived."""
    return _count(
        Message.status.in_((FAILED, UNKNOWN)), Message.created_at >= utcnow() - timedelta(days=days)
    )


def oldest_waiting() -> datetime | None:
    """Since when the oldest open message has waited."""
    return db.session.scalar(
        select(func.min(Message.created_at)).where(Message.status.in_((QUEUED, SENDING, DEFERRED)))
    )


def count_sent_by(now: datetime | None = None) -> dict[str, int]:
    """Messages that left since midnight, UTC, by provider."""
    midnight = (now or utcnow()).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = db.session.execute(
        select(Message.provider, func.count()).where(Message.sent_at >= midnight).group_by(Message.provider)
    )
    return {row[0] or "": row[1] for row in rows}


def _count(*where: Any) -> int:
    return int(db.session.scalar(select(func.count()).select_from(Message).where(*where)) or 0)


@dataclass(frozen=True, kw_only=True)
class ChosenWay:
    """A way out as it is used now.

    config: the app's configuration under what was typed into the admin. rate: mails a second that we allow
    ourselves, None for what the provider tells. error: of its last failure; at: when that was.
    """

    way: Way
    config: Mapping[str, Any]
    enabled: bool = True
    rate: float | None = None
    undecryptable: bool = False
    own_settings: tuple[str, ...] = ()
    error_code: str | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None

    @property
    def name(self) -> str:
        """The way's name."""
        return self.way.name

    @property
    def is_configured(self) -> bool:
        """Whether there is enough to try it."""
        return self.way.is_configured(self.config)


def all_ways(config: Mapping[str, Any]) -> list[ChosenWay]:
    """Every way out there is, in the order in which they are tried; also those that are off or not configured."""
    named = tuple(config.get("MAIL_PROVIDERS") or ())
    rates: Mapping[str, float] = config.get("MAIL_RATES") or {}
    rows = {
        row.name: row
        for row in db.session.execute(
            select(
                Provider.name,
                Provider.position,
                Provider.enabled,
                Provider.rate,
                Provider.error_code,
                Provider.last_error,
                Provider.last_error_at,
                type_coerce(Provider.__table__.c.settings, LargeBinary).label(
                    "settings"
                ),  # one bad secret must not stop all
            )
        )
    }
    found: list[tuple[tuple[int, int, int], ChosenWay]] = []
    for place, way in enumerate(WAYS.values()):
        row = rows.get(way.name)
        own, readable = _settings(row.settings if row else None)
        chosen = ChosenWay(
            way=way,
            config={**config, **own},
            enabled=row.enabled if row and row.enabled is not None else not named or way.name in named,
            rate=row.rate if row and row.rate else rates.get(way.name),
            undecryptable=not readable,
            own_settings=tuple(own),
            error_code=row.error_code if row else None,
            last_error=row.last_error if row else None,
            last_error_at=row.last_error_at if row else None,
        )
        position = row.position if row and row.position is not None else len(WAYS)
        found.append(((position, named.index(way.name) if way.name in named else len(named), place), chosen))
    return [chosen for _, chosen in sorted(found, key=lambda item: item[0])]


def usable_ways(config: Mapping[str, Any]) -> list[ChosenWay]:
    """The ways out that are on and configured, in order. Empty: mails stay in the local outbox."""
    return [chosen for chosen in all_ways(config) if chosen.enabled and chosen.is_configured]


def _settings(stored: bytes | None) -> tuple[dict[str, Any], bool]:
    if not stored:
        return {}, True
    try:
        return dict(decrypt(stored)), True
    except Undecryptable:
        return {}, False


def happenings_of(message_id: str, limit: int = 100) -> Sequence[Happening]:
    """What providers told of a message, newest first."""
    return db.session.scalars(
        select(Happening)
        .where(Happening.message_id == message_id)
        .order_by(Happening.at.desc(), Happening.id.desc())
        .limit(limit)
    ).all()


def has_notices() -> bool:
    """Whether a provider's notice waits to be understood."""
    now = utcnow()
    return (
        db.session.execute(
            select(Notice.id)
            .where(
                Notice.next_attempt_at <= now, or_(Notice.claimed_until.is_(None), Notice.claimed_until < now)
            )
            .limit(1)
        ).first()
        is not None
    )


def get_suppression(suppression_id: str) -> Suppression:
    """A suppression. Raises NotFound."""
    row: Suppression | None = db.session.get(Suppression, suppression_id) if is_id(suppression_id) else None
    if row is None:
        raise NotFound("suppression", suppression_id)
    return row


def find_suppression(address: str, scope: str) -> Suppression | None:
    """The suppression of an address in exactly that scope."""
    found: Suppression | None = db.session.scalar(
        select(Suppression).where(Suppression.address == address.lower(), Suppression.scope == scope)
    )
    return found


def list_suppressions(
    *, address: str | None = None, before: str | None = None, limit: int = 50
) -> Sequence[Suppression]:
    """Suppressions, newest first. before: id of the last one seen."""
    conditions: list[Any] = []
    if address:
        conditions.append(Suppression.address == address.strip().lower())
    if before:
        conditions.append(Suppression.id < before)
    return db.session.scalars(
        select(Suppression).where(*conditions).order_by(Suppression.id.desc()).limit(limit)
    ).all()
