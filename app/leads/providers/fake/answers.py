"""What the stand-in is asked and what it says, free of any web framework."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request. path: below the endpoint, from ``/v0`` on. query: every value of each name."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    token: str = ""
    body: bytes = b""

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return (self.query.get(name) or [default])[0]

    def json(self) -> dict[str, Any]:
        """The body; refuses what is no JSON object as Airtable does."""
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            raise Refusal(400, "INVALID_REQUEST_BODY", "Could not parse request body") from None
        if not isinstance(found, dict):
            raise Refusal(422, "INVALID_REQUEST_UNKNOWN", "Invalid request: parameter validation failed.")
        return found


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response with a JSON body."""

    status: int = 200
    body: Any = None

    @property
    def payload(self) -> bytes:
        """The bytes of the body; none for None."""
        return b"" if self.body is None else json.dumps(self.body, ensure_ascii=False).encode()


class Refusal(Exception):
    """A request that is answered with an error in Airtable's shape."""

    def __init__(self, status: int, kind: str, message: str = "") -> None:
        super().__init__(kind)
        self.status, self.kind, self.message = status, kind, message

    def answer(self) -> Answer:
        """The response."""
        if self.status == 429:
            return Answer(status=429, body={"errors": [{"error": self.kind, "message": self.message}]})
        if self.status == 404 and not self.message:
            return Answer(status=404, body={"error": self.kind})
        return Answer(status=self.status, body={"error": {"type": self.kind, "message": self.message}})


def not_found() -> Refusal:
    """What Airtable says of an address that leads nowhere."""
    return Refusal(404, "NOT_FOUND")


def no_model() -> Refusal:
    """What Airtable says of a base or table that is not there, or not for this token."""
    return Refusal(
        403,
        "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND",
        "Invalid permissions, or the requested model was not found. Check that both your user and your token have the "
        "required permissions, and that the model names and/or ids are correct.",
    )
