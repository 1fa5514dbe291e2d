"""The served document is OpenAPI 3.1, says everything about every operation, and says it of nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from app.kit.auth import SCOPES
from app.kit.health import MARK_HEADER
from app.kit.rest import document
from app.services import SERVICES

ROOT = Path(__file__).resolve().parents[2]

UNTOLD = ("/stand-in/", "/docs/")
"""Doors that are no part of the interface: a stand-in speaks its provider's language, and the page is for people."""

DUMP = (
    "import json; from app import create_app; from app.kit.rest import document;"
    "print(json.dumps(document(create_app())))"
)


@pytest.fixture(scope="module")
def told(session_app: Flask) -> dict[str, Any]:
    """The document of all services."""
    return document(session_app)


def operations(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in told["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def resolved(told: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = told
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_the_document_is_valid(told: dict[str, Any]) -> None:
    assert told["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(told).iter_errors()) == []


@pytest.mark.parametrize("name", list(SERVICES))
def test_the_document_of_a_service_alone_is_valid_and_tells_only_its_paths(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DUMP],
        cwd=ROOT,
        env={
            "SERVICES": name,
            "EMBUDO_INSTANCE": str(tmp_path),
            "PATH": "/usr/bin:/bin",
            "LOG_LEVEL": "ERROR",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert list(OpenAPIV31SpecValidator(told).iter_errors()) == []
    ours = {f"/{path.split('/')[1]}" for path in told["paths"]} - {
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/metrics",
    }
    assert ours <= set(SERVICES[name].paths)
    assert ours


def test_every_door_of_the_interface_is_told(session_app: Flask, told: dict[str, Any]) -> None:
    silent = []
    for rule in session_app.url_map.iter_rules():
        view = session_app.view_functions[rule.endpoint]
        if getattr(view, "embudo_auth", None) is None or rule.rule.startswith(UNTOLD):
            continue
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        silent += [
            f"{method} {path}"
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            if method.lower() not in told["paths"].get(path, {})
        ]
    assert silent == [], "describe them with @endpoint or @documented"


def test_every_operation_says_what_it_is_who_may_and_how_it_refuses(told: dict[str, Any]) -> None:
    seen = set()
    for name, operation in operations(told):
        assert operation["summary"], name
        assert operation["tags"], name
        assert operation["operationId"] not in seen, name
        seen.add(operation["operationId"])
        answers = {code: resolved(told, answer) for code, answer in operation["responses"].items()}
        assert any(code < "400" for code in answers), name
        for code, answer in answers.items():
            assert "X-Request-Id" in answer["headers"], (name, code)
            if code >= "400":
                assert list(answer["content"]) == ["application/problem+json"], (name, code)
        if operation["security"] == []:
            assert "Needs no key" in operation["description"], name
            continue
        assert {"401", "403", "429"} <= set(answers), name
        for requirement in operation["security"]:
            (scopes,) = requirement.values()
            assert set(scopes) <= set(SCOPES), name
            assert f"`{scopes[0]}`" in operation["description"], name


def test_headers_are_told_where_they_mean_something(told: dict[str, Any]) -> None:
    for name, operation in operations(told):
        sent = {resolved(told, item)["name"] for item in operation["parameters"]}
        public = operation["security"] == []
        assert ("Idempotency-Key" in sent) == (name.startswith("POST") and not public), name
        assert ("If-Match" in sent) == ("412" in operation["responses"]), name
        for code, answer in operation["responses"].items():
            shown = resolved(told, answer).get("headers", {})
            assert code != "201" or "Location" in shown, name
            assert code != "429" or "Retry-After" in shown, name
    lead = told["paths"]["/leads/{lead_id}"]
    assert "ETag" in lead["get"]["responses"]["200"]["headers"]
    assert {"412", "428"} <= set(lead["put"]["responses"])
    assert MARK_HEADER in told["paths"]["/healthz"]["get"]["responses"]["200"]["headers"]


def test_path_parameters_are_described_and_typed(told: dict[str, Any]) -> None:
    for name, operation in operations(told):
        for item in operation["parameters"]:
            item = resolved(told, item)  # noqa: PLW2901
            if item["in"] == "path":
                assert item["description"], (name, item["name"])
                assert item["schema"]["type"] in {"string", "integer"}, name
    flow = told["paths"]["/flows/{flow_id}"]["get"]["parameters"][0]
    assert flow["schema"] == {"type": "string", "format": "uuid"}


def test_every_body_has_an_example_that_fits_its_schema(told: dict[str, Any]) -> None:
    for name, operation in operations(told):
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            assert "example" in content, (name, media)
            schema = {**content["schema"], "components": told["components"]}
            Draft202012Validator(schema).validate(content["example"])


def test_component_names_are_legal_and_belong_to_one_model_each(told: dict[str, Any]) -> None:
    names = [name for kind in told["components"].values() for name in kind]
    assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9._-]+", name)] == []
    models: dict[str, set[str]] = {}
    for model in _subclasses(BaseModel):
        if model.__module__.startswith("app.") and "[" not in model.__name__:
            models.setdefault(model.__name__, set()).add(model.__module__)
    used = told["components"]["schemas"]
    assert {
        name: sorted(modules) for name, modules in models.items() if name in used and len(modules) > 1
    } == {}


def _subclasses(model: type) -> Iterator[type]:
    for child in model.__subclasses__():
        yield child
        yield from _subclasses(child)


def test_the_document_is_made_once_per_app_and_served_to_anybody(app: Flask) -> None:
    assert document(app) is document(app)
    answer = app.test_client().get("/openapi.json")
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    assert answer.get_json() == json.loads(json.dumps(document(app)))


def test_the_guide_speaks_only_of_paths_that_exist(told: dict[str, Any]) -> None:
    guide = (ROOT / "docs" / "api.md").read_text()
    known = {f"{name.split()[0]} {re.sub(r'{.+?}', '*', name.split()[1])}" for name, _ in operations(told)}
    calls = re.findall(r'curl (?:-X (\w+) )?"\$URL(/[^"]*)"', guide)
    assert len(calls) > 3
    for method, path in calls:
        assert f"{method or 'GET'} {re.sub(r'[$][A-Z]+', '*', path)}" in known
