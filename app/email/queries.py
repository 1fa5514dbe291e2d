"""What the doors of the email service read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select
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
    Message,
    Template,
    TemplateVersion,
)
from app.email.render import Source
from app.email.render.values import read_variables
from app.kit.db import db, utcnow
from app.kit.errors import NotFound


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


def _count(*where: Any) -> int:
    return int(db.session.scalar(select(func.count()).select_from(Message).where(*where)) or 0)
