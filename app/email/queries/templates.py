"""Templates and their versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select

from app.email.models import (
    LANGUAGES,
    Template,
    TemplateVersion,
)
from app.email.render import Source
from app.email.render.values import read_variables
from app.kit.db import db, is_id
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
        raise NotFound("e-mail template", f"“{key}”" + (f" ({language})" if language else ""))
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
