"""The interface as the tests of the doors see it: every operation of the served document, ready to be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask

from app.kit.rest import document

UNKNOWN_ID = "0193a3c4-5d6e-7f80-9a1b-2c3d4e5f6071"


@dataclass(frozen=True, kw_only=True)
class Door:
    """An operation: what it is called, and what the document says of it."""

    method: str
    path: str
    told: Mapping[str, Any]
    schemas: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def scope(self) -> str | None:
        """The scope it needs; None for public ones."""
        security = self.told["security"]
        return next(iter(security[0].values()))[0] if security else None

    @property
    def example(self) -> Any:
        """The documented body; None without one."""
        return self.told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")

    @property
    def properties(self) -> Mapping[str, Any]:
        """The body's fields and their schemas."""
        content = self.told.get("requestBody", {}).get("content", {}).get("application/json", {})
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        found: Mapping[str, Any] = self.schemas.get(name, {}).get("properties", {})
        return found

    @property
    def query(self) -> list[str]:
        """Names of the query's parameters."""
        return [item["name"] for item in self.told["parameters"] if item.get("in") == "query"]

    def at_names(self) -> list[str]:
        """Names of the path's parameters."""
        return [item["name"] for item in self.told["parameters"] if item.get("in") == "path"]

    def at(self, ids: Mapping[str, str]) -> str:
        """The path with ids in it; unknown ones where there are none."""
        path = self.path
        for name in self.at_names():
            path = path.replace("{" + name + "}", ids.get(name, "1" if name == "number" else UNKNOWN_ID))
        return path


def doors(app: Flask, *, public: bool = False) -> Iterator[Door]:
    """All operations that need a key, or all public ones."""
    told = document(app)
    for path, item in told["paths"].items():
        for method, operation in item.items():
            if (operation["security"] == []) == public:
                yield Door(
                    method=method.upper(), path=path, told=operation, schemas=told["components"]["schemas"]
                )


def refusal(answer: Any, *statuses: int) -> Any:
    """The problem document of an answer that must be one of these refusals."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    assert answer.mimetype == "application/problem+json"
    body = answer.get_json()
    assert body["status"] == answer.status_code
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return body
