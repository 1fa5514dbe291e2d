"""The gateway's files: they route what the services say, and nothing is forgotten when a path is added."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
import yaml
from flask import Flask

from app import services
from app.kit import gateway

SERVICES = tuple(services.SERVICES)


def test_the_committed_files_say_what_the_services_say() -> None:
    for path, sections in gateway.files(services.routes()).items():
        assert gateway.filled(path.read_text(), sections) == path.read_text(), (
            "run: flask ops gateway --write"
        )


def test_every_path_of_a_service_goes_to_it_and_no_other_does(session_app: Flask) -> None:
    owners = _owners(session_app)
    assert set(owners.values()) == {*SERVICES, "platform"}
    routes = services.routes()
    wrong = {}
    for rule, owner in owners.items():
        path = re.sub(r"<[^>]+>", "x", rule)
        found = [route.service for route in routes if route.answers(path)] or ["platform"]
        if found != [owner]:
            wrong[rule] = f"belongs to {owner}, would go to {found}; say so in app/services.py"
    assert wrong == {}


def _owners(app: Flask) -> dict[str, str]:
    """Rule → service that answers it, by the module in which its view is written."""
    views = {view.endpoint: type(view).__module__ for view in app.appbuilder.baseviews}  # type: ignore[attr-defined]
    owners = {}
    for rule in app.url_map.iter_rules():
        module = views.get(rule.endpoint.partition(".")[0]) or app.view_functions[rule.endpoint].__module__
        parts = module.split(".")
        owners[rule.rule] = parts[1] if parts[0] == "app" and parts[1] in SERVICES else "platform"
    # Pages of the platform that each process shows of itself.
    own = tuple(f"{page}/<service>" for page in (services.DEAD_LETTERS, services.STATUS))
    for rule in [rule for rule in owners if rule.startswith(own)]:
        del owners[rule]
    return owners


def test_what_providers_call_is_a_door_that_takes_bursts(session_app: Flask) -> None:
    begins = tuple(path for route in services.routes() for path in route.callbacks)
    for rule in session_app.url_map.iter_rules():
        if rule.endpoint.endswith("_callbacks.stand_in"):
            continue  # what Airtable would be, not what it calls
        if rule.endpoint.partition(".")[0].endswith("_callbacks"):
            assert rule.rule.startswith(begins), f"{rule.rule} belongs to the callbacks in app/services.py"


def test_what_is_wrong_with_the_settings_is_told_at_once() -> None:
    wrong = {"LEADS_UPSTREAM": "leads", "EMAIL_UPSTREAM": "a:1; evil", "GATEWAY_LISTEN": "80; }"}
    with pytest.raises(gateway.GatewayProblem) as told:
        gateway.nginx(services.routes(), wrong)
    for name in wrong:
        assert name in str(told.value)


KONG_SHAPE: dict[str, Any] = {
    "type": "object",
    "required": ["_format_version", "services", "upstreams", "plugins"],
    "additionalProperties": False,
    "properties": {
        "_format_version": {"const": "3.0"},
        "_transform": {"type": "boolean"},
        "plugins": {"$ref": "#/$defs/plugins"},
        "services": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "host", "port", "protocol", "retries", "routes"],
                "additionalProperties": False,
                "properties": {
                    "name": {"$ref": "#/$defs/name"},
                    "host": {"type": "string"},
                    "port": {"type": "integer"},
                    "protocol": {"enum": ["http", "https"]},
                    "retries": {"const": 0},
                    "connect_timeout": {"type": "integer"},
                    "write_timeout": {"type": "integer"},
                    "read_timeout": {"type": "integer"},
                    "routes": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/route"}},
                },
            },
        },
        "upstreams": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "targets"],
                "additionalProperties": False,
                "properties": {
                    "name": {"$ref": "#/$defs/name"},
                    "healthchecks": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"active": {"type": "object"}, "passive": {"type": "object"}},
                    },
                    "targets": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "object", "required": ["target"], "additionalProperties": False,
                                  "properties": {"target": {"pattern": r"^[a-z]+:\d+$"}}},
                    },
                },
            },
        },
    },
    "$defs": {
        "name": {"type": "string", "pattern": r"^[\w.~-]+$"},
        "plugins": {
            "type": "array",
            "items": {"type": "object", "required": ["name", "config"], "additionalProperties": False,
                      "properties": {"name": {"type": "string"}, "config": {"type": "object"}}},
        },
        "route": {
            "type": "object",
            "required": ["name", "paths", "strip_path"],
            "additionalProperties": False,
            "properties": {
                "name": {"$ref": "#/$defs/name"},
                "strip_path": {"const": False},
                "preserve_host": {"type": "boolean"},
                "regex_priority": {"type": "integer"},
                "paths": {"type": "array", "minItems": 1, "items": {"pattern": "^~?/"}},
                "plugins": {"$ref": "#/$defs/plugins"},
            },
        },
    },
}  # fmt: skip
"""What of Kong's declarative format we use, by its documentation; Kong itself could not be asked."""


def test_the_kong_file_has_the_shape_of_its_format_and_routes_the_same() -> None:
    found = yaml.safe_load(gateway.KONG.read_text())
    jsonschema.validate(found, KONG_SHAPE)
    upstreams = {item["name"] for item in found["upstreams"]}
    assert {service["host"] for service in found["services"]} == upstreams
    names = [route["name"] for service in found["services"] for route in service["routes"]]
    assert len(names) == len(set(names))
    for route in services.routes():
        (service,) = [item for item in found["services"] if item["name"] == route.service]
        patterns = [path.removeprefix("~") for item in service["routes"] for path in item["paths"]]
        for path in (*route.paths, *route.callbacks, *route.screens):
            assert any(re.match(pattern, f"{path}/7") for pattern in patterns)
            if path in route.callbacks:
                continue  # stands below a path of the same service
            assert not any(re.match(pattern, f"{path}some") for pattern in patterns)
