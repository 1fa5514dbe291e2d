"""What the interface shows and takes of leads.

The models describe for the document; they refuse nothing that a command would, so that all problems are told at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, WithJsonSchema

from app.kit.rest import Body, Moment, PageQuery
from app.kit.storable import storable
from app.leads import matching
from app.leads.commands.values import CUSTOM_KEYS, NOTES_LENGTH, TAG_LENGTH, TAGS_PER_LEAD
from app.leads.models import EMAIL_LENGTH, NAME_LENGTH, SOURCES
from app.leads.queries import lists, people


def _text(limit: int, *, nullable: bool = False, **more: Any) -> Any:
    return WithJsonSchema({"type": ["string", "null"] if nullable else "string", "maxLength": limit, **more})


class LeadIn(BaseModel):
    """A lead's fields; one of name, email and phone must be there. Checked by the commands, all at once."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})

    name: Annotated[Any, _text(NAME_LENGTH, nullable=True, examples=["Lucía Fernández"])] = ""
    company: Annotated[Any, _text(NAME_LENGTH, nullable=True)] = ""
    email: Annotated[Any, _text(EMAIL_LENGTH, nullable=True, examples=["lucia@example.com"])] = None
    phone: Annotated[
        Any,
        _text(
            matching.PHONE_TEXT,
            nullable=True,
            description="Any spelling; kept as E.164. Without country code: the configured country's.",
            examples=["+34 600 000 012"],
        ),
    ] = None
    stage: Annotated[Any, _text(40, description="Key of a stage, see GET /stages")] = "new"
    source: Annotated[Any, WithJsonSchema({"type": "string", "enum": list(SOURCES)})] = "api"
    language: Annotated[Any, _text(10, examples=["es"])] = "es"
    owner_id: Annotated[Any, WithJsonSchema({"type": ["integer", "null"], "minimum": 1})] = None
    amount: Annotated[Any, WithJsonSchema({"type": ["number", "string", "null"]})] = None
    currency: Annotated[Any, _text(3, minLength=3, description="ISO 4217")] = "EUR"
    next_contact_on: Annotated[Any, WithJsonSchema({"type": ["string", "null"], "format": "date"})] = None
    notes: Annotated[Any, _text(NOTES_LENGTH, nullable=True)] = ""
    custom: Annotated[
        Any,
        WithJsonSchema(
            {
                "type": ["object", "null"],
                "maxProperties": CUSTOM_KEYS,
                "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            }
        ),
    ] = {}
    tags: Annotated[
        Any,
        WithJsonSchema(
            {
                "type": ["array", "null"],
                "maxItems": TAGS_PER_LEAD,
                "items": {"type": "string", "minLength": 1, "maxLength": TAG_LENGTH},
            }
        ),
    ] = []
    contact_id: Annotated[Any, _text(36, nullable=True, description="Contact of the whatsapp service")] = None
    conversation_id: Annotated[Any, _text(36, nullable=True)] = None


class LeadRef(BaseModel):
    """What is told to who may write leads and not read them. version is the ETag without its quotes."""

    id: str
    version: int


class LeadOut(LeadRef):
    """A lead. amount is text, so that no reader makes a float of it."""

    name: str
    company: str
    email: str | None
    phone: str | None
    stage: str
    source: str
    language: str
    owner_id: int | None
    owner_name: str
    amount: str | None
    currency: str
    next_contact_on: str | None
    notes: str
    custom: dict[str, Any]
    tags: list[str]
    contact_id: str | None
    conversation_id: str | None
    created_at: str
    updated_at: str


class LeadKept(LeadOut):
    """The answer to POST: found tells that this person was a lead already."""

    found: bool


class LeadKeptRef(LeadRef):
    """The same for who may not read leads."""

    found: bool


class LeadAnswer(RootModel[LeadOut | LeadRef]):
    """The lead as it is now; without the scope leads:read only id and version."""


class LeadKeptAnswer(RootModel[LeadKept | LeadKeptRef]):
    """The lead that was kept; without the scope leads:read only id, version and found."""


class EventOut(BaseModel):
    """A line of a lead's timeline."""

    id: str
    what: str
    by: str
    at: str
    data: dict[str, Any]


class StageOut(BaseModel):
    """A step of the funnel."""

    key: str
    name_en: str
    name_es: str
    colour: str
    position: int
    kind: str


class NoteIn(Body):
    """A note for the timeline."""

    text: str = Field(min_length=1, max_length=NOTES_LENGTH)


Text = Annotated[str, Field(max_length=200), AfterValidator(storable)]
Sort = Literal["created_at", "-created_at", "updated_at", "-updated_at", "name", "-name", "amount", "-amount"]


class LeadQuery(PageQuery):
    """Filters and order of the list; several values of a filter are separated by commas."""

    stage: Text = ""
    owner: int | None = Field(None, ge=0, lt=2**31, description="User id; 0: leads without an owner")
    source: Text = ""
    tag: Text = Field("", description="All of these tags")
    q: Text = Field("", description="Words in name, company, e-mail or phone")
    phone: Text = Field("", description="The lead with this telephone number, however it is written")
    email: Text = Field("", description="The lead with this e-mail address")
    created_from: Moment | None = None
    created_to: Moment | None = Field(None, description="Exclusive")
    updated_from: Moment | None = None
    updated_to: Moment | None = Field(None, description="Exclusive")
    sort: Sort = "-created_at"

    def asks_only_for(self) -> str | None:
        """Phone or email, when nothing else is asked."""
        asked = [name for name in self.model_fields_set - {"limit", "sort"} if getattr(self, name)]
        return asked[0] if len(asked) == 1 and asked[0] in people.IDENTITIES else None

    def filters(self) -> lists.LeadFilter:
        """The filter part."""
        several = {f"{name}s": _several(getattr(self, name)) for name in ("stage", "source", "tag")}
        plain = self.model_dump(exclude={"stage", "source", "tag", "sort", "limit", "cursor"})
        return lists.LeadFilter(**(plain | several))


def _several(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
