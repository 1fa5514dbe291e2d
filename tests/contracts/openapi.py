"""Checks a request we sent against a provider's official OpenAPI document, kept outside the repository."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jsonschema

from tests.fakes.loopback import Received


@cache
def _document(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def problems(contract: Path, request: Received) -> list[str]:
    """What the document does not allow in the request: path, method, media type, fields and their values."""
    document = _document(contract)
    operation, found = _operation(document, request)
    if operation is None:
        return [f"{request.method} {request.path} is not in {contract.name}"]
    for parameter in (_resolved(document, given) for given in operation.get("parameters", [])):
        if parameter["in"] == "path":
            found += _check(document, parameter["schema"], found_path(document, request)[parameter["name"]])
    media = request.headers.get("content-type", "").split(";")[0]
    bodies = _resolved(document, operation["requestBody"])["content"]
    if media not in bodies:
        return [*found, f"{media} is none of {sorted(bodies)}"]
    schema = bodies[media]["schema"]
    value = _form(document, schema, request) if "form" in media else request.json
    allowed = set(_resolved(document, schema).get("properties", {}))
    found += [f"{name} is unknown" for name in value if name not in allowed]
    return found + _check(document, schema, value)


def _operation(document: dict[str, Any], request: Received) -> tuple[dict[str, Any] | None, list[str]]:
    for template, item in document["paths"].items():
        if _pattern(template).fullmatch(request.path):
            return item.get(request.method.lower()), []
    return None, []


def found_path(document: dict[str, Any], request: Received) -> dict[str, str]:
    """The path parameters of a request."""
    for template in document["paths"]:
        match = _pattern(template).fullmatch(request.path)
        if match:
            return match.groupdict()
    return {}


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(f"(?P<{p}>[^/]+)" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


def _form(document: dict[str, Any], schema: dict[str, Any], request: Received) -> dict[str, Any]:
    """The form's fields with the types that the schema gives them, as a form knows only text."""
    properties = _resolved(document, schema)["properties"]
    value: dict[str, Any] = {}
    for name, texts in parse_qs(request.body.decode(), keep_blank_values=True, strict_parsing=True).items():
        kind = _resolved(document, properties.get(name, {})).get("type", "string")
        if kind == "array":
            value[name] = texts
        elif kind in ("integer", "number", "boolean"):
            value[name] = json.loads(texts[0])
        else:
            value[name] = texts[0] if len(texts) == 1 else texts  # a repeated plain field is then an error
    return value


def _check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    whole = _resolved(document, schema) | {"components": document["components"]}
    checker = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]
