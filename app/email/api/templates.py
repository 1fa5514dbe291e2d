"""Templates by REST: what there is, and what it would look like."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.email import queries
from app.email.api.blueprint import bp
from app.email.models import CATEGORIES, LANGUAGES
from app.email.queries import TemplateInUse
from app.email.render import preview
from app.kit import zone
from app.kit.auth import needs
from app.kit.rest import Body, Page, PageQuery, bad_cursor, decode_cursor, encode_cursor, endpoint
from app.kit.rest.problems import show_problem

Language = Annotated[str, Field(pattern="^[a-z]{2}$", examples=list(LANGUAGES))]


class VariableOut(BaseModel):
    """A variable that a template declares."""

    name: str
    type: str
    required: bool
    default: Any
    sample: Any
    description: str


class TemplateOut(BaseModel):
    """A template as it is in use."""

    key: str
    language: str
    name: str
    category: Literal["transactional", "marketing"]
    version: int
    format: str
    subject: str
    variables: list[VariableOut]
    updated_at: str


class TemplateDetail(TemplateOut):
    """A template with its texts."""

    body: str
    text: str


class TemplatesQuery(PageQuery):
    """Which templates to list."""

    language: Language | None = None


class TemplateQuery(BaseModel):
    """Which language of a template; left out: the first that exists."""

    model_config = ConfigDict(extra="forbid")

    language: Language | None = None


class PreviewIn(Body):
    """Values for a preview; what is missing is filled with samples."""

    language: Language | None = None
    variables: dict[str, Any] = Field(default_factory=dict)


class PreviewProblem(BaseModel):
    """Something that is wrong with the template or the values; a code that begins with `warning_` is advice."""

    where: str
    code: str
    message: str
    params: dict[str, Any]


class PreviewOut(BaseModel):
    """A mail as it would be sent; the parts are null when it cannot be made."""

    subject: str | None
    html: str | None
    text: str | None
    problems: list[PreviewProblem]


@bp.get("/templates")
@needs("templates:read")
@endpoint(query=TemplatesQuery, out=Page[TemplateOut], tags=("templates",), summary="List e-mail templates")
def templates(query: TemplatesQuery) -> dict[str, Any]:
    """By key and language."""
    position = decode_cursor(query.cursor, 2)
    if position is not None and not all(isinstance(part, str) for part in position):
        raise bad_cursor()
    found = queries.list_templates(
        language=query.language,
        after=(position[0], position[1]) if position else None,
        limit=query.limit + 1,
    )
    shown = found[: query.limit]
    last = shown[-1].template if shown else None
    return {
        "items": [_template(item) for item in shown],
        "next": encode_cursor(last.key, last.language) if last and len(found) > query.limit else None,
    }


@bp.get("/templates/<key>")
@needs("templates:read")
@endpoint(query=TemplateQuery, out=TemplateDetail, tags=("templates",), summary="One e-mail template")
def template(key: str, query: TemplateQuery) -> dict[str, Any]:
    """With its texts."""
    found = queries.get_template(key, query.language)
    return {**_template(found), "body": found.version.body, "text": found.version.text}


@bp.post("/templates/<key>/preview")
@needs("templates:read")
@endpoint(
    body=PreviewIn,
    out=PreviewOut,
    tags=("templates",),
    summary="Preview an e-mail template",
    example={"language": "es", "variables": {"name": "Lucía"}},
)
def show_preview(key: str, body: PreviewIn) -> dict[str, Any]:
    """Made by the same renderer that makes the mails."""
    found = queries.get_template(key, body.language)
    shown = preview(found.source, body.variables, now=zone.now())
    rendered = shown.rendered
    return {
        "subject": rendered.subject if rendered else None,
        "html": rendered.html if rendered else None,
        "text": rendered.text if rendered else None,
        "problems": [show_problem(item) for item in shown.problems],
    }


def _template(found: TemplateInUse) -> dict[str, Any]:
    return {
        "key": found.template.key,
        "language": found.template.language,
        "name": found.template.name,
        "category": found.template.category,
        "version": found.version.number,
        "format": found.version.format,
        "subject": found.version.subject,
        "variables": found.version.variables,
        "updated_at": found.template.updated_at.isoformat(),
    }


assert set(CATEGORIES) == set(TemplateOut.model_fields["category"].annotation.__args__)  # type: ignore[union-attr]
