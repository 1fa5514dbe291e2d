"""The REST interface as a page: made from the served document, without a script of anybody else.

The usual viewers come from a CDN or bring megabytes that our Content-Security-Policy would have to be opened for. The
descriptions are the document's own, in English; the frame speaks the reader's language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask import current_app
from flask_babel import lazy_gettext as _l
from markupsafe import Markup, escape

from app.admin.views import PageView, expose
from app.kit.auth import public
from app.kit.rest import document

METHODS = ("get", "post", "put", "patch", "delete")

COLOURS = {"get": "blue", "post": "green", "put": "amber", "patch": "amber", "delete": "red"}
"""Of the badge in front of the path."""


class ApiDocsView(PageView):
    """The documentation of the REST interface."""

    class_permission_name = "ApiDocs"
    route_base = "/docs"

    @expose("/")
    @public("the interface is no secret")
    def index(self) -> Any:
        """The page; for strangers too, as integrators have no account here."""
        told = document(current_app._get_current_object())  # type: ignore[attr-defined]
        return self.page(
            "admin/api_docs.html",
            title=_l("REST interface"),
            told=told,
            introduction=[marked(part) for part in told["info"]["description"].split("\n\n")],
            groups=groups(told),
            colours=COLOURS,
        )


def groups(told: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The operations by tag, in the document's order: what the template shows of each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, item in told["paths"].items():
        for method in METHODS:
            if method in item:
                found.setdefault(item[method]["tags"][0], []).append(_shown(told, method, path, item[method]))
    return found


def _shown(told: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [resolved(told, item) for item in operation["parameters"]]
    bodies = operation.get("requestBody", {}).get("content", {})
    schema = resolved(told, next(iter(bodies.values()))["schema"]) if bodies else {}
    examples = [content["example"] for content in bodies.values() if "example" in content]
    return {
        "id": operation["operationId"],
        "method": method,
        "path": path,
        "summary": operation["summary"],
        "about": [marked(part) for part in operation["description"].split("\n\n")],
        "scope": next(iter(operation["security"][0].values()))[0] if operation["security"] else None,
        "parameters": [
            {
                "name": item["name"],
                "place": item["in"],
                "type": words(told, item["schema"]),
                "required": item.get("required", False),
                "about": marked(item.get("description", "")),
            }
            for item in parameters
        ],
        "media": list(bodies),
        "fields": list(_fields(told, schema)),
        "example": json.dumps(examples[0], indent=2, ensure_ascii=False) if examples else None,
        "answers": [_answer(told, code, answer) for code, answer in operation["responses"].items()],
        "call": _call(told, method, path, operation, examples[0] if examples else None),
    }


def _fields(told: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, field in schema.get("properties", {}).items():
        yield {
            "name": name,
            "type": words(told, field),
            "required": name in schema.get("required", ()),
            "about": marked(field.get("description", "")),
        }


def _answer(told: Mapping[str, Any], code: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    answer = resolved(told, answer)
    (schema,) = [content["schema"] for content in answer.get("content", {}).values()][:1] or [{}]
    return {
        "code": code,
        "about": answer["description"],
        "type": words(told, schema) if schema else "",
        "fields": list(_fields(told, resolved(told, schema))) if code < "400" else [],
    }


def _call(told: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any], example: Any) -> str:
    """The request as a command line; ids and key are for the reader to fill in."""
    base = told["servers"][0]["url"].rstrip("/") or "http://localhost:8080"
    lines = [f"curl -X {method.upper()} '{base}{path}'"]
    if operation["security"]:
        lines.append("-H 'Authorization: Bearer emb_…'")
    if "428" in operation["responses"]:
        lines.append("-H 'If-Match: \"1\"'")
    if example is not None:
        body = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
        lines += ["-H 'Content-Type: application/json'", f"-d '{body}'"]
    return " \\\n  ".join(lines)


def resolved(told: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part itself, or what its $ref names."""
    if "$ref" not in part:
        return part
    found: Any = told
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found  # type: ignore[no-any-return]


def words(told: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A schema in a few words: `string (uuid) or null`, `list of LeadOut`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"page of {name.removeprefix('Page_')}" if name.startswith("Page_") else str(name)
    if "anyOf" in schema:
        return " or ".join(words(told, option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kinds = schema.get("type", "anything")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names = [
        f"list of {words(told, schema.get('items', {}))}" if kind == "array" else str(kind) for kind in kinds
    ]
    extra = [schema["format"]] if "format" in schema else []
    if "maxLength" in schema:
        extra.append(f"≤ {schema['maxLength']:,}")
    if "minimum" in schema:
        extra.append(f"≥ {schema['minimum']}")
    if "maximum" in schema:
        extra.append(f"≤ {schema['maximum']}")
    return " or ".join(names) + (f" ({', '.join(extra)})" if extra else "")


def marked(text: str) -> Markup:
    """A description with its `code` and **bold**, and nothing else of it taken for HTML."""
    safe = str(escape(text))
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", safe))  # noqa: S704 (escaped above)
