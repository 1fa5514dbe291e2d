"""Lists are paged by where the last page ended, not by counting rows: equally fast anywhere, and rows that arrive
meanwhile neither repeat nor hide others."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.contracts.problems import problem
from app.kit.errors import Invalid

PAGE_LIMIT = 100
"""The longest page."""

Item = TypeVar("Item")
Cursor = Annotated[str, Field(max_length=500, description="`next` of the page before")]


def _written(value: Any) -> Any:
    """Refuse numbers: pydantic takes them for seconds since 1970, and the document promises ISO 8601."""
    if isinstance(value, str) and re.match(r"\d{4}-", value):
        return value
    raise PydanticCustomError("no_time", "this is no time")


def _utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time_out_of_range", "this time is out of range") from None


Moment = Annotated[
    datetime,
    BeforeValidator(_written),
    AfterValidator(_utc),
    Field(description="ISO 8601; UTC when no zone is given", examples=["2026-01-31T08:00:00Z"]),
]
"""A point in time as callers write it; aware UTC inside."""


class PageQuery(BaseModel):
    """What every list accepts; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=PAGE_LIMIT, description="Items on a page")
    cursor: Cursor | None = None


class Page(BaseModel, Generic[Item]):
    """A page of a list; `next` is the cursor of the following one, null on the last."""

    items: list[Item]
    next: str | None = None


def encode_cursor(*position: Any) -> str:
    """An opaque cursor for the sort values (JSON-plain or datetimes) of the last row shown."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def decode_cursor(cursor: str | None, length: int) -> list[Any] | None:
    """The sort values again; raises Invalid when the cursor is not one of ours with `length` values."""
    if cursor is None:
        return None
    try:
        values = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        values = None
    odd = not isinstance(values, list) or any(isinstance(value, str) and "\0" in value for value in values)
    if odd or len(values) != length:
        raise bad_cursor()
    found: list[Any] = values
    return found


def bad_cursor() -> Invalid:
    """For a list that finds other values in a cursor than it puts there."""
    return Invalid([problem("/cursor", "bad_cursor", "This cursor does not belong to this list.")])
